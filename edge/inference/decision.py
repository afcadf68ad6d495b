"""Prediction + limits -> verdict and marked regions. Pure functions: no clock, no file, no state.

One rule keeps verdict and marks together. A part is NG exactly when its score reaches the threshold. Only an NG part
has marked regions. It always has at least one, and the first one holds the highest value of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import ANOMALY, AnomalyMap, Limits, Located, Prediction, Reason, Region, Verdict

MAX_REGIONS = 32
EDGE = 0.6  # a region ends where this share of its height over a typical good part is left (docs/decisions/0011)
FURTHER = 0.25  # share of the strongest region's height that a further region must reach, beside the threshold
MOST_NAMES = 3  # types that the sentence for a worker names
LEAST_PX = 2  # map values: a further region that is smaller is noise

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with the regions that explain it."""

    verdict: Verdict
    reason: Reason
    detail: str
    regions: tuple[Region, ...]

    @property
    def words(self) -> str:
        """Say in one sentence for a worker what was found."""
        return defect_words(self.regions) if self.verdict is Verdict.NG else "No defect found."


def decide(prediction: Prediction, limits: Limits, box: tuple[int, int, int, int]) -> Decision:
    """Judge one prediction; box is the inspected rectangle (x, y, width, height) in frame pixels.

    The question is asked from the OK side, so that a score or threshold that is not a number can never pass.
    """
    score = prediction.score
    numbers = score, limits.threshold, limits.marking, limits.typical
    if not (all(map(math.isfinite, numbers)) and np.isfinite(prediction.anomaly_map).all()):
        return Decision(Verdict.ERROR, Reason.INFERENCE_FAILED, f"score {score} is not a finite number", ())
    if score < limits.threshold:
        return Decision(Verdict.OK, Reason.SCORE, "", ())
    if prediction.boxes is not None:
        regions = box_regions(prediction.boxes, limits, box)
        if regions:
            return Decision(Verdict.NG, Reason.SCORE, "", regions)
        return Decision(Verdict.ERROR, Reason.INFERENCE_FAILED, f"no box has the score of {score:.4g}", ())
    label = prediction.defect_type or ANOMALY
    return Decision(Verdict.NG, Reason.SCORE, "", find_regions(prediction.anomaly_map, limits, box, label))


def box_regions(boxes: Sequence[Located], limits: Limits, box: tuple[int, int, int, int]) -> tuple[Region, ...]:
    """Return the boxes that reach the threshold, cut at the inspected rectangle, the best first (at most 32)."""
    x, y, width, height = box
    regions = []
    for one in boxes[:MAX_REGIONS]:
        if one.score >= limits.threshold:
            left, right = _within(one.left, one.right, x, width)
            top, bottom = _within(one.top, one.bottom, y, height)
            area = (right - left) * (bottom - top)
            regions.append(Region(left, top, right - left, bottom - top, area, one.score, one.label))
    return tuple(regions)


def _within(first: float, last: float, start: int, length: int) -> tuple[int, int]:
    """Return two edges as whole pixels inside start..start + length, at least one pixel apart."""
    low = min(max(round(first), start), start + length - 1)
    return low, min(max(round(last), low + 1), start + length)


def mark(anomaly_map: AnomalyMap, limits: Limits) -> Labels:
    """Mark an NG part's (h, w) map: 0 where nothing is marked, else the number of the region, the strongest is 1.

    Connected areas that reach the marking value are cut back to EDGE of their own height. A further area must reach
    the threshold and FURTHER of the strongest one's height. Where nothing reaches the marking value, the area round
    the highest value is marked.
    """
    peak = float(anomaly_map.max())
    floor = min(limits.typical, peak)
    least = max(limits.threshold, floor + FURTHER * (peak - floor))
    level = min(limits.marking, peak)
    count, areas = cv2.connectedComponents((anomaly_map >= level).astype(np.uint8))
    highest = _peaks(anomaly_map, np.asarray(areas), count)
    chosen = (highest == peak) | (highest >= least)
    chosen[0] = False  # what is in no area
    marked = chosen[areas] & (anomaly_map >= (floor + EDGE * (highest - floor))[areas])
    return _ordered(anomaly_map, marked.astype(np.uint8), least, peak)


def _peaks(anomaly_map: AnomalyMap, labels: Labels, count: int) -> NDArray[np.float32]:
    """Return the highest value under each of `count` labels."""
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels.ravel(), anomaly_map.ravel())
    return peaks


def _ordered(anomaly_map: AnomalyMap, marked: NDArray[np.uint8], least: float, peak: float) -> Labels:
    """Number the connected pieces by their peaks; leave out what is too low, too small or beyond MAX_REGIONS."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(marked)
    peaks = _peaks(anomaly_map, np.asarray(pieces), count)
    order = 1 + np.argsort(-peaks[1:], kind="stable")
    large = (stats[:, cv2.CC_STAT_AREA] >= LEAST_PX) & (peaks >= least)
    kept = [index for index in order if large[index] or peaks[index] == peak]
    numbers = np.zeros(count, np.int32)
    numbers[kept[:MAX_REGIONS]] = np.arange(1, len(kept[:MAX_REGIONS]) + 1)
    return np.asarray(numbers[pieces], np.int32)


def find_regions(
    anomaly_map: AnomalyMap, limits: Limits, box: tuple[int, int, int, int], label: str = ANOMALY
) -> tuple[Region, ...]:
    """Return the marked regions of an NG part's (h, w) map in frame pixels, strongest first (1 to 32 of them)."""
    left, top, width, height = box
    rows, columns = anomaly_map.shape
    step_x, step_y = width / columns, height / rows
    labels = mark(anomaly_map, limits)
    regions = []
    for number in range(1, int(labels.max()) + 1):
        own = labels == number
        ys, xs = np.nonzero(own)
        edges = (xs.min() * step_x, ys.min() * step_y, (xs.max() + 1) * step_x, (ys.max() + 1) * step_y)
        x0, y0, x1, y1 = (round(float(edge)) for edge in edges)
        x0, y0 = min(x0, width - 1), min(y0, height - 1)
        area = max(1, round(len(xs) * step_x * step_y))
        found = Region(
            left + x0, top + y0, max(1, x1 - x0), max(1, y1 - y0), area, float(anomaly_map[own].max()), label
        )
        regions.append(found)
    return tuple(regions)


def defect_words(regions: Sequence[Region]) -> str:
    """Say in one sentence for a worker what is marked."""
    if not regions:
        return "Defect found."
    names = list(dict.fromkeys(region.label for region in regions if region.label != ANOMALY))
    kind = "".join(f"{name}, " for name in names[:MOST_NAMES])
    if len(regions) == 1:
        return f"Defect found: {kind}1 marked area."
    return f"Defect found: {kind}{len(regions)} marked areas."
