"""When was a stream's frame exposed? A stream does not say, so this bounds it from below by what can be observed."""

from __future__ import annotations

from edge.config.cameras import VideoCameraConfig

# Frames must come in step for so long, after an opening or a gap, before one is proven: the longer of the two.
SETTLE_S, SETTLE_PERIODS = 0.5, 4.0
# A silence longer than both is a gap: what follows may have been stored meanwhile. A network's jitter is none.
GAP_S, GAP_PERIODS = 0.15, 2.0
# Frames that outrun the stream's own time by more than the longer of the two were stored.
AHEAD_S, AHEAD_PERIODS = 0.025, 0.5
LATE_PERIODS, LATE_S = 1.5, 2.0  # a stream that is further behind for so long does not catch up
DRIFT_STAMPED = 5e-4  # of two quartz clocks, with room
DRIFT_COUNTED = 5e-3  # of a rate that was measured or stated


class SourceClock:
    """Gives each frame of one connection a time that its exposure cannot have begun before; make one an opening.

    A frame is exposed, waits in the camera and on the network, and arrives. latency_s bounds the wait of a frame that
    nothing delays; it is measured at commissioning. What a frame waited beyond that shows against the stream's own
    time: its timestamps or, where it has none, one period for each frame, because a camera does not expose faster.
    Behind a gap, and behind an opening, stored frames come faster than the camera's rate. Nothing is proven until the
    frames come in step again.
    """

    def __init__(self, latency_s: float | None, period_s: float | None) -> None:
        """latency_s, period_s: None where unknown; then nothing is ever proven, and the stream is never at fault."""
        self._latency_s, self._period_s = latency_s, period_s
        self._arrived_at: float | None = None
        self._stamp_s: float | None = None
        self._behind_s = 0.0  # how much longer than the quickest frame this one waited
        self._ahead_s = 0.0  # how far the frames lately outran the stream's own time
        self._in_step_since = 0.0
        self._behind_since: float | None = None

    def exposed_after(self, arrived_at: float, stamp_s: float | None = None) -> float | None:
        """Return monotonic s that the frame's exposure began at or after; None when nothing is proven.

        Call it for every frame in order, whole or torn. arrived_at: monotonic s, when its last byte was there.
        stamp_s: the stream's own timestamp, of any epoch; None where it has none.
        """
        if self._latency_s is None or self._period_s is None:
            return None
        self._follow(arrived_at, stamp_s, self._period_s)
        self._arrived_at, self._stamp_s = arrived_at, stamp_s
        if not self._in_step(arrived_at, self._period_s):
            return None
        return arrived_at - self._latency_s - self._behind_s

    def _in_step(self, arrived_at: float, period_s: float) -> bool:
        return arrived_at - self._in_step_since >= max(SETTLE_S, SETTLE_PERIODS * period_s)

    def _follow(self, arrived_at: float, stamp_s: float | None, period_s: float) -> None:
        """Weigh the time since the frame before against the stream's own."""
        if self._arrived_at is None:
            self._in_step_since = arrived_at
            return
        gap_s = arrived_at - self._arrived_at
        stamped = stamp_s is not None and self._stamp_s is not None
        step_s = stamp_s - self._stamp_s if stamp_s is not None and self._stamp_s is not None else period_s
        drift_s = min(gap_s, period_s) * (DRIFT_STAMPED if stamped else DRIFT_COUNTED)
        lag_s = self._behind_s + gap_s - step_s  # below 0: it came quicker than any frame before it
        self._behind_s = max(0.0, lag_s - drift_s)
        # Before frames come in step any catching up counts: the quickest wait is not known yet.
        outran_s = max(0.0, -lag_s) if self._in_step(self._arrived_at, period_s) else step_s - gap_s
        self._ahead_s = max(0.0, self._ahead_s + outran_s - drift_s)
        restamped = stamped and step_s < period_s / 2  # a relay that stamps what it sends, or no clock at all
        ahead = self._ahead_s > max(AHEAD_S, AHEAD_PERIODS * period_s)
        if restamped or gap_s > max(GAP_PERIODS * period_s, GAP_S) or ahead:
            self._in_step_since, self._ahead_s = arrived_at, 0.0
        if self._behind_s <= LATE_PERIODS * period_s:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = arrived_at

    def fault(self) -> str:
        """Return why the stream must be opened again; empty when it need not."""
        if self._behind_since is None or self._arrived_at is None or self._period_s is None:
            return ""
        if self._arrived_at - self._behind_since < LATE_S:
            return ""
        return (
            f"the stream is {self._behind_s * 1e3:.0f} ms behind and does not catch up, or gives fewer than "
            f"{1 / self._period_s:.3g} frames a second; check the network, or correct camera.fps"
        )


def clock_of(config: VideoCameraConfig) -> SourceClock:
    """Return the clock of one connection of a camera without timestamps of its own exposures."""
    latency_s = None if config.latency_ms is None else config.latency_ms / 1e3
    return SourceClock(latency_s, None if config.fps is None else 1.0 / config.fps)
