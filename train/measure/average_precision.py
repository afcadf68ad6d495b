"""Mean average precision of boxes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edge.core.types import Located

Found = Sequence[Sequence[Located]]
Wanted = Sequence[Sequence[tuple[float, float, float, float, str]]]  # left, top, right, bottom in pixels, type


def mean_average_precision(found: Found, wanted: Wanted, types: Sequence[str]) -> dict[str, Any]:
    """Return COCO's average precision (Lin et al. 2014) at an overlap of .5 and averaged over .5 to .95, by type too.

    found and wanted: the boxes of each photo. A type without a wanted box has no precision (None) and no say in the
    means.
    """
    numbers = {name: number for number, name in enumerate(types, 1)}
    boxes = [
        _annotation(image, numbers[kind], (left, top, right, bottom))
        for image, labels in enumerate(wanted, 1)
        for left, top, right, bottom, kind in labels
    ]
    answers = [
        _annotation(image, numbers[box.label], (box.left, box.top, box.right, box.bottom)) | {"score": box.score}
        for image, of_image in enumerate(found, 1)
        for box in of_image
    ]
    photos = len(wanted)
    precision = _precision(boxes, answers, photos, len(types))  # (overlaps, recalls, types)
    counts = [sum(one["category_id"] == number for one in boxes) for number in numbers.values()]
    told = [number for number, count in enumerate(counts) if count]
    return {
        "photos": photos,
        "boxes": len(boxes),
        "map_50": _mean(precision[0][:, told]),
        "map_50_95": _mean(precision[:, :, told]),
        "per_type": {
            name: {
                "boxes": count,
                "ap_50": _mean(precision[0, :, number]) if count else None,
                "ap_50_95": _mean(precision[:, :, number]) if count else None,
            }
            for number, (name, count) in enumerate(zip(types, counts, strict=True))
        },
    }


def _annotation(image: int, kind: int, sides: tuple[float, float, float, float]) -> dict[str, Any]:
    left, top, right, bottom = sides
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": kind, "bbox": [left, top, width, height], "area": width * height}


def _precision(
    boxes: list[dict[str, Any]], answers: list[dict[str, Any]], photos: int, types: int
) -> np.ndarray[Any, Any]:
    """Return precision by overlap (10), recall (101) and type; -1 where a type has no wanted box."""
    if not boxes or not answers:
        return np.zeros((10, 101, types))
    with contextlib.redirect_stdout(io.StringIO()):  # the library reports every step
        truth, told = COCO(), COCO()
        for one, annotations in ((truth, boxes), (told, answers)):
            one.dataset = {
                "images": [{"id": number} for number in range(1, photos + 1)],
                "categories": [{"id": number} for number in range(1, types + 1)],
                "annotations": [{**found, "id": number, "iscrowd": 0} for number, found in enumerate(annotations, 1)],
            }
            one.createIndex()
        evaluation = COCOeval(truth, told, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]


def _mean(values: np.ndarray[Any, Any]) -> float:
    return float(np.mean(values)) if values.size else 0.0
