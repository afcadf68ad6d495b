"""The size of a model's input, from the images' own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from edge.core.types import FULL, Bits
from edge.inference.preprocess import InputSpec, load_image, used_bits
from train.config import TrainConfig
from train.data.dataset import MIN_SIDE, DataError, Sample

MAX_NATIVE = 2048  # pixels a side
MULTIPLE = 16  # sides are multiples of the coarsest stride, so that the two feature grids fit each other


def input_spec(samples: Sequence[Sample], recipe: TrainConfig) -> InputSpec:
    """Return the model's input for these images: their aspect ratio, about side^2 pixels, sides multiples of 16.

    Without a wanted side it is 0.4 of the images' own, between 320 and 640: larger parts need more cells
    (a 2000x1334 board set: AUROC .87 at 320, .95 at 640), smaller images do not get better by enlarging. Native: the
    images' own, with sides up to 15 pixels longer, so that nothing is averaged away.
    """
    return spec_of(own_size(samples, recipe), recipe)


def with_bits(samples: Sequence[Sample], recipe: TrainConfig) -> TrainConfig:
    """Return the recipe with the bits that the samples of these good images use; raises DataError if they disagree.

    A recipe that states them, and photos with 8 bits a sample, change nothing.
    """
    bits = recipe.bits if recipe.bits is not None else agreed_bits([sample.path for sample in samples])
    return recipe if bits is None else recipe.model_copy(update={"bits": bits})


def agreed_bits(paths: Sequence[Path]) -> Bits | None:
    """Return the bits that the 16-bit samples of every file use, None where all files have 8 bits a sample.

    Raises DataError naming two files that use different ones: which is right, only a person knows.
    """
    first: dict[Bits | None, Path] = {}
    for path in paths:
        first.setdefault(used_bits(path), path)
    if len(first) > 1:
        (one, path), (other, file), *_ = sorted(first.items(), key=lambda item: item[0] or 0)
        words = "8 bits a sample" if one is None else f"{one} of 16 bits a sample"
        raise DataError(
            f"{path} has {words} and {file} uses {other} of 16: good images of one camera setting agree; "
            f"state what the camera gives, e.g. --bits {max(bits or 0 for bits in first)}"
        )
    return next(iter(first), None)


def own_size(samples: Sequence[Sample], recipe: TrainConfig) -> tuple[float, float]:
    """Return the median (height, width) in pixels of what is inspected of the images."""
    if recipe.crop is not None:
        return _wide_enough(float(recipe.crop.height), float(recipe.crop.width))
    shapes = [load_image(sample.path).shape for sample in samples[:: max(1, len(samples) // 25)]]
    height, width = (float(np.median([shape[axis] for shape in shapes])) for axis in (0, 1))
    return _wide_enough(height, width)


def _wide_enough(height: float, width: float) -> tuple[float, float]:
    if min(height, width) < MIN_SIDE:
        raise DataError(f"{width:.0f}x{height:.0f} pixels are inspected; at least {MIN_SIDE} a side are needed")
    return height, width


def spec_of(size: tuple[float, float], recipe: TrainConfig) -> InputSpec:
    """Return the model's input for images of a (height, width); raises DataError when native sides are too long."""
    height, width = size
    bits = FULL if recipe.bits is None else recipe.bits
    if recipe.native:
        return InputSpec(
            crop=recipe.crop, width=_whole(width), height=_whole(height), interpolation="linear", bits=bits
        )
    side = recipe.side or min(max(0.4 * (height * width) ** 0.5, 320.0), 640.0)
    scale = side / (height * width) ** 0.5
    # Below a factor of two bilinear sees every pixel, too, and takes a fifth of the time.
    how: Literal["area", "linear"] = "linear" if scale > 0.5 else "area"
    width, height = width * scale, height * scale
    return InputSpec(crop=recipe.crop, width=_rounded(width), height=_rounded(height), interpolation=how, bits=bits)


def _rounded(pixels: float) -> int:
    return max(4, round(pixels / MULTIPLE)) * MULTIPLE


def _whole(pixels: float) -> int:
    """A side that a grid of MULTIPLE covers; raises DataError when it is longer than the station can judge in time."""
    if pixels > MAX_NATIVE:
        raise DataError(f"native: an image side of {pixels:.0f} pixels is over {MAX_NATIVE}; give a crop, or a side")
    return math.ceil(pixels / MULTIPLE) * MULTIPLE
