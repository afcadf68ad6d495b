"""The region that is inspected: stated, or found round the parts of all good photos where that is safe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.core.types import FULL, Bits, Image
from edge.inference.part import RING, Follow, Mask, PartNotFoundError, locate, reduced, silhouette
from edge.inference.preprocess import Crop, InputSpec, load_image
from edge.inference.usable import UnusableError, load_photo
from train.config import TrainConfig
from train.data.dataset import DataError, Dataset, Sample, load_mask
from train.data.input_spec import with_bits, without_blank
from train.data.region.fits import refuse_unfit
from train.data.region.moving import followed
from train.run import progress

WORTHWHILE = 0.6  # of the photo: a region that keeps more is not worth the risk of what it leaves out
SMALLEST, LARGEST = 0.01, 0.9  # share of the photo that a part's area may have
STEADY = 0.35  # by which the areas of good parts may differ from their median
MARGIN = 0.03  # of the part's longer side, on every side
MOTION = 4.0  # n parts placed at random reach within about 1 / n of their range's ends; four times that is kept free
EMPTY = 1.6  # times the region of one part that a region for all may be before it follows the part
RESTLESS = 2.0  # times what almost all of the border varies between photos: what varies more belongs to the region
VARIES = 6.0  # grey levels that it varies at least


@dataclass(frozen=True, slots=True)
class Proposal:
    """A region for the goods of a data set, or why there is none."""

    crop: Crop | None
    words: str  # for the log and the report
    follow: Follow | None = None
    photo: Path | None = None  # that the region is drawn on: the reference, where the part is followed


@dataclass(frozen=True, slots=True)
class _Goods:
    """All good photos, reduced, with what stands out in each."""

    samples: Sequence[Sample]
    smalls: Sequence[Image]
    masks: Sequence[Mask]
    size: tuple[int, int]  # width, height of every photo


def inspected(dataset: Dataset, recipe: TrainConfig) -> tuple[Dataset, TrainConfig, str]:
    """Return what training may draw, the recipe with its bits and its region decided, and the region in words.

    Photos that the station would refuse are left out and named. Raises DataError.
    """
    recipe = with_bits(dataset.train_good, recipe)
    dataset = without_blank(dataset, recipe)
    recipe, words = with_region(dataset, recipe)
    return without_lost(dataset, recipe), recipe, words


def with_region(dataset: Dataset, recipe: TrainConfig) -> tuple[TrainConfig, str]:
    """Return the recipe with its region decided, and what is inspected in words; prints what was found.

    Raises DataError where a photo does not hold the region, or a part that is to be followed is not found.
    """
    decided, words = _decided(dataset, recipe)
    refuse_unfit(dataset, decided)
    return decided, words


def _decided(dataset: Dataset, recipe: TrainConfig) -> tuple[TrainConfig, str]:
    if recipe.crop != "auto" and recipe.follow != "on":
        stays = recipe if recipe.followed else recipe.model_copy(update={"follow": None})
        return stays, "the whole photo is inspected" if recipe.region is None else f"{_place(recipe.region)}, as stated"
    found = propose(dataset, recipe)
    print(f"region: {found.words}")
    decided: dict[str, Any] = {"crop": found.crop, "follow": found.follow}
    if found.follow is not None and found.photo is not None:
        decided["reference"] = found.photo.name
    return recipe.model_copy(update=decided), found.words


def propose(dataset: Dataset, recipe: TrainConfig) -> Proposal:
    """Return the region that holds the part of every good photo with a margin, where it is safe and worthwhile.

    It is safe where all photos have one size, every part stands out against the background that the photo's border
    shows, is about as large as the others and clear of the photo's edge, and no labelled defect lies outside. Where
    parts move so far that a region for all of them would be mostly empty, it follows the part. Raises DataError where
    the recipe wants it to follow and it cannot.
    """
    goods, why = _goods(dataset.train_good, recipe.bits)
    if goods is None:
        if recipe.follow == "on":
            raise DataError(
                f"follow: the parts cannot be followed: {why}; improve the light, or train with --follow off"
            )
        return _whole(why)
    crop = recipe.region or _round(goods.masks, _restless(goods.smalls), goods.size)
    moving = _moving(goods, dataset.train_defects, recipe, crop)
    if moving is not None:
        return moving
    if crop is None:
        return _whole("what differs between the good photos reaches their edge")
    share, place = _share(crop, goods.size), _place(crop)
    if share > WORTHWHILE:
        return _whole(f"the parts fill it: {place} would keep {share:.0%}")
    outside = _outside(dataset.train_defects, crop, recipe.bits)
    if outside is not None:
        return _whole(f"{outside} marks a defect outside of {place}, which holds all good parts")
    words = (
        f"{place} of {goods.size[0]}x{goods.size[1]} is inspected, {share:.0%} of the photo: it holds all good parts"
    )
    return Proposal(crop, f"{words} (--crop off inspects the whole photo)", None, goods.samples[0].path)


def _goods(samples: Sequence[Sample], bits: Bits | None) -> tuple[_Goods | None, str]:
    """Return the good photos, or None and why their parts tell no safe region."""
    smalls, sizes = [], set()
    for sample in progress(samples, "region"):
        image = load_image(sample.path, FULL if bits is None else bits)
        sizes.add((image.shape[1], image.shape[0]))
        smalls.append(reduced(image))
    if len(sizes) != 1:
        (w, h), (wide, high) = min(sizes), max(sizes)
        return None, f"the good photos have several sizes ({w}x{h} to {wide}x{high})"
    goods = _Goods(samples, smalls, [silhouette(small) for small in smalls], sizes.pop())
    why = _unsafe(goods.masks, samples)
    return (None, why) if why is not None else (goods, "")


def _share(crop: Crop, size: tuple[int, int]) -> float:
    return crop.width * crop.height / (size[0] * size[1])


def _moving(goods: _Goods, defects: Sequence[Sample], recipe: TrainConfig, still: Crop | None) -> Proposal | None:
    """Return a region that follows the part, where that is wanted or worthwhile, and all good parts are found.

    still: the region that would not follow. Raises DataError where following is wanted and a good part is not found.
    """
    if recipe.follow is None or (recipe.crop is None and recipe.follow != "on"):
        return None
    number = _reference(goods, recipe)
    nothing = np.zeros_like(goods.masks[number])
    own, of_all = _round([goods.masks[number]], nothing, goods.size), _round(goods.masks, nothing, goods.size)
    crop = own if recipe.crop == "auto" else recipe.region
    if recipe.follow == "auto":
        unnamed = bool(recipe.ignore) and recipe.reference is None  # polygons of no known photo
        varies = still != of_all  # beside the parts, which a region that follows would not hold
        if (
            unnamed
            or varies
            or still is None
            or own is None
            or _share(still, goods.size) < EMPTY * _share(own, goods.size)
        ):
            return None
    follow, lost = followed(goods.smalls, goods.masks, number, goods.size)
    if lost is not None:
        if recipe.follow == "on":
            name = goods.samples[lost].path
            raise DataError(f"follow: the part in {name} is not found again; look at it, or train with --follow off")
        return None
    if recipe.follow == "auto" and crop is not None and _outside(defects, crop, recipe.bits, follow) is not None:
        return None
    name = goods.samples[number].path
    turn = f" and turns, up to {follow.reach_deg:.0f} degrees" if follow.turn else ""
    region = "the whole photo" if crop is None else f"{_place(crop)} of {goods.size[0]}x{goods.size[1]}"
    words = f"{region} in {name.name} is inspected; it moves with the part, up to {follow.reach_px:.0f} pixels{turn}"
    return Proposal(crop, f"{words} (--follow off keeps it in its place)", follow, name)


def _reference(goods: _Goods, recipe: TrainConfig) -> int:
    """Return the number of the photo that is named, or in which the part stands most upright."""
    names = [sample.path.name for sample in goods.samples]
    if recipe.reference is not None:
        if recipe.reference not in names:
            raise DataError(f"reference: no good photo is named {recipe.reference}; name one of train/good")
        return names.index(recipe.reference)
    if recipe.follow == "on" and (recipe.ignore or recipe.region):
        raise DataError(f'follow: crop and ignore are in pixels of one photo; name it, e.g. reference = "{names[0]}"')
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in goods.masks]
    return min(range(len(boxes)), key=lambda number: boxes[number][2] * boxes[number][3])


def without_lost(dataset: Dataset, recipe: TrainConfig) -> Dataset:
    """Return the data set without what training might draw and whose part is not found where it is followed.

    Each photo that is left out is named. The test photos are looked at where labelled defects are drawn from them.
    """
    if recipe.followed is None:
        return dataset
    bits = FULL if recipe.bits is None else recipe.bits
    spec = InputSpec(crop=recipe.region, follow=recipe.followed, width=1, height=1, bits=bits)

    def kept(samples: Sequence[Sample]) -> Iterator[Sample]:
        for sample in samples:
            try:
                load_photo(sample.path, spec)
            except UnusableError as error:
                print(f"{error}; left out, the station would refuse it")
            else:
                yield sample

    test = tuple(kept(dataset.test)) if recipe.labelled else dataset.test
    return replace(dataset, train_defects=tuple(kept(dataset.train_defects)), test=test)


def reference_photo(dataset: Dataset, recipe: TrainConfig) -> Path:
    """Return the photo that a followed part is compared with, or else the first good one."""
    named = (sample.path for sample in dataset.train_good if sample.path.name == recipe.reference)
    return next(named, dataset.train_good[0].path)


def _whole(why: str) -> Proposal:
    return Proposal(None, f"the whole photo is inspected: {why}")


def _place(crop: Crop) -> str:
    return f"{crop.x},{crop.y},{crop.width},{crop.height}"


def _unsafe(masks: Sequence[Mask], goods: Sequence[Sample]) -> str | None:
    """Return why the parts do not tell a safe region; None where they do."""
    areas = np.array([mask.mean() for mask in masks])
    middle = float(np.median(areas))
    for mask, area, sample in zip(masks, areas, goods, strict=True):
        if not SMALLEST <= area <= LARGEST:
            return f"nothing that could be the part stands out against the border in {sample.path.name}"
        if mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
            return f"what stands out reaches the edge of {sample.path.name}"
        if abs(area / middle - 1.0) > STEADY:
            return f"what stands out in {sample.path.name} is {area / middle:.2f} times as large as in the others"
    return None


def _restless(smalls: Sequence[Image]) -> Mask:
    """Return where the photos differ from each other by more than their backgrounds do, (h, w)."""
    total, squares = (np.zeros(smalls[0].shape, np.float64) for _ in range(2))
    for small in smalls:
        total += small
        squares += small.astype(np.float64) ** 2
    spread = np.sqrt(np.maximum(squares / len(smalls) - (total / len(smalls)) ** 2, 0.0)).max(axis=2)
    edge = np.ones(spread.shape, np.bool_)
    edge[RING:-RING, RING:-RING] = False
    found = spread > max(VARIES, RESTLESS * float(np.quantile(spread[edge], 0.98)))
    return np.asarray(cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0)


def _round(masks: Sequence[Mask], restless: Mask, size: tuple[int, int]) -> Crop | None:
    """Return the rectangle round all parts and all that varies, with its margin, in photo pixels."""
    boxes = np.array([_box(mask) for mask in masks], np.float64)  # left, top, right, bottom
    spread = boxes.max(axis=0) - boxes.min(axis=0)
    longest = float(np.median(boxes[:, 2:] - boxes[:, :2], axis=0).max())
    margin = MARGIN * longest + 1.0 + MOTION * spread / len(boxes)
    low, high = boxes.min(axis=0)[:2], boxes.max(axis=0)[2:]
    height, width = restless.shape
    if restless.any():
        varies = _box(restless)
        if varies[0] == 0 or varies[1] == 0 or varies[2] == width or varies[3] == height:
            return None
        low, high = np.minimum(low, varies[:2]), np.maximum(high, varies[2:])
    scale = np.array(size) / (width, height)
    left, top = np.floor(np.maximum(0.0, low - margin[:2]) * scale).astype(int)
    right, bottom = np.ceil(np.minimum((width, height), high + margin[2:]) * scale).astype(int)
    return Crop(x=int(left), y=int(top), width=int(right - left), height=int(bottom - top))


def _box(mask: Mask) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def _outside(defects: Sequence[Sample], crop: Crop, bits: Bits | None, follow: Follow | None = None) -> str | None:
    """Return the name of a mask that marks something outside of the crop; None where there is none.

    A part that is to be followed and is not found is passed over.
    """
    for sample in defects:
        if sample.mask is None:
            continue
        image = load_image(sample.path, FULL if bits is None else bits)
        mask = load_mask(sample.mask, (image.shape[0], image.shape[1]))
        at = np.argwhere(mask)[:, ::-1].astype(np.float64)  # x, y
        if follow is not None:
            try:
                found = cv2.invertAffineTransform(locate(image, follow).matrix)
            except PartNotFoundError:
                continue
            at = at @ found[:, :2].T + found[:, 2]
        if (at < (crop.x, crop.y)).any() or (at >= (crop.x + crop.width, crop.y + crop.height)).any():
            return sample.mask.name
    return None
