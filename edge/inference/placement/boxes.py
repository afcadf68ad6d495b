"""A grid detector's answers -> boxes with a type and a score, each one once, where they lie on the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.core.types import AnomalyMap, Located, Prediction
from edge.inference.part import joined
from edge.inference.preprocess import InputSpec, RegionView, ignored, region_to

MOST_CELLS = 300  # the highest of a map that are asked for their boxes
MOST_BOXES = 100  # that are kept of one part
VOTING = 0.5  # intersection over union from which on a box has a say in where another one lies
SHARPNESS = 8  # of the votes: a score 10 % lower has half a vote
TINY = 1e-6
SAME = 0.3  # intersection over union from which two boxes of a new bundle are one; bundles without a word have 0.5
TypeName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
Floats = NDArray[np.float32]


class BoxFacts(BaseModel):
    """What a bundle says of its boxes: the types, the limit of each, and when two boxes show the same defect."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    types: tuple[TypeName, ...] = Field(min_length=1, max_length=100)  # in the order of the model's `box_types`
    limits: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...]  # of each type, in units of the model's map
    overlap: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5  # intersection over union from which two boxes are one

    @model_validator(mode="after")
    def _belong_together(self) -> BoxFacts:
        if len(self.limits) != len(self.types):
            raise ValueError(f"{len(self.types)} types of box and {len(self.limits)} limits; each type has one")
        if len(set(self.types)) != len(self.types):
            raise ValueError("two types of box have one name")
        return self

    @classmethod
    def unlimited(cls, types: Sequence[str]) -> BoxFacts:
        """Return facts under which a box's score is the map's own value: for what sets the limits."""
        return cls(types=tuple(types), limits=(1.0,) * len(types), overlap=SAME)


def in_limits(cells: Floats, shares: Floats, facts: BoxFacts) -> tuple[AnomalyMap, NDArray[np.intp]]:
    """Return the map in units of the limits, (rows, columns), and the number of each cell's type.

    cells: (rows, columns) objectness; shares: (K, rows, columns) of the types. A cell has the likeliest type, and from
    1 on it is over the limit of that type.
    """
    kinds = shares.argmax(axis=0)
    return cells / np.asarray(facts.limits, np.float32)[kinds], kinds


def suppress(boxes: Floats, scores: Floats, overlap: float) -> NDArray[np.intp]:
    """Return the numbers of the boxes that stay, the best first: greedy non-maximum suppression.

    boxes: (N, 4) left, top, right, bottom; scores: (N,). A box goes when a better one that stays covers it with at
    least this intersection over union. The best box always stays.
    """
    order = np.argsort(-scores, kind="stable")
    alike = overlaps(boxes[order], boxes[order]) >= overlap
    stays = np.ones(len(order), np.bool_)
    for number in range(len(order)):
        if stays[number]:
            stays[number + 1 :] &= ~alike[number, number + 1 :]
    return order[stays]


def voted(boxes: Floats, scores: Floats, kinds: NDArray[np.intp], kept: NDArray[np.intp]) -> Floats:
    """Return the kept boxes, (K, 4), each as the mean of the boxes of its type that lie over it: they saw it, too.

    Box voting (Gidaris and Komodakis 2015, section 5): boxes (N, 4) that overlap the kept one by VOTING at least weigh
    as their overlap x score^SHARPNESS. A box that no other one lies over stays as it is.
    """
    near = overlaps(boxes[kept], boxes)
    counts = (near >= VOTING) & (kinds[kept][:, None] == kinds)
    counts[np.arange(len(kept)), kept] = True
    shares = np.maximum(scores, TINY).astype(np.float64)
    weights = counts * np.maximum(near, TINY) * (shares / shares[kept][:, None]) ** SHARPNESS
    return np.asarray(weights @ boxes / weights.sum(axis=1, keepdims=True), np.float32)


def overlaps(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Return the intersection over union, (M, N), of (M, 4) boxes with (N, 4) boxes."""
    one, other = first[:, None].astype(np.float64), second[None].astype(np.float64)
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = (one[..., 2:] - one[..., :2]).prod(axis=2) + (other[..., 2:] - other[..., :2]).prod(axis=2)
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), np.float64)


def located(
    cells: Floats, sides: Floats, shares: Floats, facts: BoxFacts, size: tuple[int, int]
) -> tuple[AnomalyMap, tuple[Located, ...]]:
    """Return the map in units of the limits and the boxes of a (width, height) input, the best first.

    cells: (rows, columns); sides: (4, rows, columns) left, top, right, bottom in pixels of the input; shares:
    (K, rows, columns). The first box has the map's highest value. A box is cut at the input's edges and is at least a
    pixel large, so that no high cell is without one. Where a number is not finite there are no boxes, and the map is
    NaN, which is judged ERROR.
    """
    if not (np.isfinite(cells).all() and np.isfinite(sides).all() and np.isfinite(shares).all()):
        return np.full(cells.shape, np.nan, np.float32), ()
    anomaly_map, kinds = in_limits(cells, shares, facts)
    flat = anomaly_map.ravel()
    best = np.argsort(-flat, kind="stable")[:MOST_CELLS]
    width, height = size
    boxes = sides.reshape(4, -1).T[best]
    first = np.clip(boxes[:, :2], 0, (width - 1, height - 1))
    boxes = np.hstack([first, np.clip(boxes[:, 2:], first + 1, (width, height))]).astype(np.float32)
    kept = suppress(boxes, flat[best], facts.overlap)[:MOST_BOXES]
    names = kinds.ravel()[best]
    found = []
    for number, sides_of in zip(kept, voted(boxes, flat[best], names, kept), strict=True):
        left, top, right, bottom = map(float, sides_of)
        found.append(Located(left, top, right, bottom, float(flat[best][number]), facts.types[names[number]]))
    return anomaly_map, tuple(found)


def boxes_on_frame(found: Prediction, view: RegionView, spec: InputSpec, frame: tuple[int, ...]) -> Prediction:
    """Return the prediction with its boxes in pixels of the frame; frame: shape of the photo.

    A box whose middle is ignored is left out, and the score is then the best of the others, 0 without any. Where the
    region turned, a box is the upright one round the turned one.
    """
    if found.boxes is None:
        return found
    boxes = found.boxes
    if spec.ignore:
        hidden = ignored((spec.width, spec.height), spec, frame[:2])
        boxes = tuple(box for box in boxes if not hidden[_middle(box, spec)])
    score = found.score
    if math.isfinite(score):
        score = boxes[0].score if boxes else 0.0
    kind = boxes[0].label if boxes else ""
    to_frame = region_to((spec.width, spec.height), spec, frame)
    if view.matrix is not None:
        to_frame = joined(view.matrix, to_frame)
    return replace(found, score=score, defect_type=kind, boxes=tuple(_moved(box, to_frame) for box in boxes))


def _middle(box: Located, spec: InputSpec) -> tuple[int, int]:
    """Return the row and column of a box's middle pixel."""
    return (
        min(int((box.top + box.bottom) / 2), spec.height - 1),
        min(int((box.left + box.right) / 2), spec.width - 1),
    )


def _moved(box: Located, matrix: NDArray[np.float64]) -> Located:
    corners = [[x, y] for x in (box.left, box.right) for y in (box.top, box.bottom)]
    moved = cv2.transform(np.array([corners]) - 0.5, matrix)[0] + 0.5
    (left, top), (right, bottom) = moved.min(axis=0), moved.max(axis=0)
    return replace(box, left=float(left), top=float(top), right=float(right), bottom=float(bottom))
