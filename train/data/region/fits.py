"""Whether every photo of a data set holds what is inspected. What does not is refused before anything is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.inference.preprocess import InputSpec, ignored, load_image
from train.config import TrainConfig
from train.data.dataset import DataError, Dataset, Sample

GRID = 256  # cells a side of the region that polygons are drawn on


def refuse_unfit(dataset: Dataset, recipe: TrainConfig) -> None:
    """Raise DataError naming the first photo, whatever its role, that does not hold the region of the recipe.

    A part is followed in photos of one size. Polygons to ignore must lie in the good photos and leave something.
    """
    if recipe.region is None and recipe.followed is None and not recipe.ignore:
        return
    if recipe.followed is not None:
        size = recipe.followed.width, recipe.followed.height
        if (other := of_other_size(dataset.samples, size)) is not None:
            raise DataError(f"follow: {other}; remove it, or train with --follow off")
        sizes = dict.fromkeys(dataset.samples, size)
    else:
        sizes = {sample: size_of(sample) for sample in dataset.samples}
    crop = recipe.region
    for sample, (width, height) in sizes.items():
        if crop is not None and (crop.x + crop.width > width or crop.y + crop.height > height):
            raise DataError(
                f"crop: {crop.x},{crop.y},{crop.width},{crop.height} lies outside {sample.path}, which has "
                f"{width}x{height} pixels; remove the photo, state a region inside every photo, or give --crop off"
            )
    if recipe.ignore:
        goods: dict[tuple[int, int], Path] = {}
        for sample in dataset.train_good:
            goods.setdefault(sizes[sample], sample.path)
        _refuse_polygons(goods, recipe)


def of_other_size(samples: Sequence[Sample], size: tuple[int, int]) -> str | None:
    """Return in words which photo has not this (width, height) in pixels; None where all have it."""
    for sample in samples:
        own = size_of(sample)
        if own != size:
            return f"{sample.path} has {own[0]}x{own[1]} pixels, and the good photos have {size[0]}x{size[1]}"
    return None


def size_of(sample: Sample) -> tuple[int, int]:
    """Return the width and the height of a photo in pixels."""
    height, width = load_image(sample.path).shape[:2]
    return width, height


def _refuse_polygons(goods: dict[tuple[int, int], Path], recipe: TrainConfig) -> None:
    """goods: (width, height) of good photos, and the first of each size."""
    widest, highest = (max(size[axis] for size in goods) for axis in (0, 1))
    for number, polygon in enumerate(recipe.ignore, 1):
        x, y = zip(*polygon, strict=True)
        if max(x) <= 0 or max(y) <= 0 or min(x) >= widest or min(y) >= highest:
            raise DataError(
                f"ignore: polygon {number} lies outside of the good photos, which have {widest}x{highest} pixels; "
                "draw it in pixels of a photo, or leave it out"
            )
    for (width, height), path in goods.items():
        spec = InputSpec(crop=recipe.region, width=GRID, height=GRID, ignore=recipe.ignore)
        if ignored((GRID, GRID), spec, (height, width)).all():
            raise DataError(f"ignore: the polygons cover all that is inspected of {path}; draw smaller ones")
