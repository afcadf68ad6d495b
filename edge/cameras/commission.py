"""Commissioning: pictures of good parts from a running camera, from which a baseline is made."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.cameras.capture import FrameSlot
from edge.cameras.quality import QualityError
from edge.core.types import Frame

FIRST_FRAME_WITHIN_S = 10.0
NEXT_FRAME_WITHIN_S = 5.0


def grab(slot: FrameSlot, count: int, seconds: float, fault: Callable[[], str]) -> list[Frame]:
    """Wait for `count` new frames that are spread over so many seconds; raises QualityError when none comes.

    fault: called for the reason that the camera gives then; may be empty.
    """
    grabbed: list[Frame] = []
    began, wait_s = time.monotonic(), FIRST_FRAME_WITHIN_S
    while len(grabbed) < count:
        frame = slot.newer_than(time.monotonic(), wait_s)
        if frame is None:
            raise QualityError(f"the camera is in fault: {fault() or 'no frame'}")
        wait_s = NEXT_FRAME_WITHIN_S
        grabbed.append(frame)
        due = began + len(grabbed) * seconds / count
        time.sleep(max(0.0, due - time.monotonic()))
    return grabbed
