import itertools
import threading
import time
from collections.abc import Iterator
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config.outputs import GpioOutputConfig
from edge.core.types import Verdict
from edge.core.worker import WorkerError
from edge.line import LineError
from edge.line.gpio_chip import FakeChip, open_chip
from edge.line.outputs import OutputError
from edge.line.outputs.gpio import GpioOutput
from edge.line.triggers.gate import Gate
from tests.edge.engine.parts import inspection, wait_for

PULSE_MS, GAP_MS = 4.0, 2.0
LINES = {"ok_line": 5, "ng_line": 6, "error_line": 7}
OFF = {5: False, 6: False, 7: False}


class Stretch(NamedTuple):
    """A time in which the same line is active, or none."""

    line: int | None
    begins: float
    ends: float


def stretches(chip: FakeChip, since: int = 0) -> list[Stretch]:
    """What a PLC sees of the lines, from one recorded change to the next different one."""
    found: list[Stretch] = []
    for levels, at in list(zip(chip.history, chip.changed_at, strict=True))[since:]:
        active = [line for line, level in levels.items() if level]
        assert len(active) <= 1, "two lines at once"
        line = active[0] if active else None
        if found and found[-1].line == line:
            continue
        if found:
            found[-1] = found[-1]._replace(ends=at)
        found.append(Stretch(line, at, inf))
    return found


def pulses(chip: FakeChip, since: int = 0) -> list[int]:
    return [found.line for found in stretches(chip, since) if found.line is not None]


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


def test_a_release_that_would_be_late_does_not_begin_and_the_line_gets_the_pulse_of_an_error(chip: FakeChip) -> None:
    output = made(chip)
    before = len(chip.history)
    output.show(inspection(1, verdict=Verdict.OK), until=time.monotonic() - 0.001)
    output.safe()
    wait_for(output.free)
    assert pulses(chip, before) == [7]
    output.close()
    output = made(chip, error_line=None)
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


PARTS = st.tuples(st.sampled_from(Verdict), st.floats(0, 3 * PULSE_MS), st.sampled_from(["", "", "safe", "late"]))


@settings(max_examples=25)
@given(parts=st.lists(PARTS, min_size=1, max_size=12), hold=st.booleans())
def test_each_part_is_one_edge_and_one_pulse_of_full_length_or_its_trigger_is_refused(
    parts: list[tuple[Verdict, float, str]], hold: bool
) -> None:
    """Any verdicts at any intervals, with outputs that are made safe or verdicts that are late in between."""
    chip, gate = FakeChip(), Gate()
    output = made(chip, PULSE_MS, gap_ms=GAP_MS, safe="error" if hold else "inactive")
    gate.open(output.free, lambda accepted: output.ready(False) if accepted else None)
    told, withdrawn = [], 0
    for number, (verdict, pause_ms, then) in enumerate(parts):
        if gate.offer("t") is not None:
            assert gate.wait(0) is not None
            late = then == "late" and verdict is Verdict.OK
            output.show(inspection(number, verdict=verdict), until=0.0 if late else inf)
            told.append(output._lines[Verdict.ERROR if late else verdict])
            if then == "safe":
                output.safe()
                withdrawn += verdict is Verdict.OK
            gate.finish(inspection(number))
        time.sleep(pause_ms / 1e3)
    wait_for(output.free)
    assert gate.offer("t") is not None, "it takes parts again by itself"
    output.close()
    seen = stretches(chip)
    held = [found for found in seen if found.line == LINES["error_line"] and hold]
    lengths = [found.ends - found.begins for found in seen if found.line is not None]
    assert gate.overruns == len(parts) - len(told)
    if not hold:
        assert [found.line for found in seen if found.line is not None] == told
    else:
        assert [found.line for found in seen if found.line in (5, 6)] == [line for line in told if line != 7]
        assert len(held) >= told.count(7)
    assert sum(length < PULSE_MS / 1e3 for length in lengths) <= withdrawn, "only an OK is ever withdrawn"
    for before, after in itertools.pairwise(seen):
        assert before.line is None or after.line is None or (hold and 7 in (before.line, after.line))


def test_a_pulse_of_an_error_that_is_made_safe_keeps_its_full_length(chip: FakeChip) -> None:
    output = made(chip, 40.0)
    before = len(chip.history)
    output.show(inspection(1, verdict=Verdict.ERROR))
    output.safe()
    output.close()
    (pulse,) = [found for found in stretches(chip, before) if found.line is not None]
    assert (pulse.line, pulse.ends - pulse.begins >= 0.04) == (7, True)


def test_the_levels_are_at_rest_for_the_gap_between_two_pulses(chip: FakeChip) -> None:
    output = made(chip, PULSE_MS, gap_ms=20.0)
    before = len(chip.history)
    for number in range(3):
        wait_for(output.free)
        output.show(inspection(number, verdict=Verdict.OK))
    output.close()
    gaps = [found.ends - found.begins for found in stretches(chip, before) if found.line is None]
    assert all(gap >= 0.02 for gap in gaps[:-1])


def test_a_release_that_cannot_be_withdrawn_is_ended_in_time_all_the_same(chip: FakeChip) -> None:
    output = made(chip, 30.0)
    output.show(inspection(1, verdict=Verdict.OK))
    chip.broken = True
    with pytest.raises(LineError, match="cannot be set"):
        output.safe()
    chip.broken = False
    wait_for(lambda: chip.history[-1] == OFF)
    output.close()


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


def test_a_chip_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(LineError, match="line 1, 2 cannot be had"):
        open_chip("/dev/gpiochip-none").drive([1, 2], active_low=False)
    with pytest.raises(LineError, match="line 3 cannot be had"):
        open_chip("/dev/gpiochip-none").watch(3, "rising")


@pytest.mark.parametrize(("verdict", "line"), [(Verdict.OK, 5), (Verdict.NG, 6), (Verdict.ERROR, 7)])
def test_a_verdict_by_hand_is_one_pulse_on_its_line_and_ends_in_the_safe_state(
    chip: FakeChip, verdict: Verdict, line: int
) -> None:
    output = made(chip)
    since = len(chip.history)
    output.by_hand(verdict)
    assert chip.history[since] == {**OFF, line: True}
    wait_for(output.free)
    assert pulses(chip, since) == [line]
    output.close()


def test_by_hand_never_cuts_the_pulse_of_a_part_nor_drives_a_line_that_is_not_there(chip: FakeChip) -> None:
    output = made(chip, pulse_ms=500.0, ng_line=None)
    with pytest.raises(OutputError, match="no line is set for NG"):
        output.by_hand(Verdict.NG)
    output.show(inspection(1, verdict=Verdict.ERROR))
    with pytest.raises(OutputError, match="a pulse still runs"):
        output.by_hand(Verdict.OK)
    assert pulses(chip)[-1] == 7
    output.close()
