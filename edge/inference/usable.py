"""Does a picture show anything? One function for the line, an upload, a file and a training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.core.types import Image
from edge.inference.part import PartNotFoundError
from edge.inference.preprocess import ImageError, InputSpec, load_image, view_of

SAMPLES = 64  # about so many rows and columns are looked at
BLACKEST = 16  # no sample brighter than this: the lens is covered or the light is off
WHITEST = 250  # no sample darker than this: over-exposed
FLATTEST = 2  # brightest minus darkest sample of each colour: not a picture of anything
# A decoder that gets no colours, or nothing at all, leaves zeros in its YUV planes, and they are this green: 135 or 154
# by BT.601, 77 or 84 by BT.709, as the decoder reads the range. Red and blue are 0, which no sensor's noise allows.
EMPTY_GREENS = (77, 84, 135, 154)
NEAR = 3  # grey levels that rounding and a second JPEG add
LIFTED = 128  # the least green where only the brightness arrived, by BT.601
MOST_EMPTY = 0.02  # share of the samples: a row of blocks is more
TILE = 48  # edge of the nine full-resolution squares in which neighbours are compared
LOUDEST = 20.0  # grey levels of standard deviation: what a sensor adds to a picture is less
ALIKE = 0.3  # correlation of neighbours: more than 0.5 in photographs of parts, less than 0.2 in noise


class UnusableError(ImageError):
    """An image that was read and shows nothing; the line gives ERROR for such a frame."""


def unusable(image: Image) -> str | None:
    """Return in one line why an (H, W, 3) uint8 BGR frame cannot be judged; None when it can.

    Only frames that show nothing are refused: a dark part, or one that is all black and white, is fine. Each colour
    is looked at by itself, so that a frame of one colour shows nothing, too. Noise, and the green that a decoder
    leaves where it had nothing to decode, show nothing either.
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
    if _empty(sample) > MOST_EMPTY:
        return "the frame, or a part of it, is the green of a decoder without data; check the camera and the network"
    if min(image.shape[:2]) >= 3 * TILE and all(map(_is_noise, _tiles(image))):
        return "the frame is noise; check the camera and its cable"
    return None


def _empty(sample: NDArray[np.uint8]) -> float:
    """Return the share of (N, 3) BGR samples that are a decoder's green; 1 where all of them lack their colours."""
    blueless = sample[sample[:, 0] <= NEAR]
    if len(blueless) <= MOST_EMPTY * len(sample):
        return 0.0
    green, red = blueless[:, 1], blueless[:, 2]
    if len(blueless) == len(sample) and ((green >= LIFTED) & ((red <= NEAR) | (green >= WHITEST))).all():
        return 1.0
    levels = np.zeros(256, bool)
    for level in EMPTY_GREENS:
        levels[level - NEAR : level + NEAR + 1] = True
    return float((levels[green] & (red <= NEAR)).sum() / len(sample))


def _tiles(image: Image) -> Iterator[NDArray[np.uint8]]:
    """Yield nine squares of green at full resolution."""
    height, width = image.shape[:2]
    for top in (round(share * (height - TILE)) for share in (0.15, 0.5, 0.85)):
        for left in (round(share * (width - TILE)) for share in (0.15, 0.5, 0.85)):
            yield image[top : top + TILE, left : left + TILE, 1]


def _is_noise(tile: NDArray[np.uint8]) -> bool:
    """Say whether neighbours have nothing in common, across and down, in a square that is neither flat nor binary.

    A part that is only black and white may be a dither, whose neighbours differ, too.
    """
    rest = tile - tile.mean(dtype=np.float32)
    variance = float(np.square(rest).mean())
    across, down = (float(pairs.mean()) for pairs in (rest[:, 1:] * rest[:, :-1], rest[1:] * rest[:-1]))
    if variance <= LOUDEST**2 or max(abs(across), abs(down)) >= ALIKE * variance:
        return False
    return float(((tile > BLACKEST) & (tile < 255 - BLACKEST)).mean()) > 0.1


def load_photo(path: Path, spec: InputSpec) -> Image:
    """Read an image file for a bundle of this input, (H, W, 3) uint8 BGR.

    Raises UnusableError when the line would refuse it, ImageError when it cannot be read; both name the file.
    """
    image = load_image(path, spec.bits)
    refused = unusable(image)
    if refused is not None:
        raise UnusableError(f"{path}: {refused}")
    if spec.searches:
        try:
            view_of(image, spec)
        except PartNotFoundError as error:
            raise UnusableError(f"{path}: {error}") from error
    return image
