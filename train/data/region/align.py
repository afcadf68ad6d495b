"""Whether all good photos can be laid over one of them, and how: for parts that show the same at the same place."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.core.types import FULL, Image
from edge.inference.part import Floats, PartNotFoundError, locate
from edge.inference.part.align import Align, Alignment, Grey, alignment, factor_for, grey_of, written_picture
from edge.inference.preprocess import load_image
from train.config import TrainConfig
from train.data.dataset import DataError, Dataset, Sample
from train.data.region import propose
from train.run import progress

BETTER = 0.6  # of what the good photos differ by, that is left where following the part is worth it
ALIKE = 0.8  # correlation that every good photo must have with their mean
SLACK = 0.15  # of correlation below the least like good part that still counts as the part: a defect lowers it
FARTHER, MORE = 1.5, 0.02  # reach: times the farthest good part, and a share of the region's longer side


def with_align(dataset: Dataset, recipe: TrainConfig, wanted: TrainConfig) -> tuple[TrainConfig, str]:
    """Return the recipe with the way in which all good photos are laid over each other, if there is one.

    wanted: the recipe before its region was decided. Where it leaves open whether the part is followed, both are tried:
    a part that turns in its place is followed where it then lies over the others much better. With the words for a
    region that follows, or none.
    """
    align, _ = find_align(dataset.train_good, recipe)
    still = recipe.model_copy(update={"align": align})
    if wanted.follow != "auto" or recipe.followed is not None:
        return still, ""
    try:
        found = propose(dataset, wanted.model_copy(update={"follow": "on", "bits": recipe.bits}))
    except DataError:
        return still, ""
    reference = None if found.photo is None else found.photo.name
    turning = recipe.model_copy(update={"crop": found.crop, "follow": found.follow, "reference": reference})
    other, _ = find_align(dataset.train_good, turning)
    if other is None or (align is not None and _differs(other) > BETTER * _differs(align)):
        return still, ""
    return turning.model_copy(update={"align": other}), found.words


def find_align(goods: Sequence[Sample], recipe: TrainConfig) -> tuple[Align | None, str]:
    """Return how every good photo is laid over the reference, or None and why that cannot be.

    The reference is the first good photo, or the one that a followed part is compared with; what is compared is the
    mean of all good photos laid over it.
    """
    box, size = _box(goods, recipe)
    if box is None:
        return None, "the good photos have several sizes"
    factor = factor_for(box)
    first = next((good for good in goods if good.path.name == recipe.reference), goods[0])
    picture = grey_of(_load(first, recipe), box, factor)
    picture, found, lost = _laid(goods, picture, box, factor, recipe)
    if lost is None:
        _, found, lost = _laid(goods, picture, box, factor, recipe)
    if lost is not None:
        return None, f"{lost.path.name} cannot be laid over {first.path.name}"
    return Align(
        width=size[0],
        height=size[1],
        box=box,
        factor=factor,
        picture=written_picture(picture),
        least=max(0.0, min(one.likeness for one in found) - SLACK),
        reach_px=FARTHER * max(one.shift for one in found) + MORE * max(box[2:]),
    ), ""


def _differs(align: Align) -> float:
    """Return by how much the least like good photo differs from the mean, 0..1."""
    return 1.0 - (align.least + SLACK)


def _laid(
    goods: Sequence[Sample], picture: Grey, box: tuple[int, int, int, int], factor: int, recipe: TrainConfig
) -> tuple[Grey, list[Alignment], Sample | None]:
    """Lay all good photos over a picture; return their mean, where they lie, and the first that cannot be laid."""
    total = np.zeros(picture.shape, np.float64)
    found: list[Alignment] = []
    for good in progress(goods, "alignment"):
        image = _load(good, recipe)
        try:
            about = np.eye(2, 3) if recipe.followed is None else locate(image, recipe.followed).matrix
        except PartNotFoundError:
            return picture, found, good
        one = alignment(image, picture, box, factor, about)
        if one is None or one.likeness < ALIKE:
            return picture, found, good
        found.append(one)
        total += _over(image, one.matrix, box, factor)
    return np.rint(total / len(goods)).astype(np.uint8), found, None


def _over(image: Image, matrix: Floats, box: tuple[int, int, int, int], factor: int) -> Grey:
    """Return what a frame shows in the reference's box, reduced, as `grey_of` gives it."""
    x, y, width, height = box
    to_box = matrix.copy()
    to_box[:, 2] += matrix[:, :2] @ (x, y)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    over = cv2.warpAffine(image, to_box, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return grey_of(np.asarray(over, np.uint8), (0, 0, width, height), factor)


def _box(goods: Sequence[Sample], recipe: TrainConfig) -> tuple[tuple[int, int, int, int] | None, tuple[int, int]]:
    sizes = {_load(good, recipe).shape[:2] for good in goods[:: max(1, len(goods) // 25)]}
    (height, width), several = min(sizes), len(sizes) > 1
    crop = recipe.region
    whole = (0, 0, width, height)
    box = whole if crop is None else (crop.x, crop.y, crop.width, crop.height)
    return (None if several else box), (width, height)


def _load(good: Sample, recipe: TrainConfig) -> Image:
    return load_image(good.path, FULL if recipe.bits is None else recipe.bits)
