"""Three opinions added as log odds to one score: more evidence of any kind never lowers the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

EXPECTED = (0.5, 1.0, 0.5)  # log odds a step of each opinion is worth before any defect was seen (docs/decisions/0007)
LEAST = 0.5  # of its expectation is what each opinion keeps: defects nobody has labelled yet are not among the evidence
PART_LIMIT = 2.0  # log odds that the part's logit counts at most, either way: it moves the whole map, not a place in it
TRUST = 2.0  # how many validation images' worth of evidence it takes to leave that expectation
SOFTNESS = 16.0  # log odds over which the score doubles, about, from 1 at even odds


@dataclass(frozen=True, slots=True)
class Fusion:
    """log odds = bias + normality x anomaly + segmentation x defect logit + classification x part logit within +-2.

    The three weights are positive: score and map never fall when an opinion rises.
    """

    bias: float
    normality: float
    segmentation: float
    classification: float


def fit_fusion(
    normality: Sequence[float], summit: Sequence[float], part: Sequence[float], defective: Sequence[bool]
) -> Fusion:
    """Logistic regression of validation images on the three opinions, drawn towards EXPECTED, none under half of it.

    normality: score of the normality head; summit: mean of the highest defect logits; part: the part's logit. A step
    of normality is the spread (half the 16-84 % range) of the good images; the other two are log odds already.
    Few defects leave the weights near their expectation, many decide them.
    """
    opinions: NDArray[np.float64] = np.stack(
        [normality, summit, np.clip(part, -PART_LIMIT, PART_LIMIT)], axis=1
    ).astype(np.float64)
    bad = np.asarray(defective, dtype=bool)
    goods = opinions[~bad]
    centre = np.median(goods, axis=0)
    low, high = np.quantile(goods[:, 0], [0.16, 0.84])
    step = np.array([max((high - low) / 2, 1e-3 * abs(centre[0]), 1e-9), 1.0, 1.0])
    steps = (opinions - centre) / step
    balance = np.where(bad, 0.5 / max(bad.sum(), 1), 0.5 / max((~bad).sum(), 1)) * len(bad)

    def loss(found: NDArray[np.float64]) -> float:
        odds = found[0] + steps @ found[1:]
        wrong = np.logaddexp(0.0, np.where(bad, -odds, odds))
        return float((balance * wrong).sum() + TRUST * ((found[1:] - EXPECTED) ** 2).sum())

    start = np.array([-3.0, *EXPECTED])
    found = minimize(loss, start, bounds=[(-20, 0), *((LEAST * one, 10) for one in EXPECTED)], method="L-BFGS-B").x
    weights = found[1:] / step
    return Fusion(float(found[0] - weights @ centre), *(float(weight) for weight in weights))
