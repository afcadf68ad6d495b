"""How well the map finds the place: the field's measures over pixels, with intervals over parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import AnomalyMap
from train.measure.metrics import SAMPLES, Curve, Floats, Interval, Resample, intervals

PRO_LIMIT = 0.3  # AU-PRO is integrated over pixel false-positive rates 0..0.3 (Bergmann et al. 2021)
CHUNK = 50  # samples of the bootstrap at a time
TAIL = 1e-6  # the share of the highest map cells from which on levels are no longer told apart
FINE = 20  # bits of the table that maps anomalies to levels
Mask = NDArray[np.bool_]


class Levels:
    """Turns anomalies into about 1500 levels that lie close where cells are, and closest among the highest ones."""

    def __init__(self, maps: Sequence[AnomalyMap]) -> None:
        cells = np.concatenate([np.ravel(anomaly_map) for anomaly_map in maps]).astype(np.float32)
        shares = np.concatenate([np.linspace(0, 1, 768), 1.0 - np.geomspace(1, TAIL, 768)])
        self._lowest, highest = (int(_order(np.array([cell]))[0]) for cell in (cells.min(), cells.max()))
        self._left_out = max(0, (highest - self._lowest).bit_length() - FINE)
        edges = np.unique(self._fine(np.quantile(cells, np.unique(shares)).astype(np.float32)))
        self._level = np.searchsorted(edges, np.arange(int(edges[-1]) + 1), side="right").astype(np.int16)
        self.count = len(edges) + 1

    def of(self, anomaly: AnomalyMap) -> NDArray[np.int16]:
        """The level of each value; a higher value never has a lower one."""
        return np.asarray(self._level[np.minimum(self._fine(anomaly), len(self._level) - 1)])

    def _fine(self, anomaly: AnomalyMap) -> NDArray[np.int64]:
        """At most a million steps between the lowest and the highest cell, finer where anomalies are small."""
        return np.maximum(_order(anomaly) - self._lowest, 0) >> self._left_out


def _order(values: AnomalyMap) -> NDArray[np.int64]:
    """Floats of 0 and above are ordered as their bits are."""
    return np.maximum(np.ascontiguousarray(values, np.float32), 0.0).view(np.uint32).astype(np.int64)


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """The pixels of n images, one row an image; goods have no defective ones."""

    good: Floats  # (n, L) good pixels at each level, ascending
    bad: Floats  # (n, L) defective pixels
    overlap: Floats  # (n, L) defective pixels, each weighing 1 / size of its connected region
    regions: Floats  # (n,) connected regions of the mask
    flagged: Floats  # (n, 2) good and defective pixels that the station marks
    defective: Mask  # (n,)


def count_pixels(images: Iterable[tuple[AnomalyMap, Mask, Mask]], maps: Sequence[AnomalyMap]) -> PixelCounts | None:
    """Count the pixels of (placed anomaly map (h, w), mask (H, W), what the station marks (h, w)) triples.

    Maps and marks are enlarged bilinearly to their masks. maps: all the maps there are, to choose the levels. The
    result is None when there is no defective pixel, or no good one.
    """
    levels = Levels(maps)
    rows = [_count(anomaly_map, mask, marked, levels) for anomaly_map, mask, marked in images]
    if not rows:
        return None
    good, bad, overlap, regions, flagged = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if bad.sum() == 0 or good.sum() == 0:
        return None
    return PixelCounts(good, bad, overlap, regions, flagged, regions > 0)


def _count(
    anomaly_map: AnomalyMap, mask: Mask, marked: Mask, levels: Levels
) -> tuple[Floats, Floats, Floats, int, tuple[int, int]]:
    anomaly = np.asarray(cv2.resize(anomaly_map, mask.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    level = levels.of(anomaly)
    regions, labels = cv2.connectedComponents(mask.astype(np.uint8))
    inside, label = level[mask], labels[mask]
    weight = 1.0 / np.maximum(np.bincount(label, minlength=regions), 1)
    above = enlarged(marked, mask.shape)
    return (
        np.bincount(level[~mask], minlength=levels.count).astype(np.float64),
        np.bincount(inside, minlength=levels.count).astype(np.float64),
        np.bincount(inside, weight[label], minlength=levels.count).astype(np.float64),
        regions - 1,
        (int(np.count_nonzero(above & ~mask)), int(np.count_nonzero(above & mask))),
    )


def enlarged(marked: Mask, shape: tuple[int, ...]) -> Mask:
    """Return an (h, w) mark at the size of an (H, W) mask, edges where the station draws them."""
    values = cv2.resize(marked.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(values >= 0.5)


@dataclass(frozen=True, slots=True)
class PixelMetrics:
    """Over the pixels of all images, but IoU and Dice: these are over the pixels of all defective images together.

    best: at the one threshold that is best for the whole set. marked: of what the station marks.
    """

    auroc: float
    average_precision: float
    au_pro: float  # every defect counts alike, whatever its size
    best_iou: float
    best_dice: float
    iou_marked: float


def pixel_metrics(counts: PixelCounts) -> PixelMetrics:
    """The measures of all images, each counted once."""
    chosen = counts.defective
    return _measure(counts, chosen.astype(np.float64)[None], (~chosen).astype(np.float64)[None])[0]


def pixel_intervals(
    counts: PixelCounts, parts: Sequence[str] | None = None, seed: int = 0, samples: int = SAMPLES
) -> dict[str, Interval]:
    """Percentile bootstrap over whole parts: pixels of one part are no independent witnesses."""
    rng, draws = np.random.default_rng(seed), Resample(counts.defective.tolist(), parts)
    drawn: list[dict[str, float]] = []
    for _ in range(0, samples, CHUNK):
        times = np.array([draws.times(rng) for _ in range(CHUNK)])
        drawn += [asdict(one) for one in _measure(counts, times * counts.defective, times * ~counts.defective)]
    return intervals(asdict(pixel_metrics(counts)), drawn)


def _measure(counts: PixelCounts, bad_times: Floats, good_times: Floats) -> list[PixelMetrics]:
    """Metrics for each row of (S, n) numbers of times that defective and good images are counted."""
    beside = bad_times @ counts.good  # good pixels of defective images
    good, bad = beside + good_times @ counts.good, bad_times @ counts.bad
    overlap = (bad_times @ counts.overlap) / (bad_times @ counts.regions)[:, None]
    flagged = bad_times @ counts.flagged
    found = []
    for row in range(len(bad)):
        curve, local = Curve.of(good[row], bad[row]), Curve.of(beside[row], bad[row])
        pro = np.concatenate([[0.0], np.cumsum(overlap[row][::-1])])
        found.append(
            PixelMetrics(
                auroc=curve.auroc(),
                average_precision=curve.average_precision(),
                au_pro=_limited_area(curve.fpr, pro),
                best_iou=local.best_iou(),
                best_dice=local.best_f1(),
                iou_marked=float(flagged[row, 1] / (bad[row].sum() + flagged[row, 0])),
            )
        )
    return found


def _limited_area(fpr: Floats, pro: Floats) -> float:
    """Area under pro over fpr in 0..PRO_LIMIT, divided by PRO_LIMIT."""
    inside = fpr < PRO_LIMIT
    x = np.append(fpr[inside], PRO_LIMIT)
    y = np.append(pro[inside], np.interp(PRO_LIMIT, fpr, pro))
    return float(np.trapezoid(y, x)) / PRO_LIMIT
