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
from train.data.parts import far_beyond, spared
from train.measure import MeasureError
from train.measure.metrics import Floats

MIN_HOLDOUT = 4
MIN_DEFECTS = 5  # with fewer, a slope fitted to them is chance
MARKED_SHARE = 1e-4  # of the held-out good images' map that reaches the marking value
GOOD_MEDIAN_PROBABILITY = 0.02  # what the middle one of the good parts reads on the page, where 0.5 is the threshold


def set_threshold(
    scores: Sequence[float], alpha: float, parts: Sequence[str] = (), cross: bool = False, outliers: int = 0
) -> Threshold:
    """The score from which a part is NG, from n good parts and the wanted false-reject share alpha.

    parts: the physical part that each score is of; empty: each is one of its own. Only parts are independent, so
    n counts them: each of the m photos of a part weighs 1 / m, and several of one add no certainty. cross: the model
    knows all these parts, and each was scored without itself. outliers: parts far beyond the rest (train.data.parts)
    that are left out, at most so many.

    With n + 1 >= 1 / alpha the threshold is the lowest that leaves at most k - 1 parts' weight of photos above it,
    k = alpha (n + 1); with one photo of each part it is the k-th largest score. Held-out parts give split conformal
    (Vovk 2005; Lei et al. 2018; for photos of parts Lee, Barber and Willett 2023): a photo of a new good part exceeds
    it with probability at most k / (n + 1), whatever the distribution, on average over draws of n. For the n at hand
    the share rejected is itself random, Beta(k, n + 1 - k) (Vovk 2012, equality for continuous scores of one photo a
    part): upper_95 is its 95 % quantile, with k - 1 the parts that have a photo above. With cross it is the jackknife+
    (Barber et al. 2021, theorem 1): at most 2 k / (n + 1), since a bank with the part in it is no farther from a new
    part than one without (docs/decisions/0016).

    Where outliers are allowed and k is not larger than their number, the threshold need not be so high: it is the
    normal quantile, but no lower than the next one that outliers cannot set, whose bound is stated.

    With fewer parts nothing useful can be guaranteed, and the threshold is the normal quantile of all the log scores
    around their median, with the spread of the upper half only: an unusually calm part must not raise the threshold.
    It is not widened for small n: what few parts leave in doubt is rejected.
    Raises MeasureError with fewer than 4 scores, or when they are all equal or not positive.
    """
    values = np.asarray(scores, dtype=np.float64)
    _refuse_unusable(values)
    names, part, photos = np.unique(
        parts if parts else np.arange(len(values)).astype(str), return_inverse=True, return_counts=True
    )
    left = ~np.isin(names, list(spared(values.tolist(), names[part].tolist(), outliers)))[part]
    if not values[left].max() > values[left].min():
        raise MeasureError(f"the goods' scores are all equal but for {np.sum(~left)}; check the images")
    n = len(names)
    allowed = alpha * (n + 1) + 1e-9
    normal = _normal_limit(values[left], alpha)
    if allowed < 1:
        return Threshold(value=normal, method="normal_limit", n=n, alpha=alpha, bound=None)
    rank = max(allowed, 1.0 + outliers)
    if rank > n:
        raise MeasureError(f"outliers = {outliers} leaves none of {n} good parts; allow fewer, or add good images")
    weights = 1.0 / photos[part]
    lowest, largest = (_lowest(values, weights, one) for one in (rank, allowed))
    above = values >= lowest
    share = (1.0 + float(weights[above].sum())) / (n + 1)
    value = min(max(normal, lowest), largest)
    if cross:
        return Threshold(value=value, method="cross", n=n, alpha=alpha, bound=min(1.0, 2 * share))
    parts_above = len(np.unique(part[above]))
    upper_95 = float(stats.beta.ppf(0.95, parts_above + 1, n - parts_above))
    return Threshold(value=value, method="conformal", n=n, alpha=alpha, bound=share, upper_95=upper_95)


def _refuse_unusable(values: Floats) -> None:
    if len(values) < MIN_HOLDOUT:
        raise MeasureError(f"{len(values)} held-out good images, at least {MIN_HOLDOUT} are needed; add good images")
    if not (np.isfinite(values).all() and values.min() > 0 and values.max() > values.min()):
        raise MeasureError(
            "the goods' scores are not usable (equal, zero or not finite); check the images: copies of one picture "
            "tell nothing, so add photographs of different parts"
        )


def _lowest(values: Floats, weights: Floats, rank: float) -> float:
    """Return the lowest threshold at or above which scores of a weight of rank - 1 at most lie."""
    order = np.argsort(-values)
    reached = np.cumsum(weights[order]) > rank - 1.0 + 1e-9
    return float(np.nextafter(values[order][np.argmax(reached)], np.inf))


def _normal_limit(values: Floats, alpha: float) -> float:
    """Return the normal quantile of the log scores around their median, with the spread of the upper half only."""
    logs = np.log(values)
    centre = float(np.median(logs))
    upper = logs[logs >= centre] - centre
    return math.exp(centre + float(stats.norm.ppf(1.0 - alpha)) * math.sqrt(float(np.mean(upper**2))))


def outliers(
    scores: Mapping[str, float], alpha: float, parts: Sequence[str] = (), cross: bool = False
) -> dict[str, float | None]:
    """Return the goods that score far beyond the rest, and the threshold that the others would set.

    parts and cross as for set_threshold. None where the others are too few or too much alike to set a threshold.
    """
    names, values = list(scores), list(scores.values())
    found: dict[str, float | None] = {}
    for index in np.flatnonzero(far_beyond(values)):
        left = [one for one in range(len(names)) if one != index]
        of = [parts[one] for one in left] if parts else ()
        try:
            found[names[index]] = set_threshold([values[one] for one in left], alpha, of, cross).value
        except MeasureError:
            found[names[index]] = None
    return found


def promise(threshold: Threshold) -> str:
    """Say in words what the threshold promises of good parts."""
    if threshold.bound is None:
        return (
            f"an estimate of {threshold.alpha:.1%} rejected, no guarantee; "
            f"one needs {goods_needed(threshold.alpha)} held-out good parts"
        )
    upper = "" if threshold.upper_95 is None else f", {threshold.upper_95:.1%} with 95 % confidence"
    # What happens is near half of what is guaranteed: the rank of the score that bounds the threshold over n + 1.
    about = f"about {threshold.bound / 2:.1%} or less, and " if threshold.method == "cross" else ""
    return f"{about}at most {threshold.bound:.1%} of good parts rejected in expectation{upper}"


def goods_needed(alpha: float, cross: bool = False) -> int:
    """Good parts from which on a share alpha of rejected goods can be guaranteed."""
    return math.ceil((2.0 if cross else 1.0) / alpha - 1.0 - 1e-9)


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
