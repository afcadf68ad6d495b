"""The field's measures of an inspection model; pure functions over scores, labels and maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

Floats = NDArray[np.float64]
BINS = 8192
PRO_LIMIT = 0.3  # AU-PRO is integrated over pixel false-positive rates 0..0.3 (Bergmann et al. 2021)


@dataclass(frozen=True, slots=True)
class ImageMetrics:
    """How well scores tell defective parts from good ones; no threshold involved."""

    auroc: float
    fpr_at_95_recall: float
    recall_at_2_fpr: float


def image_metrics(scores: Sequence[float], defective: Sequence[bool]) -> ImageMetrics:
    """From image scores and labels; both kinds must be present."""
    fpr, recall, _ = roc_curve(defective, scores, drop_intermediate=False)
    return ImageMetrics(
        auroc=float(roc_auc_score(defective, scores)),
        fpr_at_95_recall=float(fpr[recall >= 0.95].min()),
        recall_at_2_fpr=float(recall[fpr <= 0.02].max()),
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def share_interval(found: int, of: int) -> Interval:
    """A share with its exact (Clopper and Pearson 1934) interval; `of` must be positive."""
    interval = binomtest(found, of).proportion_ci(0.95, method="exact")
    return Interval(found / of, float(interval.low), float(interval.high))


def auroc_interval(scores: Sequence[float], defective: Sequence[bool], seed: int = 0, samples: int = 1000) -> Interval:
    """Image AUROC with its percentile bootstrap interval; good and defective parts are drawn apart."""
    values, bad = np.asarray(scores), np.asarray(defective)
    above = (values[bad][:, None] > values[~bad]) + 0.5 * (values[bad][:, None] == values[~bad])
    rng = np.random.default_rng(seed)
    drawn = [
        above[rng.integers(0, above.shape[0], above.shape[0])][
            :, rng.integers(0, above.shape[1], above.shape[1])
        ].mean()
        for _ in range(samples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(above.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class PixelMetrics:
    """How well the map finds the place: over all pixels, and over defects alike whatever their size."""

    auroc: float
    au_pro: float
    images: int


def pixel_metrics(pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], top: float) -> PixelMetrics | None:
    """From (anomaly map (h, w), mask (H, W)) pairs; maps are enlarged bilinearly to their masks.

    Curves are over 8192 steps of the anomaly from 0 to `top`, so that any number of pixels fits in memory.
    None when there is no defective pixel or no good one.
    """
    good, bad = np.zeros(BINS), np.zeros(BINS)
    overlap, regions, images = np.zeros(BINS), 0, 0
    for anomaly_map, mask in pairs:
        images += 1
        level = cv2.resize(anomaly_map, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        steps = np.clip(level * (BINS / max(top, 1e-9)), 0, BINS - 1).astype(np.int32)
        good += np.bincount(steps[~mask], minlength=BINS)
        count, labels = cv2.connectedComponents(mask.astype(np.uint8))
        for index in range(1, count):
            inside = np.bincount(steps[labels == index], minlength=BINS).astype(np.float64)
            bad += inside
            overlap += inside / inside.sum()
            regions += 1
    if regions == 0 or good.sum() == 0:
        return None
    fpr, recall, pro = (_from_top(counts) / counts.sum() for counts in (good, bad, overlap))
    return PixelMetrics(float(np.trapezoid(recall, fpr)), _limited_area(fpr, pro), images)


def _from_top(counts: Floats) -> Floats:
    """Cumulative from the highest bin down, starting at 0."""
    return np.concatenate([[0.0], np.cumsum(counts[::-1])])


def _limited_area(fpr: Floats, pro: Floats) -> float:
    """Area under pro over fpr in 0..PRO_LIMIT, divided by PRO_LIMIT."""
    inside = fpr < PRO_LIMIT
    edge = float(np.interp(PRO_LIMIT, fpr, pro))
    x: Any = np.append(fpr[inside], PRO_LIMIT)
    y: Any = np.append(pro[inside], edge)
    return float(np.trapezoid(y, x)) / PRO_LIMIT
