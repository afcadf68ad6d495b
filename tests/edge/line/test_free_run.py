import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.line.triggers.free_run import FreeRun


class Clock:
    def __init__(self, oversleeps_s: float = 0.0) -> None:
        self.now = 100.0
        self.oversleeps_s = oversleeps_s  # a real sleep never ends early, and often late

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.oversleeps_s


@given(busy_s=st.lists(st.floats(0, 0.09), min_size=1, max_size=60))
def test_the_rate_does_not_drift_however_long_each_part_takes(busy_s: list[float]) -> None:
    clock = Clock(oversleeps_s=0.004)
    trigger = FreeRun(10.0, clock, clock.sleep)
    for number, busy in enumerate(busy_s):
        event = trigger.wait(1.0)
        assert event is not None
        assert event.at == pytest.approx(100.0 + number * 0.1, abs=0.005)
        clock.now += busy
    assert trigger.overruns == 0


@given(periods=st.integers(1, 50))
def test_missed_ticks_are_counted_and_not_made_up_for(periods: int) -> None:
    clock = Clock()
    trigger = FreeRun(10.0, clock, clock.sleep)
    assert trigger.wait(1.0) is not None
    clock.now += 0.1 * periods + 0.15
    assert trigger.wait(1.0) is not None
    assert trigger.overruns == periods
    assert trigger.wait(0.0) is None, "the missed ones do not come now"


def test_no_trigger_before_its_time() -> None:
    clock = Clock()
    trigger = FreeRun(1.0, clock, clock.sleep)
    assert trigger.wait(0.05) is not None
    assert trigger.wait(0.05) is None
    assert clock.now == pytest.approx(100.05), "it waited as long as it was allowed to"


def test_every_trigger_has_its_own_id() -> None:
    clock = Clock()
    trigger = FreeRun(10.0, clock, clock.sleep)
    ids = [event.id for event in (trigger.wait(1.0) for _ in range(5)) if event]
    assert len(set(ids)) == 5


def test_a_tick_that_the_station_cannot_take_is_counted_and_the_grid_stays() -> None:
    clock, able = Clock(), [True]
    trigger = FreeRun(10.0, clock, clock.sleep)
    trigger.open(lambda: able[0])
    assert trigger.wait(1.0) is not None
    able[0] = False
    assert trigger.wait(1.0) is None
    able[0] = True
    event = trigger.wait(1.0)
    assert event is not None
    assert event.at == pytest.approx(100.2)
    assert trigger.overruns == 1
