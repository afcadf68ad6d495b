"""Is this frame fit to be judged at all? Pure, and cheap enough for every part."""

from __future__ import annotations

import numpy as np

from edge.types import Image

SAMPLES = 64  # about so many rows and columns are looked at
BLACKEST = 16  # no sample brighter than this: the lens is covered or the light is off
WHITEST = 250  # no sample darker than this: over-exposed
FLATTEST = 2  # brightest minus darkest sample: not a picture of anything


def unusable(image: Image) -> str | None:
    """Why an (H, W, 3) uint8 BGR frame cannot be judged, in one line; None when it can.

    Only frames that show nothing are refused: a dark part, or one that is all black and white, is fine.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        return f"the frame is {image.shape} {image.dtype}, not (H, W, 3) uint8"
    step = max(1, min(image.shape[:2]) // SAMPLES)
    sample = image[::step, ::step]
    darkest, brightest = int(sample.min()), int(sample.max())
    if brightest <= BLACKEST:
        return f"the frame is black (brightest sample {brightest}); check the light and the lens cap"
    if darkest >= WHITEST:
        return f"the frame is white (darkest sample {darkest}); check exposure and light"
    if brightest - darkest <= FLATTEST:
        return f"the frame is one flat tone ({darkest} to {brightest}); check the camera"
    return None
