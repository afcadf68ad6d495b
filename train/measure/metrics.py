"""The field's measures of an inspection model, from the scores and labels of images; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
SAMPLES = 1000  # of the bootstrap
BINS = 10  # of the reliability diagram


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The counts of flagged things while the threshold falls from above every level to the lowest level."""

    false_alarms: Floats  # (L + 1,) good things flagged
    hits: Floats  # (L + 1,) defective things flagged

    @classmethod
    def of(cls, good: Floats, bad: Floats) -> Curve:
        """Build the curve from the (L,) numbers of good and of defective things at each level, in ascending order."""
        return cls(*(np.concatenate([[0.0], np.cumsum(counts[::-1])]) for counts in (good, bad)))

    @property
    def fpr(self) -> Floats:
        return self.false_alarms / self.false_alarms[-1]

    @property
    def recall(self) -> Floats:
        return self.hits / self.hits[-1]

    def auroc(self) -> float:
        return float(np.trapezoid(self.recall, self.fpr))

    def average_precision(self) -> float:
        """Sum of precision times gain in recall, without interpolation."""
        precision = self.hits[1:] / np.maximum(self.hits[1:] + self.false_alarms[1:], 1e-12)
        return float(np.sum(np.diff(self.recall) * precision))

    def best_f1(self) -> float:
        """Over pixels this is the Dice coefficient."""
        return float(np.max(2.0 * self.hits / (self.hits + self.false_alarms + self.hits[-1])))

    def best_iou(self) -> float:
        return float(np.max(self.hits / (self.false_alarms + self.hits[-1])))


@dataclass(frozen=True, slots=True)
class ImageMetrics:
    """The separation of defective and good parts by their scores, over all thresholds; none of them ships."""

    auroc: float
    average_precision: float
    f1_max: float
    fpr_at_95_recall: float
    recall_at_2_fpr: float


def image_metrics(scores: Sequence[float], defective: Sequence[bool]) -> ImageMetrics:
    """Return the metrics of image scores and labels; both kinds must be present."""
    return _of_curve(_curve(_levels(scores), defective, np.ones(len(scores))))


class Resample:
    """The draws of a bootstrap: whole parts with replacement, good and defective ones apart.

    Photographs of one part are no independent witnesses. Without parts, each image is one.
    """

    def __init__(self, defective: Sequence[bool], parts: Sequence[str] | None = None) -> None:
        bad = np.asarray(defective, dtype=np.bool_)
        names = np.arange(len(bad)) if parts is None else np.asarray(parts)
        self._n = len(bad)
        self._kinds = []
        for kind in (~bad, bad):
            unique, part = np.unique(names[kind], return_inverse=True)
            self._kinds.append((kind, part, len(unique)))
        self.good_parts, self.bad_parts = (count for _, _, count in self._kinds)

    def times(self, rng: np.random.Generator) -> Floats:
        """(n,) how often each image is drawn."""
        times = np.zeros(self._n)
        for kind, part, count in self._kinds:
            if count:
                times[kind] = rng.multinomial(count, np.full(count, 1.0 / count))[part]
        return times


def image_intervals(
    scores: Sequence[float],
    defective: Sequence[bool],
    parts: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> dict[str, Interval]:
    """Return each of the image metrics with its percentile bootstrap interval.

    Where nothing is confused the bootstrap cannot doubt (it draws perfect sets only) and the limit is the exact one
    (Clopper and Pearson 1934): of a share of the parts of one kind, and for AUROC of disjoint pairs, of which there
    are as many as parts of the rarer kind.
    """
    draws, rng = Resample(defective, parts), np.random.default_rng(seed)
    levels = _levels(scores)
    drawn = [asdict(_of_curve(_curve(levels, defective, draws.times(rng)))) for _ in range(samples)]
    found = intervals(asdict(image_metrics(scores, defective)), drawn)
    n_good, n_bad = draws.good_parts, draws.bad_parts
    for name, n in (("auroc", min(n_good, n_bad)), ("recall_at_2_fpr", n_bad), ("fpr_at_95_recall", n_good)):
        if found[name].value in (0.0, 1.0):
            found[name] = share_interval(round(found[name].value * n), n)
    return found


def intervals(values: dict[str, float], drawn: Sequence[dict[str, float]]) -> dict[str, Interval]:
    """Percentile bootstrap: the middle 95 % of what the drawn samples measure."""
    limits = {name: np.quantile([sample[name] for sample in drawn], [0.025, 0.975]) for name in values}
    return {name: Interval(value, float(limits[name][0]), float(limits[name][1])) for name, value in values.items()}


def share_interval(found: int, of: int) -> Interval:
    """A share with its exact (Clopper and Pearson 1934) interval; `of` must be positive."""
    interval = binomtest(found, of).proportion_ci(0.95, method="exact")
    return Interval(found / of, float(interval.low), float(interval.high))


def part_share_interval(found: Sequence[bool], parts: Sequence[str]) -> Interval:
    """A share of images: exact where each shows a part of its own, or where all or none are found; else bootstrap."""
    n, share = len(set(parts)), float(np.mean(found))
    if n == len(found) or share in (0.0, 1.0):
        return share_interval(round(share * n), n)
    draws, rng, hits = (
        Resample([True] * len(found), parts),
        np.random.default_rng(0),
        np.asarray(found, dtype=np.float64),
    )
    drawn = [draws.times(rng) for _ in range(SAMPLES)]
    return intervals({"share": share}, [{"share": float(times @ hits / times.sum())} for times in drawn])["share"]


def _levels(scores: Sequence[float]) -> NDArray[np.intp]:
    """(n,) the place of each score among the distinct ones, ascending."""
    return np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)[1]


def _curve(levels: NDArray[np.intp], defective: Sequence[bool], times: Floats) -> Curve:
    """Return the metrics of images at these levels, each counted so many times."""
    bad, count = np.asarray(defective, dtype=np.bool_), int(levels.max()) + 1
    return Curve.of(*(np.bincount(levels, times * kind, count).astype(np.float64) for kind in (~bad, bad)))


def _of_curve(curve: Curve) -> ImageMetrics:
    fpr, recall = curve.fpr, curve.recall
    return ImageMetrics(
        auroc=curve.auroc(),
        average_precision=curve.average_precision(),
        f1_max=curve.best_f1(),
        fpr_at_95_recall=float(fpr[recall >= 0.95].min()),
        recall_at_2_fpr=float(recall[fpr <= 0.02].max()),
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images whose stated defect probability is alike, and how many of them are defective."""

    stated: float  # mean of their probabilities
    defective: Interval
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """Do parts that are stated to be defective with p turn out to be so in a share p of the cases?"""

    brier: float  # mean squared error (Brier 1950); 0.25 for someone who always says one half
    ece: float  # expected calibration error over ten bins of equal width (Guo et al. 2017)
    n: int
    bins: list[ReliabilityBin]  # those that hold an image


def reliability(probabilities: Sequence[float], defective: Sequence[bool]) -> Reliability:
    """Return the reliability of defect probabilities (0..1) against labels."""
    stated, bad = np.asarray(probabilities, dtype=np.float64), np.asarray(defective, dtype=np.bool_)
    place = np.minimum((stated * BINS).astype(int), BINS - 1)
    chosen = [place == index for index in range(BINS) if (place == index).any()]
    bins = [
        ReliabilityBin(float(stated[c].mean()), share_interval(int(bad[c].sum()), int(c.sum())), int(c.sum()))
        for c in chosen
    ]
    ece = sum(b.n * abs(b.stated - b.defective.value) for b in bins) / len(stated)
    return Reliability(float(np.mean((stated - bad) ** 2)), ece, len(stated), bins)
