"""Laws of the clock of a stream, on simulated streams whose true times of exposure are known."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras.clock import DRIFT_COUNTED, LATE_S, SETTLE_S, SourceClock

BASE_S = 0.04  # of a frame that nothing delays, from its exposure to its arrival


@dataclass
class Stream:
    """Exposes at a steady rate; each frame leaves after its wait, in order, and not while the network stands still."""

    fps: float = 30.0
    frames: int = 300
    jitter_s: tuple[float, ...] = (0.0,)
    stalls: tuple[tuple[float, float], ...] = ()  # from, to: s after the start
    connected_s: float = 0.0  # before that nothing is received; what was stored meanwhile comes first
    pace_s: float = 0.001  # between two stored frames on the wire
    drops: bool = False  # what a stall holds back is thrown away
    stamped: str = "exposure"  # "none", or "sent": a relay stamps what it sends
    missing: frozenset[int] = field(default_factory=frozenset)

    def arrivals(self) -> list[tuple[float, float, float | None]]:
        """(arrival, exposure, timestamp) of each frame that comes."""
        found, last = [], 0.0
        for number in range(self.frames):
            exposed = number / self.fps
            due = exposed + BASE_S + self.jitter_s[number % len(self.jitter_s)]
            held = max(
                (end for start, end in (*self.stalls, (-1.0, self.connected_s)) if start <= due < end), default=0
            )
            if (self.drops and held and held > self.connected_s) or number in self.missing:
                continue
            last = max(due, held, last + self.pace_s)
            found.append((last, exposed, {"exposure": exposed, "none": None, "sent": last - BASE_S}[self.stamped]))
        return found


def proofs(stream: Stream, latency_s: float = BASE_S) -> list[tuple[float, float, float | None]]:
    """(arrival, exposure, proven) of each frame."""
    clock = SourceClock(latency_s, 1.0 / stream.fps)
    return [(at, exposed, clock.exposed_after(at, stamp)) for at, exposed, stamp in stream.arrivals()]


TOLERANCE_S = 0.002 + LATE_S * DRIFT_COUNTED  # a measured latency has a frame period to spare
STALL = st.tuples(st.floats(0.6, 6.0), st.floats(0.0, 2.0)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=200, deadline=None)
@given(
    fps=st.sampled_from([5.0, 10.0, 25.0, 60.0]),
    jitter=st.lists(st.floats(0, 0.03), min_size=1, max_size=7),
    stalls=st.lists(STALL, max_size=3),
    connected_s=st.floats(0, 3.0),
    pace=st.sampled_from([0.0005, 0.002, 0.005]),
    drops=st.booleans(),
    stamped=st.sampled_from(["exposure", "none"]),
)
def test_no_frame_is_said_to_be_newer_than_it_is(
    fps: float,
    jitter: list[float],
    stalls: list[tuple[float, float]],
    connected_s: float,
    pace: float,
    drops: bool,
    stamped: str,
) -> None:
    stream = Stream(fps, int(9 * fps), tuple(jitter), tuple(stalls), connected_s, pace, drops, stamped)
    for arrived, exposed, proven in proofs(stream, BASE_S + max(jitter)):
        assert proven is None or proven <= exposed + TOLERANCE_S, (arrived, exposed, proven)


@pytest.mark.parametrize("stamped", ["exposure", "none", "sent"])
def test_after_a_stall_and_after_a_reconnect_stored_frames_are_not_taken_for_new_ones(stamped: str) -> None:
    for stream in (Stream(stalls=((3.0, 4.0),), stamped=stamped), Stream(connected_s=2.0, stamped=stamped)):
        old = [(arrived - exposed, proven, exposed) for arrived, exposed, proven in proofs(stream)]
        assert any(late > 0.5 for late, _, _ in old), "the simulation stores frames"
        assert all(proven is None or proven <= exposed + TOLERANCE_S for late, proven, exposed in old if late > 0.05)
        assert old[-1][1] is not None, "and afterwards frames are proven again"


@pytest.mark.parametrize("stamped", ["exposure", "none"])
@pytest.mark.parametrize("fps", [5.0, 30.0, 90.0])
def test_in_a_calm_stream_every_frame_is_proven_to_the_jitter(stamped: str, fps: float) -> None:
    stream = Stream(fps, int(8 * fps), (0.0, 0.004, 0.001), stamped=stamped)
    settled = [(e, p) for at, e, p in proofs(stream) if at > BASE_S + SETTLE_S + 5 / fps]
    assert all(proven is not None and exposed - 0.01 <= proven for exposed, proven in settled)


def test_clocks_that_drift_apart_stay_proven() -> None:
    for drift in (-3e-4, 3e-4):
        clock, failed = SourceClock(BASE_S, 1 / 30), 0
        for number in range(30 * 600):
            exposed = number / 30
            proven = clock.exposed_after(exposed + BASE_S, exposed * (1 + drift))
            failed += exposed > 1 and (proven is None or not exposed - 0.01 < proven <= exposed + TOLERANCE_S)
        assert (failed, clock.fault()) == (0, "")


@pytest.mark.parametrize("stamped", ["exposure", "none"])
def test_a_backlog_that_no_burst_resolves_is_a_fault_and_proves_nothing_meanwhile(stamped: str) -> None:
    """After two seconds all frames come one second later than before, in step."""
    clock = SourceClock(BASE_S, 1 / 30)
    first_fault = None
    for number in range(30 * 8):
        exposed = number / 30
        arrived = exposed + BASE_S + (1.0 if exposed > 2 else 0.0)
        proven = clock.exposed_after(arrived, exposed if stamped == "exposure" else None)
        assert proven is None or proven <= exposed + 0.03
        if clock.fault():
            first_fault = first_fault or arrived
            break
    assert first_fault is not None
    assert first_fault < 3.1 + LATE_S + 0.2
    assert "behind" in clock.fault()


def test_frames_that_come_faster_than_the_stated_rate_prove_nothing() -> None:
    clock = SourceClock(BASE_S, 1 / 10)
    proven = [clock.exposed_after(number / 30 + BASE_S) for number in range(300)]
    assert set(proven) == {None}


@pytest.mark.parametrize(("latency_s", "period_s"), [(None, 0.04), (0.1, None), (None, None)])
def test_a_stream_whose_latency_or_rate_is_unknown_proves_nothing_and_is_never_at_fault(
    latency_s: float | None, period_s: float | None
) -> None:
    clock = SourceClock(latency_s, period_s)
    assert {clock.exposed_after(at * 0.3, at * 0.04) for at in range(100)} == {None}
    assert clock.fault() == ""


def test_one_lost_frame_costs_no_proof() -> None:
    stream = Stream(missing=frozenset({100, 160}))
    assert all(proven is not None for at, _, proven in proofs(stream) if at > 1)
