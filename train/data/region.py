"""The region that is inspected: stated, or found round the parts of all good photos where that is safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import FULL, Bits, Image
from edge.inference.part import RING, reduced, silhouette
from edge.inference.preprocess import Crop, load_image
from train.config import TrainConfig
from train.data.dataset import DataError, Dataset, Sample, load_mask
from train.run import progress

WORTHWHILE = 0.6  # of the photo: a region that keeps more is not worth the risk of what it leaves out
SMALLEST, LARGEST = 0.01, 0.9  # share of the photo that a part's area may have
STEADY = 0.35  # by which the areas of good parts may differ from their median
MARGIN = 0.03  # of the part's longer side, on every side
MOTION = 4.0  # n parts placed at random reach within about 1 / n of their range's ends; four times that is kept free
RESTLESS = 2.0  # times what almost all of the border varies between photos: what varies more belongs to the region
VARIES = 6.0  # grey levels that it varies at least
PICTURE_PX = 1000  # longer side of the picture with the box


@dataclass(frozen=True, slots=True)
class Proposal:
    """A region for the goods of a data set, or why there is none."""

    crop: Crop | None
    words: str  # for the log and the report


def with_region(dataset: Dataset, recipe: TrainConfig) -> tuple[TrainConfig, str]:
    """Return the recipe with its region decided, and what is inspected in words; prints what was found.

    Raises DataError where a stated region lies outside a good photo.
    """
    if recipe.crop is None:
        return recipe, "the whole photo is inspected"
    if isinstance(recipe.crop, Crop):
        _refuse_outside(dataset.train_good, recipe.crop)
        return recipe, f"{_place(recipe.crop)} is inspected, as stated"
    found = propose(dataset, recipe.bits)
    print(f"region: {found.words}")
    return recipe.model_copy(update={"crop": found.crop}), found.words


def propose(dataset: Dataset, bits: Bits | None) -> Proposal:
    """Return the region that holds the part of every good photo with a margin, where it is safe and worthwhile.

    It is safe where all photos have one size, every part stands out against the background that the photo's border
    shows, is about as large as the others and clear of the photo's edge, and no labelled defect lies outside.
    """
    smalls, sizes = [], set()
    for sample in progress(dataset.train_good, "region"):
        image = load_image(sample.path, FULL if bits is None else bits)
        sizes.add((image.shape[1], image.shape[0]))
        smalls.append(reduced(image))
    if len(sizes) != 1:
        (w, h), (wide, high) = min(sizes), max(sizes)
        return _whole(f"the good photos have several sizes ({w}x{h} to {wide}x{high})")
    size = sizes.pop()
    masks = [silhouette(small) for small in smalls]
    why = _unsafe(masks, dataset.train_good)
    if why is not None:
        return _whole(why)
    crop = _round(masks, _restless(smalls), size)
    if crop is None:
        return _whole("what differs between the good photos reaches their edge")
    share = crop.width * crop.height / (size[0] * size[1])
    place = _place(crop)
    if share > WORTHWHILE:
        return _whole(f"the parts fill it: {place} would keep {share:.0%}")
    outside = _outside(dataset.train_defects, crop)
    if outside is not None:
        return _whole(f"{outside} marks a defect outside of {place}, which holds all good parts")
    words = f"{place} of {size[0]}x{size[1]} is inspected, {share:.0%} of the photo: it holds all good parts"
    return Proposal(crop, f"{words} (--crop off inspects the whole photo)")


def _whole(why: str) -> Proposal:
    return Proposal(None, f"the whole photo is inspected: {why}")


def _place(crop: Crop) -> str:
    return f"{crop.x},{crop.y},{crop.width},{crop.height}"


def _unsafe(masks: Sequence[NDArray[np.bool_]], goods: Sequence[Sample]) -> str | None:
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


def _restless(smalls: Sequence[Image]) -> NDArray[np.bool_]:
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


def _round(masks: Sequence[NDArray[np.bool_]], restless: NDArray[np.bool_], size: tuple[int, int]) -> Crop | None:
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


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def _outside(defects: Sequence[Sample], crop: Crop) -> str | None:
    """Return the name of a mask that marks something outside of the crop; None where there is none."""
    for sample in defects:
        if sample.mask is None:
            continue
        mask = load_mask(sample.mask, load_image(sample.path).shape[:2])
        inside = mask[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        if inside.sum() < mask.sum():
            return sample.mask.name
    return None


def _refuse_outside(goods: Sequence[Sample], crop: Crop) -> None:
    for sample in goods:
        height, width = load_image(sample.path).shape[:2]
        if crop.x + crop.width > width or crop.y + crop.height > height:
            raise DataError(
                f"crop: {_place(crop)} lies outside {sample.path}, which has "
                f"{width}x{height} pixels; state a region inside every photo, or --crop off"
            )


def region_picture(photo: Path, crop: Crop | None, bits: Bits | None = None) -> Image:
    """Return a photo with the region drawn on it, darker outside, uint8 BGR, at most PICTURE_PX wide and high."""
    image = load_image(photo, FULL if bits is None else bits)
    scale = min(1.0, PICTURE_PX / max(image.shape[:2]))
    if crop is not None:
        shown = np.asarray(image // 2, np.uint8)
        left, top, right, bottom = crop.x, crop.y, crop.x + crop.width, crop.y + crop.height
        shown[top:bottom, left:right] = image[top:bottom, left:right]
        line = max(1, round(2 / scale))
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), (0, 0, 0), 2 * line)
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), (255, 255, 255), line)
        image = shown
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def write_picture(picture: Image, target: Path) -> None:
    """Write a picture as PNG or JPEG, as its name says; raises DataError."""
    if target.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise DataError(f"{target}: no kind of picture that is written; name a .jpg or .png file")
    _, data = cv2.imencode(target.suffix, picture)
    try:
        target.write_bytes(data.tobytes())
    except OSError as error:
        raise DataError(f"{target}: the picture cannot be written ({error.strerror})") from error
