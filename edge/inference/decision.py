"""Prediction + threshold -> verdict. Pure functions: no clock, no file, no state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge.core.types import ANOMALY, AnomalyMap, Image, Prediction, Reason, Region, Verdict

MAX_REGIONS = 32
HEATMAP_TOP = 2.0  # the heatmap's colours end at this multiple of the threshold, for every image alike


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with the regions that explain it."""

    verdict: Verdict
    reason: Reason
    detail: str
    regions: tuple[Region, ...]


def decide(prediction: Prediction, threshold: float, box: tuple[int, int, int, int]) -> Decision:
    """Judge one prediction; box is the inspected rectangle (x, y, width, height) in frame pixels.

    Asked from the OK side, so that a score or threshold that is not a number can never pass.
    """
    score = prediction.score
    if not (math.isfinite(score) and math.isfinite(threshold) and np.isfinite(prediction.anomaly_map).all()):
        return Decision(Verdict.ERROR, Reason.INFERENCE_FAILED, f"score {score} is not a finite number", ())
    if score < threshold:
        return Decision(Verdict.OK, Reason.SCORE, "", ())
    label = prediction.defect_type or ANOMALY
    return Decision(Verdict.NG, Reason.SCORE, "", find_regions(prediction.anomaly_map, threshold, box, label))


def find_regions(
    anomaly_map: AnomalyMap, threshold: float, box: tuple[int, int, int, int], label: str = ANOMALY
) -> tuple[Region, ...]:
    """Connected areas of an (h, w) map at or above the threshold, in frame pixels, strongest first (at most 32)."""
    left, top, width, height = box
    rows, columns = anomaly_map.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats((anomaly_map >= threshold).astype(np.uint8))
    step_x, step_y = width / columns, height / rows
    regions = []
    for index in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[index])
        x0, y0, x1, y1 = (round(v) for v in (x * step_x, y * step_y, (x + w) * step_x, (y + h) * step_y))
        peak = float(anomaly_map[labels == index].max())
        regions.append(Region(left + x0, top + y0, x1 - x0, y1 - y0, round(area * step_x * step_y), peak, label))
    return tuple(sorted(regions, key=lambda region: -region.peak)[:MAX_REGIONS])


def overlay(image: Image, anomaly_map: AnomalyMap, threshold: float, box: tuple[int, int, int, int]) -> Image:
    """Paint the heatmap and the threshold's outline over a copy of an (H, W, 3) uint8 BGR frame.

    The colour scale is fixed: 0 .. 2 x threshold, the same for every image, and cividis, which stays
    ordered for colour-blind eyes (Nunez et al. 2018). Opacity grows with the anomaly, so a calm part
    still looks like itself; the outline is where the map crosses the threshold.
    """
    x, y, width, height = box
    painted = image.copy()
    part = painted[y : y + height, x : x + width]
    level = cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR)
    share = np.clip(level * np.float32(1.0 / (HEATMAP_TOP * max(threshold, 1e-9))), 0.0, 1.0)
    colours = cv2.applyColorMap(cv2.convertScaleAbs(share, alpha=255.0), cv2.COLORMAP_CIVIDIS)
    opacity = 0.15 + 0.5 * share
    part[:] = cv2.blendLinear(np.ascontiguousarray(part), colours, 1.0 - opacity, opacity)
    outlines, _ = cv2.findContours((level >= threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    thickness = max(2, round(max(width, height) / 300))
    cv2.drawContours(part, outlines, -1, (0, 0, 0), thickness + 2)
    cv2.drawContours(part, outlines, -1, (255, 255, 255), thickness)
    return painted
