import os
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Verdict
from edge.exchange import ExchangeError
from edge.exchange.sockets import connect, listen
from edge.exchange.trigger_socket import TRIGGER, OverrunError, TriggerAnswer, ask_trigger
from edge.line.gpio_chip import FakeChip
from edge.line.triggers import TriggerEvent
from edge.line.triggers.gate import Gate, GatedTrigger
from edge.line.triggers.gpio import Debounce, GpioTrigger
from edge.line.triggers.software import SoftwareTrigger
from tests.edge.engine.parts import inspection, wait_for

HANG_S = 60.0


def opened() -> Gate:
    gate = Gate()
    gate.open()
    return gate


def accepted(gate: Gate) -> TriggerEvent:
    event = gate.wait(HANG_S)
    assert event is not None
    return event


def test_a_trigger_before_the_station_accepts_any_is_refused_and_counted() -> None:
    gate = Gate()
    assert gate.offer("page") is None
    assert gate.overruns == 1
    assert gate.wait(0) is None


def test_a_waiting_loop_is_woken_by_the_trigger_and_not_by_its_time_out() -> None:
    gate = opened()
    found: list[TriggerEvent | None] = []
    loop = threading.Thread(target=lambda: found.append(gate.wait(HANG_S)))
    loop.start()
    gate.offer("gpio", 12.5)
    loop.join(HANG_S / 2)
    assert found == [TriggerEvent("gpio-1", 12.5)]


@given(st.lists(st.sampled_from(["offer", "wait", "finish"]), max_size=40))
def test_every_accepted_trigger_is_handed_over_once_in_order_and_every_other_is_an_overrun(steps: list[str]) -> None:
    gate = opened()
    offered = accepted = 0
    handed: list[str] = []
    verdicts = []
    judging = False
    for step in steps:
        if step == "offer":
            offered += 1
            verdict = gate.offer("t")
            accepted += verdict is not None
            verdicts += [verdict] if verdict else []
        elif step == "wait" and not judging:
            event = gate.wait(0)
            handed += [event.id] if event else []
            judging = event is not None
        elif step == "finish" and judging:
            gate.finish(inspection(len(handed)))
            judging = False
    last = gate.wait(0) if not judging else None
    handed += [last.id] if last else []
    assert handed == [f"t-{n + 1}" for n in range(accepted)]
    assert gate.overruns == offered - accepted
    done = [verdict.result(0).id for verdict in verdicts if verdict.done()]
    assert done == [n + 1 for n in range(len(done))], "each caller hears of its own part"


def test_many_threads_that_trigger_at_once_get_one_part_and_the_rest_are_overruns() -> None:
    gate = opened()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: gate.offer("t"), range(200)))
    assert sum(answer is not None for answer in answers) == 1
    assert gate.overruns == 199


def test_what_was_accepted_before_close_can_still_be_judged_and_nothing_more_is_accepted() -> None:
    gate = opened()
    verdict = gate.offer("t")
    gate.close()
    assert gate.offer("t") is None
    assert accepted(gate).id == "t-1"
    gate.finish(inspection(7))
    assert verdict is not None
    assert verdict.result(0).id == 7


def test_a_trigger_that_the_station_cannot_take_is_refused_and_counted() -> None:
    gate, able = Gate(), [False]
    gate.open(lambda: able[0])
    assert gate.offer("t") is None
    able[0] = True
    assert gate.offer("t") is not None
    assert gate.overruns == 1


def test_the_outputs_hear_of_a_trigger_before_the_loop_and_of_one_that_is_refused_between_parts() -> None:
    gate = Gate()
    seen: list[object] = []
    told = threading.Event()

    def tell(accepted: bool) -> None:
        told.set()
        time.sleep(0.1)
        seen.append(accepted)

    gate.open(tell=tell)
    source = threading.Thread(target=lambda: gate.offer("t"))
    source.start()
    assert told.wait(HANG_S)
    assert gate.offer("t") is None
    seen.append(gate.wait(0).id)  # type: ignore[union-attr]  # a loop that is about to end gets what was accepted
    source.join(HANG_S)
    gate.finish(inspection(1))
    gate.close()
    assert gate.offer("t") is None
    assert seen == [True, "t-1", False]


def test_nothing_is_accepted_between_two_parts_while_a_step_runs_and_no_step_runs_before_a_part_that_waits() -> None:
    gate = opened()
    with ThreadPoolExecutor(1) as source:

        def step() -> bool:
            offered = source.submit(gate.offer, "t")
            time.sleep(0.05)
            return not offered.done()

        assert gate.between_parts(step)
        assert gate.wait(HANG_S) is not None
    assert not gate.between_parts(lambda: True)
    gate.finish(inspection(1))
    assert gate.between_parts(lambda: True)


@pytest.fixture
def station(tmp_path: Path) -> tuple[GatedTrigger, Path]:
    run_dir = tmp_path / ("deep" * 30)  # longer than the kernel's limit for a socket's address
    run_dir.mkdir()
    gate = opened()
    return GatedTrigger(gate, [SoftwareTrigger(gate, run_dir)]), run_dir


def test_the_page_hears_the_verdict_of_its_own_trigger(station: tuple[GatedTrigger, Path]) -> None:
    trigger, run_dir = station
    with ThreadPoolExecutor(1) as page:
        answer = page.submit(ask_trigger, run_dir, HANG_S)
        assert trigger.wait(HANG_S) is not None
        trigger.finish(inspection(42, verdict=Verdict.NG))
        assert answer.result(HANG_S) == TriggerAnswer.of(inspection(42))
    trigger.close()


def test_the_page_is_told_of_an_overrun(station: tuple[GatedTrigger, Path]) -> None:
    trigger, run_dir = station
    with ThreadPoolExecutor(1) as page:
        first = page.submit(ask_trigger, run_dir, HANG_S)
        assert trigger.wait(HANG_S) is not None
        with pytest.raises(OverrunError, match="overrun"):
            ask_trigger(run_dir, HANG_S)
        trigger.finish(inspection(1))
        assert first.result(HANG_S).id == 1
    assert trigger.overruns == 1
    trigger.close()


def test_a_page_that_leaves_does_not_stop_the_line(station: tuple[GatedTrigger, Path]) -> None:
    trigger, run_dir = station
    with pytest.raises(ExchangeError, match=r"did not answer within 0\.05 s"):
        ask_trigger(run_dir, 0.05)
    assert trigger.wait(HANG_S) is not None, "it was accepted, so it is judged"
    trigger.finish(inspection(1))
    trigger.check()
    trigger.close()


def test_a_page_that_comes_while_no_file_can_be_opened_is_taken_later(station: tuple[GatedTrigger, Path]) -> None:
    trigger, run_dir = station
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(run_dir, TRIGGER, HANG_S) as first:  # what the import and the first look need is open now
        assert trigger.wait(HANG_S) is not None
        trigger.finish(inspection(1))
        assert first.recv(4096)
    with socket.socket(socket.AF_UNIX) as caller:
        folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (folder + 1, before[1]))
        try:
            caller.connect(f"/proc/self/fd/{folder}/{TRIGGER}")
            time.sleep(0.2)
            trigger.check()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            os.close(folder)
        assert trigger.wait(HANG_S) is not None
        trigger.finish(inspection(2))
    trigger.close()


def test_a_station_without_page_trigger_says_which_key_to_set(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="page_button"):
        ask_trigger(tmp_path)


def test_an_engine_that_hangs_up_is_an_error_in_one_line(tmp_path: Path) -> None:
    with listen(tmp_path, TRIGGER) as listener, ThreadPoolExecutor(1) as page:
        answer = page.submit(ask_trigger, tmp_path, HANG_S)
        listener.accept()[0].close()
        with pytest.raises(ExchangeError, match="stopped before it gave a verdict"):
            answer.result(HANG_S)


def test_closing_ends_the_thread_even_while_it_waits(station: tuple[GatedTrigger, Path]) -> None:
    trigger, run_dir = station
    trigger.close()
    trigger.close()  # the loop's end closes it, and so does whoever opened it
    assert "software-trigger" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ExchangeError), socket.socket():
        ask_trigger(run_dir, 1.0)


@given(st.lists(st.floats(0, 0.2), max_size=30), st.floats(0.001, 0.1))
def test_no_edge_passes_within_the_window_of_another_and_a_lone_one_always_does(
    gaps: list[float], window: float
) -> None:
    debounce, at, previous = Debounce(window), 100.0, -1.0
    for gap in gaps:
        at += gap
        assert debounce.passes(at) == (previous < 0 or at - previous >= window)
        previous = at


def test_a_gpio_edge_triggers_at_the_kernels_time_and_its_bounces_do_not() -> None:
    chip, gate = FakeChip(), opened()
    trigger = GatedTrigger(gate, [GpioTrigger(gate, chip, 4, "rising", 5.0)])
    now = time.monotonic()
    for bounce in (0.0, 0.001, 0.002):
        chip.edge(4, now + bounce)
    assert trigger.wait(HANG_S) == TriggerEvent("gpio-1", now)
    trigger.finish(inspection(1))
    chip.edge(4, now + 1.0)
    assert trigger.wait(HANG_S) == TriggerEvent("gpio-2", now + 1.0)
    chip.edge(4, now + 2.0)
    wait_for(lambda: trigger.overruns == 1)
    trigger.check()
    trigger.close()
    assert trigger.describe() == "GPIO fake line 4, rising edge"
