"""Does the picture live? A sensor's noise and a new part change most of it; a clock on a frozen one changes little."""

from __future__ import annotations

import numpy as np

from edge.core.types import Frame, Image

STEP = 8  # pixels: one row of eight is looked at, in pieces of eight pixels, as video codecs cut a picture
LEARN = 40  # frames from which a camera's own restlessness is learned
QUIET = 0.04  # a camera that changes less from frame to frame has no noise to go by
MOST = 0.25  # of the picture: what changes less is an overlay, however restless the camera is
FROZEN = "frozen: it repeats one and the same frame; check the camera and its cable"
CLOCK = 12.0  # pieces that a small clock changes, with what a JPEG spreads of it
SAME_PART = 0.02  # share of the inspected picture that another part changes at least, without any noise


def changed(one: Image, other: Image) -> float:
    """Return the share, 0 to 1, of two (H, W, 3) uint8 pictures in which any value differs; 1 when sizes differ."""
    if one.shape != other.shape:
        return 1.0
    rows = one[STEP // 2 :: STEP] if one.shape[0] > STEP else one
    others = other[STEP // 2 :: STEP] if one.shape[0] > STEP else other
    differs = (rows != others).any(axis=2)
    pieces = np.add.reduceat(differs, np.arange(0, differs.shape[1], STEP), axis=1)
    return float((pieces > 0).mean())


class Restlessness:
    """Learns from a camera's first frames how much of the picture changes from one frame to the next."""

    def __init__(self) -> None:
        self._shares: list[float] = []
        self.limit = 0.0  # the share up to which a picture repeats the one before; 0: only an identical one does

    def repeats(self, image: Image, last: Image) -> bool:
        """Say whether a frame repeats the one before it, but for an overlay such as a clock."""
        share = changed(image, last)
        if share == 0.0:
            return image.shape == last.shape and np.array_equal(image, last)
        if len(self._shares) < LEARN:
            self._learn(share)
        return share <= self.limit

    def _learn(self, share: float) -> None:
        self._shares.append(share)
        if len(self._shares) == LEARN:
            usual = float(np.quantile(self._shares, 0.25))
            self.limit = min(MOST, usual / 2) if usual >= QUIET else 0.0


class PartWatch:
    """Tells a new part's picture from the last part's: a trigger says that there is a new part."""

    def __init__(self) -> None:
        self._last: Image | None = None

    def fault(self, frame: Frame, box: tuple[int, int, int, int]) -> str:
        """Return why this frame shows no new part; empty when it may. box: x, y, width, height to be judged."""
        if frame.still is None:
            return ""
        x, y, width, height = box
        image = frame.image[y : y + height, x : x + width]
        last, self._last = self._last, image
        if last is None:
            return ""
        share = changed(image, last)
        pieces = image.shape[0] * image.shape[1] / STEP**2
        if share > max(frame.still, min(MOST, max(SAME_PART, CLOCK / pieces))):
            return ""
        return f"frozen: {1 - share:.1%} of the picture is that of the part before; check the camera and its cable"
