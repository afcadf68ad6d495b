"""The size of a model's input, from the images' own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from edge.inference.preprocess import InputSpec, load_image
from train.config import TrainConfig
from train.data.dataset import DataError, Sample

MAX_NATIVE = 2048  # pixels a side
MULTIPLE = 16  # sides are multiples of the coarsest stride, so that the two feature grids fit each other


def input_spec(samples: Sequence[Sample], recipe: TrainConfig) -> InputSpec:
    """Return the model's input for these images: their aspect ratio, about side^2 pixels, sides multiples of 16.

    Without a wanted side it is 0.4 of the images' own, between 320 and 640: larger parts need more cells
    (a 2000x1334 board set: AUROC .87 at 320, .95 at 640), smaller images do not get better by enlarging. Native: the
    images' own, with sides up to 15 pixels longer, so that nothing is averaged away.
    """
    return spec_of(own_size(samples, recipe), recipe)


def own_size(samples: Sequence[Sample], recipe: TrainConfig) -> tuple[float, float]:
    """Return the median (height, width) in pixels of what is inspected of the images."""
    if recipe.crop is not None:
        return float(recipe.crop.height), float(recipe.crop.width)
    shapes = [load_image(sample.path).shape for sample in samples[:: max(1, len(samples) // 25)]]
    height, width = (float(np.median([shape[axis] for shape in shapes])) for axis in (0, 1))
    return height, width


def spec_of(size: tuple[float, float], recipe: TrainConfig) -> InputSpec:
    """Return the model's input for images of a (height, width); raises DataError when native sides are too long."""
    height, width = size
    if recipe.native:
        return InputSpec(crop=recipe.crop, width=_whole(width), height=_whole(height), interpolation="linear")
    side = recipe.side or min(max(0.4 * (height * width) ** 0.5, 320.0), 640.0)
    scale = side / (height * width) ** 0.5
    # Below a factor of two bilinear sees every pixel, too, and takes a fifth of the time.
    how: Literal["area", "linear"] = "linear" if scale > 0.5 else "area"
    width, height = width * scale, height * scale
    return InputSpec(crop=recipe.crop, width=_rounded(width), height=_rounded(height), interpolation=how)


def _rounded(pixels: float) -> int:
    return max(4, round(pixels / MULTIPLE)) * MULTIPLE


def _whole(pixels: float) -> int:
    """A side that a grid of MULTIPLE covers; raises DataError when it is longer than the station can judge in time."""
    if pixels > MAX_NATIVE:
        raise DataError(f"native: an image side of {pixels:.0f} pixels is over {MAX_NATIVE}; give a crop, or a side")
    return math.ceil(pixels / MULTIPLE) * MULTIPLE
