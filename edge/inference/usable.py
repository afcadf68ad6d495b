"""Does a picture show anything? One function for the line, an upload, a file and a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.core.types import Image
from edge.inference.preprocess import ImageError, InputSpec, load_image

SAMPLES = 64  # about so many rows and columns are looked at
BLACKEST = 16  # no sample brighter than this: the lens is covered or the light is off
WHITEST = 250  # no sample darker than this: over-exposed
FLATTEST = 2  # brightest minus darkest sample of each colour: not a picture of anything


class UnusableError(ImageError):
    """An image that was read and shows nothing; the line gives ERROR for such a frame."""


def unusable(image: Image) -> str | None:
    """Return in one line why an (H, W, 3) uint8 BGR frame cannot be judged; None when it can.

    Only frames that show nothing are refused: a dark part, or one that is all black and white, is fine. Each colour
    is looked at by itself, so that a frame of one colour shows nothing, too.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        return f"the frame is {image.shape} {image.dtype}, not (H, W, 3) uint8"
    step = max(1, min(image.shape[:2]) // SAMPLES)
    sample = np.ascontiguousarray(image[::step, ::step]).reshape(-1, 3)
    darkest, brightest = sample.min(axis=0), sample.max(axis=0)
    if brightest.max() <= BLACKEST:
        return f"the frame is black (brightest sample {brightest.max()}); check the light and the lens cap"
    if darkest.min() >= WHITEST:
        return f"the frame is white (darkest sample {darkest.min()}); check exposure and light"
    if (brightest - darkest).max() <= FLATTEST:
        return f"the frame is one flat tone ({darkest.min()} to {brightest.max()}); check the camera"
    return None


def load_photo(path: Path, spec: InputSpec) -> Image:
    """Read an image file for a bundle of this input, (H, W, 3) uint8 BGR.

    Raises UnusableError when the line would refuse it, ImageError when it cannot be read; both name the file.
    """
    image = load_image(path, spec.bits)
    refused = unusable(image)
    if refused is not None:
        raise UnusableError(f"{path}: {refused}")
    return image
