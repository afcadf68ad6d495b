"""The size and depth of a model's input, from the good images, and which of them show anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.core.types import FULL, Bits, Image
from edge.inference.preprocess import MOST_ENLARGED, InputSpec, load_image, used_bits
from edge.inference.usable import unusable
from train.config import TrainConfig
from train.data.dataset import GOOD, MIN_SIDE, DataError, Dataset, Sample
from train.run import progress

BLANK_SHARE = 0.1  # of the good images may show nothing and are left out
MAX_NATIVE = 2048  # pixels a side
TAUGHT_TWO_FROM = 256  # pixels a side of the images from which on two scales are judged by a taught backbone
TWO_FROM = 600  # the same by a backbone that no defects have taught
SHARE_OF_TWO = 0.72  # of the images' side, for the larger of two scales
MAX_TWO = 1280.0
MOST_LARGER = MOST_ENLARGED - 0.5  # times the images' own side, where nobody names one; sides are then rounded
MULTIPLE = 16  # sides are multiples of the coarsest stride, so that the two feature grids fit each other


def with_scales(recipe: TrainConfig, size: tuple[float, float], labels: bool) -> TrainConfig:
    """Return the recipe with its number of scales decided, from the images' own (height, width).

    Two scales look at large photographs with almost all of their resolution and yet see enough of the part at once.
    Small ones gain where defects have taught the backbone, and may lose where they have not (docs/decisions/0013 and
    0035). A side that the recipe names is one.
    """
    if recipe.scales:
        return recipe
    named = recipe.native or recipe.side is not None or recipe.patch_stride != MULTIPLE
    least = TAUGHT_TWO_FROM if labels or recipe.teaches else TWO_FROM
    one = named or (size[0] * size[1]) ** 0.5 < least
    return recipe.model_copy(update={"scales": 1 if one else 2})


def input_spec(samples: Sequence[Sample], recipe: TrainConfig) -> InputSpec:
    """Return the model's input for these images: their aspect ratio, about side^2 pixels, sides multiples of 16.

    Without a wanted side it is 0.4 of the images' own, between 320 and 640: larger parts need more cells
    (a 2000x1334 board set: AUROC .87 at 320, .95 at 640), smaller images do not get better by enlarging. Native: the
    images' own, with sides up to 15 pixels longer, so that nothing is averaged away. With two scales it is 0.72 of the
    images' own, between 320 and 1280, and a multiple of 32, so that both grids fit.
    """
    return spec_of(own_size(samples, recipe), recipe)


def too_many_blank(number: int, of: int) -> bool:
    """Say whether so many good images that show nothing are a fault of the camera, not a slip of the shutter."""
    return number > BLANK_SHARE * of


def without_blank(dataset: Dataset, recipe: TrainConfig) -> Dataset:
    """Return the data set without the good training images that the station would refuse; each is named.

    Raises DataError when they are too many to be slips, and when all others are copies of one picture.
    """
    kept: list[Sample] = []
    blank: list[Sample] = []
    first: Image | None = None
    copies = 0
    for sample in progress(dataset.train_good, "good images"):
        image = load_image(sample.path, FULL if recipe.bits is None else recipe.bits)
        refused = unusable(image)
        (kept if refused is None else blank).append(sample)
        if refused is None and copies == len(kept) - 1:  # as long as all are alike
            first = image if first is None else first
            copies += np.array_equal(image, first)
        if refused is not None:
            print(f"{sample.path}: {refused}; left out, the station would refuse it")
    if too_many_blank(len(blank), len(dataset.train_good)):
        raise DataError(f"{len(blank)} of {len(dataset.train_good)} good images show nothing; run `train check`")
    if len(kept) > 1 and copies == len(kept):
        raise DataError(all_alike(dataset.root, copies))
    return replace(dataset, train_good=tuple(kept))


def all_alike(root: Path, count: int) -> str:
    """Return the fact and the remedy of good images that tell nothing of how good parts differ."""
    return f"{root / 'train' / GOOD}: all {count} good images are copies of one picture; photograph different parts"


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
    if recipe.region is not None:
        return _wide_enough(float(recipe.region.height), float(recipe.region.width))
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
    multiple = MULTIPLE * max(1, recipe.scales)
    place: dict[str, Any] = {
        "crop": recipe.region,
        "follow": recipe.followed,
        "align": recipe.align,
        "ignore": recipe.ignore,
        "bits": bits,
    }
    if recipe.native:
        width, height = (_whole(side, multiple) for side in (width, height))
        return InputSpec(width=width, height=height, interpolation="linear", **place)
    own = (height * width) ** 0.5
    share, most = (SHARE_OF_TWO, MAX_TWO) if recipe.scales == 2 or recipe.places else (0.4, 640.0)
    usual = min(max(share * own, 320.0), most)
    scale = (recipe.side or min(usual, MOST_LARGER * own)) / own
    # Below a factor of two bilinear sees every pixel, too, and takes a fifth of the time.
    how: Literal["area", "linear"] = "linear" if scale > 0.5 else "area"
    width, height = width * scale, height * scale
    width, height = (max(4, round(side / multiple)) * multiple for side in (width, height))
    return InputSpec(width=width, height=height, interpolation=how, **place)


def _whole(pixels: float, multiple: int) -> int:
    """A side that a grid of cells covers; raises DataError when it is longer than the station can judge in time."""
    if pixels > MAX_NATIVE:
        raise DataError(f"native: an image side of {pixels:.0f} pixels is over {MAX_NATIVE}; give a crop, or a side")
    return math.ceil(pixels / multiple) * multiple
