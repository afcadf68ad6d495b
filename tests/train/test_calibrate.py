import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detector import probability
from train.calibrate import CalibrateError, goods_logistic, set_threshold

positive = st.floats(0.1, 10.0)


@settings(deadline=None, max_examples=25)
@given(st.lists(positive, min_size=99, max_size=120, unique=True), st.sampled_from([0.01, 0.02, 0.05, 0.1]))
def test_a_conformal_threshold_rejects_at_most_its_bound_of_the_goods_it_was_set_on(
    scores: list[float], alpha: float
) -> None:
    threshold = set_threshold(scores, alpha)
    assert threshold.method == "conformal"
    assert threshold.bound is not None
    assert threshold.bound <= alpha + 1e-12
    rejected = sum(score >= threshold.value for score in scores)
    assert rejected <= threshold.bound * (len(scores) + 1) - 1 + 1e-9


def test_a_conformal_threshold_keeps_its_promise_on_new_goods() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        threshold = set_threshold(rng.lognormal(size=199), alpha=0.05)
        shares.append(float(np.mean(rng.lognormal(size=500) >= threshold.value)))
    assert 0.04 < np.mean(shares) <= 0.052


def test_few_goods_promise_nothing() -> None:
    threshold = set_threshold([1.0, 1.1, 1.2, 1.3, 1.25, 1.15, 1.05, 1.22], alpha=0.01)
    assert threshold.method == "normal_limit"
    assert threshold.bound is None
    assert threshold.value > 1.3


def test_an_unusually_calm_part_does_not_raise_the_threshold() -> None:
    scores = [0.86, 0.87, 0.88, 0.91, 0.914, 0.92, 0.95, 0.857]
    calm = [*scores[:-1], 0.2]
    assert set_threshold(calm, 0.01).value == pytest.approx(set_threshold(scores, 0.01).value, rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.lists(positive, min_size=4, max_size=40, unique=True), st.floats(0.5, 4.0))
def test_a_threshold_scales_with_the_scores(scores: list[float], factor: float) -> None:
    value = set_threshold(scores, 0.005).value
    assert set_threshold([score * factor for score in scores], 0.005).value == pytest.approx(value * factor, rel=1e-6)


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0], [1.0] * 10, [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, math.nan]])
def test_unusable_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(CalibrateError, match=r"add good images|check the images"):
        set_threshold(scores, 0.01)


def test_the_probability_is_half_at_the_threshold_and_two_percent_at_the_middle_good() -> None:
    scores = [1.0, 1.1, 1.2, 1.3, 1.4]
    threshold = set_threshold(scores, 0.01)
    calibration = goods_logistic(scores, threshold)
    assert probability(threshold.value, calibration) == pytest.approx(0.5)
    assert probability(1.2, calibration) == pytest.approx(0.02)
