import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge.config.outputs import GpioOutputConfig
from edge.config.station import ConfigError
from edge.core.types import Verdict
from edge.core.worker import WorkerError
from edge.line import LineError
from edge.line.gpio_chip import FakeChip, open_chip
from edge.line.outputs.gpio import GpioOutput
from tests.edge.engine.parts import inspection, wait_for

LINES = {"ok_line": 5, "ng_line": 6, "error_line": 7}
OFF = {5: False, 6: False, 7: False}


def made(chip: FakeChip, pulse_ms: float = 5.0, **keys: Any) -> GpioOutput:
    return GpioOutput(chip, GpioOutputConfig(type="gpio", pulse_ms=pulse_ms, **{**LINES, **keys}))


@pytest.fixture
def chip() -> Iterator[FakeChip]:
    yield FakeChip()
    wait_for(lambda: "gpio-pulse" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize(("verdict", "line"), [(Verdict.OK, 5), (Verdict.NG, 6), (Verdict.ERROR, 7)])
def test_each_verdict_is_one_pulse_on_its_own_line(chip: FakeChip, verdict: Verdict, line: int) -> None:
    output = made(chip)
    before = len(chip.history)
    output.show(inspection(1, verdict=verdict))
    assert chip.history[before] == {**OFF, line: True}, "it begins before show() returns"
    wait_for(lambda: len(chip.history) == before + 2)
    assert chip.history[-1] == OFF
    output.close()


def test_a_pulse_that_would_be_late_does_not_begin(chip: FakeChip) -> None:
    output = made(chip)
    before = len(chip.history)
    output.show(inspection(1, verdict=Verdict.OK), until=time.monotonic() - 0.001)
    assert not any(any(levels.values()) for levels in chip.history[before:])
    output.close()


def test_active_low_turns_every_level_round(chip: FakeChip) -> None:
    output = made(chip, 1000.0, active_low=True)
    high = {5: True, 6: True, 7: True}
    assert chip.history[-1] == high, "inactive from the first moment on"
    output.show(inspection(1, verdict=Verdict.OK))
    assert chip.history[-1] == {**high, 5: False}
    output.close()
    assert chip.history[-1] == high


def test_a_fault_ends_a_pulse_at_once_and_the_next_part_is_told_as_usual(chip: FakeChip) -> None:
    output = made(chip, 5000.0)
    output.show(inspection(1, verdict=Verdict.OK))
    output.safe()
    assert chip.history[-1] == OFF
    output.show(inspection(2, verdict=Verdict.OK))
    assert chip.history[-1] == {**OFF, 5: True}
    output.close()
    assert chip.history[-1] == OFF, "safe at the end, in the middle of a pulse too"


def test_a_pulse_is_cut_short_by_the_next_verdict_so_that_never_two_lines_are_active(chip: FakeChip) -> None:
    output = made(chip, 5000.0)
    for verdict in (Verdict.OK, Verdict.NG, Verdict.ERROR, Verdict.OK):
        output.show(inspection(1, verdict=verdict))
    assert all(sum(levels.values()) <= 1 for levels in chip.history)
    output.close()


def test_the_error_line_can_be_held_while_the_outputs_are_safe(chip: FakeChip) -> None:
    held = {**OFF, 7: True}
    output = made(chip, 5000.0, safe="error")
    assert chip.history[-1] == held
    output.show(inspection(1, verdict=Verdict.OK))
    assert chip.history[-1] == {**OFF, 5: True}
    output.safe()
    assert chip.history[-1] == held
    output.close()
    assert chip.history[-1] == held


def test_a_verdict_without_a_line_clears_the_others(chip: FakeChip) -> None:
    output = made(chip, 5000.0, ng_line=None)
    output.show(inspection(1, verdict=Verdict.OK))
    output.show(inspection(2, verdict=Verdict.NG))
    assert chip.history[-1] == {5: False, 7: False}
    output.close()


def test_lines_that_cannot_be_set_fail_the_part(chip: FakeChip) -> None:
    output = made(chip)
    chip.broken = True
    with pytest.raises(LineError, match="cannot be set"):
        output.show(inspection(1))
    chip.broken = False
    output.close()


def test_a_pulse_that_cannot_be_ended_stops_the_engine(chip: FakeChip) -> None:
    output = made(chip)
    output.show(inspection(1, verdict=Verdict.OK))
    chip.broken = True
    if chip.history[-1] != OFF:

        def dead() -> bool:
            try:
                output.check()
            except WorkerError:
                return True
            return False

        wait_for(dead)
    chip.broken = False
    output.close()


def test_gpio_without_its_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(ConfigError, match=r"gpiod is not installed.*linewatch\[gpio\]"):
        open_chip("/dev/gpiochip0")


def test_a_chip_that_is_not_there_is_one_clear_line() -> None:
    pytest.importorskip("gpiod", reason="gpiod is not installed; it is the extra `gpio`")
    with pytest.raises(LineError, match="line 1, 2 cannot be had"):
        open_chip("/dev/gpiochip-none").drive([1, 2], active_low=False)
    with pytest.raises(LineError, match="line 3 cannot be had"):
        open_chip("/dev/gpiochip-none").watch(3, "rising")
