"""Held-out good parts -> the limit of each type of box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.core.types import Located
from edge.inference.bundle import Threshold
from edge.inference.placement.boxes import SAME, BoxFacts
from train.data.parts import spared
from train.measure.threshold import set_threshold

BEYOND = 1.0 + 1e-6  # times the highest box: a good part that sets a limit lies below it


def limits_of_types(
    goods: Sequence[Sequence[Located]], types: Sequence[str], parts: Sequence[str], alpha: float, outliers: int
) -> tuple[BoxFacts, Threshold]:
    """Return the limits of the types, in units of the map, and the threshold, which is 1 in units of the limits.

    goods: the boxes of each held-out good image, the best first, with the map's own values as scores. The limit of a
    type is the highest box of that type on any of them, and never below what half of the good parts reach with some
    box: a type that no good part shows still asks for more than that. Parts far beyond the rest (`outliers` of them at
    most) set no limit. All limits are then raised together, where train.measure.threshold.set_threshold estimates that
    a share alpha of the good parts would reach them otherwise. No share is guaranteed: the goods that set the limits
    of several types cannot vouch for them, too. Raises MeasureError where the goods cannot set a threshold.
    """
    best = [boxes[0].score for boxes in goods]
    odd = spared(best, list(parts), outliers)
    kept = [boxes for boxes, part in zip(goods, parts, strict=True) if part not in odd]
    usual = float(np.median([boxes[0].score for boxes in kept]))
    highest = [max([box.score for boxes in kept for box in boxes if box.label == name], default=0.0) for name in types]
    limits = np.maximum(highest, usual)
    unit = dict(zip(types, map(float, limits), strict=True))
    scores = [max(box.score / unit[box.label] for box in boxes) for boxes in goods]
    found = set_threshold(scores, alpha, parts, outliers=outliers)
    raised = max(found.value, BEYOND)
    facts = BoxFacts(types=tuple(types), limits=tuple(float(limit) * raised for limit in limits), overlap=SAME)
    return facts, Threshold(value=1.0, method="normal_limit", n=found.n, alpha=alpha, bound=None)
