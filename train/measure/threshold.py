"""The threshold and the defect probability that the scores of held-out parts set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression

from edge.core.types import AnomalyMap, Limits
from edge.inference.bundle import Calibration, Marking, Threshold
from train.measure import MeasureError
from train.measure.metrics import Floats

MIN_HOLDOUT = 4
MIN_DEFECTS = 5  # with fewer, a slope fitted to them is chance
OUTLIER_SPREADS, OUTLIER_TIMES = 6.0, 1.5  # beyond both a held-out good part is worth a look
MARKED_SHARE = 1e-4  # of the held-out good images' map that reaches the marking value
GOOD_MEDIAN_PROBABILITY = 0.02  # what the middle one of the good parts reads on the page, where 0.5 is the threshold


def set_threshold(scores: Sequence[float], alpha: float, parts: Sequence[str] = ()) -> Threshold:
    """The score from which a part is NG, from n held-out good parts and the wanted false-reject share alpha.

    parts: the physical part that each score is of; empty: each is one of its own. Only parts are independent, so
    n counts them, and a guarantee is about the highest score of each: several photos of one add no certainty.

    With n + 1 >= 1 / alpha: split conformal (Vovk 2005; Lei et al. 2018). A new good part exceeds the k-th smallest
    of n scores with probability at most 1 - k / (n + 1), whatever their distribution: on average over draws of n.
    For the n at hand the share rejected is itself random, Beta(n + 1 - k, k) (Vovk 2012, equality for continuous
    scores): upper_95 is its 95 % quantile. With fewer parts nothing can be guaranteed, and the threshold is the
    normal quantile of all the log scores around their median, with the spread of the upper half only: an unusually
    calm part must not raise the threshold. It is not widened for small n: what few parts leave in doubt is rejected.
    Raises MeasureError with fewer than 4 scores, or when they are all equal or not positive.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < MIN_HOLDOUT:
        raise MeasureError(f"{len(values)} held-out good images, at least {MIN_HOLDOUT} are needed; add good images")
    if not (np.isfinite(values).all() and values.min() > 0 and values.max() > values.min()):
        raise MeasureError("the held-out goods' scores are not usable (equal, zero or not finite); check the images")
    highest = np.sort(_highest(values, parts)) if parts else np.sort(values)
    n = len(highest)
    allowed = math.floor(alpha * (n + 1) + 1e-9)
    if allowed >= 1:
        rank = n + 1 - allowed
        above = float(np.nextafter(highest[rank - 1], np.inf))
        bound, upper_95 = allowed / (n + 1), float(stats.beta.ppf(0.95, allowed, rank))
        return Threshold(value=above, method="conformal", n=n, alpha=alpha, bound=bound, upper_95=upper_95)
    logs = np.log(values)
    centre = float(np.median(logs))
    upper = logs[logs >= centre] - centre
    spread = math.sqrt(float(np.mean(upper**2)))
    value = math.exp(centre + float(stats.norm.ppf(1.0 - alpha)) * spread)
    return Threshold(value=value, method="normal_limit", n=n, alpha=alpha, bound=None)


def outliers(scores: Mapping[str, float], alpha: float, parts: Sequence[str] = ()) -> dict[str, float | None]:
    """Return the held-out goods that score far beyond the rest, and the threshold that the others would set.

    Far is OUTLIER_SPREADS robust standard deviations of the log scores (1.4826 times the median deviation) above their
    median, and OUTLIER_TIMES the median at least. parts: the part of each score, as for set_threshold. None where the
    others are too few or too much alike to set a threshold.
    """
    names, values = list(scores), np.asarray(list(scores.values()), dtype=np.float64)
    logs = np.log(values)
    above = logs - np.median(logs)
    spread = 1.4826 * float(np.median(np.abs(above)))
    far = above > max(OUTLIER_SPREADS * spread, math.log(OUTLIER_TIMES))
    found: dict[str, float | None] = {}
    for index in np.flatnonzero(far):
        left = [one for one in range(len(names)) if one != index]
        try:
            without = set_threshold(values[left].tolist(), alpha, [parts[one] for one in left] if parts else ())
        except MeasureError:
            found[names[index]] = None
        else:
            found[names[index]] = without.value
    return found


def _highest(values: Floats, parts: Sequence[str]) -> Floats:
    """The highest score of each part."""
    names, part = np.unique(np.asarray(parts), return_inverse=True)
    highest = np.zeros(len(names))
    np.maximum.at(highest, part, values)
    return highest


def promise(threshold: Threshold) -> str:
    """Say in words what the threshold promises of good parts."""
    if threshold.bound is None:
        return (
            f"an estimate of {threshold.alpha:.1%} rejected, no guarantee; "
            f"one needs {goods_needed(threshold.alpha)} held-out good parts"
        )
    upper = "" if threshold.upper_95 is None else f", {threshold.upper_95:.1%} with 95 % confidence"
    return f"at most {threshold.bound:.1%} of good parts rejected in expectation{upper}"


def goods_needed(alpha: float) -> int:
    """Held-out good parts from which on a share alpha of rejected goods can be guaranteed."""
    return math.ceil(1.0 / alpha - 1.0 - 1e-9)


def defect_probability(goods: Sequence[float], defects: Sequence[float], threshold: Threshold) -> Calibration:
    """Platt's where enough labelled defects score above the goods, the goods' own otherwise."""
    found = platt(goods, defects) if len(defects) >= MIN_DEFECTS else None
    return found or goods_logistic(goods, threshold)


def set_marking(maps: Sequence[AnomalyMap]) -> Marking:
    """Set the map value from which a place on an NG part may be marked, from the placed maps of held-out good images.

    MARKED_SHARE of their values lie at or above it. Raises MeasureError without maps, or where they are all 0.
    """
    values = np.concatenate([np.ravel(anomaly_map) for anomaly_map in maps])
    value = float(np.quantile(values, 1.0 - MARKED_SHARE))
    if not (math.isfinite(value) and value > 0):
        raise MeasureError("the held-out goods' maps are not usable (zero or not finite); check the images")
    return Marking(value=value, share=MARKED_SHARE, n=len(maps))


def limits_of(calibration: dict[str, Any]) -> Limits:
    """Return the limits that calibration.json holds; raises MeasureError where it is of another version."""
    if "marking" not in calibration:
        raise MeasureError("calibration.json is of another version; run `python -m train calibrate` again")
    return Limits(calibration["threshold"]["value"], calibration["marking"]["value"], calibration["typical"])


def goods_logistic(scores: Sequence[float], threshold: Threshold) -> Calibration:
    """A defect probability where no defect was ever seen: 0.5 at the threshold, 0.02 at the goods' median.

    It orders parts and agrees with the verdict; it is not a frequency, and docs/reference/bundle.md says so.
    """
    spread = max(threshold.value - float(np.median(scores)), 1e-3 * threshold.value)
    scale = spread / math.log((1.0 - GOOD_MEDIAN_PROBABILITY) / GOOD_MEDIAN_PROBABILITY)
    return Calibration(method="goods_logistic", midpoint=threshold.value, scale=scale, n=len(scores))


def platt(goods: Sequence[float], defects: Sequence[float]) -> Calibration | None:
    """The logistic of the score under which labels that training has not seen are most likely (Platt 1999).

    Defective parts are taken for defective with (d + 1) / (d + 2) only, good ones with 1 / (g + 2): Platt's targets,
    without which parts that are told apart perfectly would ask for an infinite slope. None where the most likely
    probability falls with the score: such defects tell nothing. Raises MeasureError when a score is not finite.
    """
    scores = np.concatenate([goods, defects]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise MeasureError("a held-out part's score is not finite; train again")
    g, d = len(goods), len(defects)
    target = np.concatenate([np.full(g, 1.0 / (g + 2)), np.full(d, (d + 1.0) / (d + 2))])
    centre, spread = float(scores.mean()), max(float(scores.std()), 1e-12)
    column = ((scores - centre) / spread)[:, None]
    # A target t is an image seen t times as defective and 1 - t times as good.
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8, max_iter=200)
    model.fit(np.vstack([column, column]), np.repeat([1, 0], g + d), np.concatenate([target, 1.0 - target]))
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        return None
    return Calibration(
        method="platt", midpoint=centre - spread * offset / slope, scale=spread / slope, n=g + d, defective=d / (g + d)
    )


def at_share(probability: float, calibration: Calibration, defective: float) -> float:
    """A calibrated probability where another share of the parts (0 < defective < 1) is defective than in calibration.

    By Bayes' rule the odds change as the share's odds do. Without a share to start from, nothing changes.
    """
    if calibration.defective is None:
        return probability
    ratio = defective / (1.0 - defective) * (1.0 - calibration.defective) / calibration.defective
    return probability * ratio / (probability * ratio + 1.0 - probability)
