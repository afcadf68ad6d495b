"""From a camera's bytes to a picture that may be judged: whole, of a possible size, and always of the same size."""

from __future__ import annotations

import numpy as np
import simplejpeg

from edge.cameras import Shot
from edge.core.types import Image
from edge.inference.container import JPEG_START, container_fault
from edge.inference.preprocess import MAX_PIXELS

MIN_SIDE = 16  # pixels
MAX_SIDE = 32768  # pixels; JPEG, in which pictures are kept, ends at 65500
MAX_RATIO = 64  # of the longer side to the shorter one
BLANK: Image = np.zeros((480, 640, 3), np.uint8)  # stands for a picture that cannot be shown
BLANK.flags.writeable = False

# The words do not say how: they would differ from frame to frame, and each would be a line in the log.
TORN = "the frame is torn: it lacks a part of its bytes; check the camera, its cable and the network"
DAMAGED = (ValueError, KeyError, MemoryError)  # of simplejpeg


def picture_of(jpeg: bytes) -> tuple[Image, str]:
    """Decode one JPEG of a camera to (H, W, 3) uint8 BGR, with the cause why it must not be judged, or "".

    A JPEG that lacks anything, or from which libjpeg has to guess anything, is torn. Its picture is for the eye only.
    """
    if not jpeg.startswith(JPEG_START):
        return BLANK, "the frame is no JPEG; set the camera to motion JPEG"
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(jpeg, strict=False)
    except DAMAGED:
        return BLANK, TORN
    if fault := unfit(width, height):
        return BLANK, fault
    if colours == "CMYK":
        return BLANK, "the frame is a CMYK JPEG; set the camera to colour (YCbCr) or grey"
    if container_fault(jpeg, MAX_PIXELS):
        return BLANK, "the frame holds more than one picture; the camera or the network mixed two"
    try:
        return simplejpeg.decode_jpeg(jpeg, "BGR", strict=True), ""
    except DAMAGED:
        return _guess(jpeg), TORN


def _guess(jpeg: bytes) -> Image:
    """Return what can be seen of a torn picture."""
    try:
        return np.asarray(simplejpeg.decode_jpeg(jpeg, "BGR", strict=False), np.uint8)
    except DAMAGED:
        return BLANK


def unfit(width: int, height: int) -> str:
    """Return why no picture of this size is judged, or "": a camera that gives one is set up wrongly, or broken."""
    shorter, longer = min(width, height), max(width, height)
    if shorter < MIN_SIDE or longer > MAX_SIDE or longer > MAX_RATIO * shorter or width * height > MAX_PIXELS:
        return (
            f"the frame is {width}x{height}; a side has {MIN_SIDE} to {MAX_SIDE} pixels, the longer one at most "
            f"{MAX_RATIO} times the shorter, and all at most 64 megapixels; check the camera"
        )
    return ""


class Sizes:
    """Holds a camera to the size of its first picture: another size would be another scale of the part."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None

    def checked(self, shot: Shot) -> Shot:
        """Return the shot, marked as faulty when its picture has a size that must not be judged."""
        if shot.fault:
            return shot
        height, width = shot.image.shape[:2]
        if fault := unfit(width, height):
            return Shot(BLANK, shot.exposed_after, fault)
        first = self._first = self._first or (width, height)
        if (width, height) == first:
            return shot
        fault = (
            f"the frame is {width}x{height}, the first was {first[0]}x{first[1]}; set the camera back, "
            "or restart the engine if this is meant"
        )
        return Shot(shot.image, shot.exposed_after, fault)
