import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

from edge.inference.bundle import Calibration
from edge.inference.detector import probability
from train.measure import MeasureError
from train.measure.threshold import (
    MARKED_SHARE,
    at_share,
    defect_probability,
    goods_logistic,
    goods_needed,
    limits_of,
    outliers,
    platt,
    promise,
    set_marking,
    set_threshold,
)

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


def test_the_upper_bound_holds_for_95_of_100_draws_of_goods() -> None:
    """The share of new goods above the threshold is known exactly for a known distribution."""
    rng = np.random.default_rng(1)
    realised = []
    for _ in range(2000):
        threshold = set_threshold(rng.lognormal(size=199), alpha=0.02)
        realised.append(stats.lognorm.sf(threshold.value, 1.0))
    assert threshold.upper_95 is not None
    assert 0.93 < np.mean(np.array(realised) <= threshold.upper_95) < 0.97


def test_one_allowed_good_of_99_may_mean_three_percent() -> None:
    """Closed form of Beta(1, 99): 1 - 0.05 ** (1 / 99)."""
    threshold = set_threshold(np.arange(1.0, 100.0).tolist(), alpha=0.01)
    assert threshold.bound == pytest.approx(0.01)
    assert threshold.upper_95 == pytest.approx(1 - 0.05 ** (1 / 99))


@settings(deadline=None)
@given(st.floats(0.001, 0.4))
def test_as_many_goods_as_are_needed_carry_a_guarantee_and_one_less_does_not(alpha: float) -> None:
    needed = goods_needed(alpha)
    for n, kept in ((needed, True), (needed - 1, False)):
        if n >= 4:
            threshold = set_threshold(np.arange(1.0, n + 1.0).tolist(), alpha)
            assert (threshold.bound is not None) == kept


def test_many_photos_of_few_parts_promise_nothing() -> None:
    scores = np.linspace(1.0, 2.0, 120).tolist()
    parts = [f"tile {index // 6}" for index in range(120)]
    alone, grouped = set_threshold(scores, 0.01), set_threshold(scores, 0.01, parts)
    assert (alone.n, alone.method) == (120, "conformal")
    assert (grouped.n, grouped.method, grouped.bound) == (20, "normal_limit", None)


@settings(deadline=None, max_examples=25)
@given(st.lists(positive, min_size=60, max_size=90, unique=True), st.integers(2, 4))
def test_a_guarantee_counts_of_each_part_the_share_of_its_photos_that_are_rejected(
    scores: list[float], photos: int
) -> None:
    parts = [str(index // photos) for index in range(len(scores))]
    threshold = set_threshold(scores, 0.1, parts)
    assert threshold.bound is not None
    rejected = sum(1 / parts.count(part) for part, score in zip(parts, scores, strict=True) if score >= threshold.value)
    assert threshold.n == len(set(parts))
    assert rejected <= threshold.bound * (threshold.n + 1) - 1 + 1e-9
    assert threshold.bound <= 0.1 + 1e-9


@settings(deadline=None, max_examples=25)
@given(st.lists(positive, min_size=40, max_size=60, unique=True), st.sampled_from([0.05, 0.1]))
def test_the_same_number_of_photos_of_each_part_twice_over_changes_nothing(scores: list[float], alpha: float) -> None:
    names = [str(index) for index in range(len(scores))]
    assert set_threshold(scores + scores, alpha, names + names) == set_threshold(scores, alpha, names)


def test_a_new_photo_is_rejected_as_often_as_promised_when_photos_of_a_part_differ() -> None:
    """Six photos of each of 40 parts, which differ as much as the parts do; new parts are photographed once."""
    rng = np.random.default_rng(3)
    shares, bounds = [], []
    for _ in range(400):
        scores = np.exp(rng.normal(size=(40, 1)) + rng.normal(size=(40, 6))).ravel()
        threshold = set_threshold(scores.tolist(), 0.05, np.repeat(np.arange(40), 6).astype(str).tolist())
        shares.append(stats.norm.sf(np.log(threshold.value), scale=2**0.5))
        bounds.append(threshold.bound)
    assert 0.025 < np.mean(shares) <= np.mean(bounds) + 0.003
    assert max(bounds) <= 0.05 + 1e-9


def test_a_guarantee_holds_when_the_photos_of_a_part_are_alike() -> None:
    """Six photos of each of 40 parts, almost the same score: as 240 independent goods they would promise too much."""
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(400):
        scores = (rng.lognormal(size=40)[:, None] * np.exp(0.01 * rng.normal(size=(40, 6)))).ravel()
        threshold = set_threshold(scores.tolist(), 0.05, np.repeat(np.arange(40), 6).astype(str).tolist())
        shares.append(stats.lognorm.sf(threshold.value, 1.0))
    assert threshold.upper_95 is not None
    assert np.mean(shares) <= 0.055
    assert np.mean(np.array(shares) <= threshold.upper_95) > 0.93


def test_few_goods_promise_nothing() -> None:
    threshold = set_threshold([1.0, 1.1, 1.2, 1.3, 1.25, 1.15, 1.05, 1.22], alpha=0.01)
    assert threshold.method == "normal_limit"
    assert threshold.bound is threshold.upper_95 is None
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
    with pytest.raises(MeasureError, match=r"add good images|check the images"):
        set_threshold(scores, 0.01)


def test_the_probability_is_half_at_the_threshold_and_two_percent_at_the_middle_good() -> None:
    scores = [1.0, 1.1, 1.2, 1.3, 1.4]
    threshold = set_threshold(scores, 0.01)
    calibration = goods_logistic(scores, threshold)
    assert probability(threshold.value, calibration) == pytest.approx(0.5)
    assert probability(1.2, calibration) == pytest.approx(0.02)


def gaussians(seed: int, n_good: int, n_bad: int) -> tuple[list[float], list[float]]:
    """Good and defective scores of unit spread around 4 and 6: the true log odds are 2 x - 10 + log(n_bad / n_good)."""
    rng = np.random.default_rng(seed)
    return rng.normal(4, 1, n_good).tolist(), rng.normal(6, 1, n_bad).tolist()


def test_platt_finds_the_true_probability() -> None:
    goods, defects = gaussians(0, 4000, 1000)
    calibration = platt(goods, defects)
    assert calibration is not None
    assert calibration.defective == 0.2
    for score in (4.0, 5.0, 6.0):
        assert probability(score, calibration) == pytest.approx(expit(2 * score - 10 + math.log(0.25)), abs=0.02)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(5, 60), st.integers(5, 60))
def test_no_other_logistic_makes_the_labels_likelier(seed: int, n_good: int, n_bad: int) -> None:
    """The gradient of Platt's likelihood vanishes at what was fitted."""
    goods, defects = gaussians(seed, n_good, n_bad)
    calibration = platt(goods, defects)
    assert calibration is not None
    targets = np.array([1 / (n_good + 2)] * n_good + [(n_bad + 1) / (n_bad + 2)] * n_bad)
    scores = np.array(goods + defects)
    residual = np.array([probability(score, calibration) for score in scores]) - targets
    assert abs(residual.sum()) < 1e-3
    assert abs((residual * scores).sum()) < 1e-2


def test_parts_told_apart_perfectly_are_still_not_certain() -> None:
    calibration = platt([1.0, 1.1, 1.2, 1.3] * 10, [5.0, 6.0, 7.0, 8.0, 9.0])
    assert calibration is not None
    assert 0.5 < probability(5.0, calibration) < 0.99
    assert probability(1.3, calibration) > 1e-4


def test_defects_that_score_like_goods_leave_the_goods_own_probability() -> None:
    goods = np.linspace(1.0, 2.0, 40).tolist()
    threshold = set_threshold(goods, 0.05)
    for defects in ([], [5.0] * 4, [0.5, 0.6, 0.7, 0.8, 0.9]):
        assert defect_probability(goods, defects, threshold) == goods_logistic(goods, threshold)
    assert defect_probability(goods, [5.0] * 5, threshold).method == "platt"


def test_a_defect_without_a_score_is_refused() -> None:
    with pytest.raises(MeasureError, match="not finite"):
        platt([1.0, 2.0], [math.nan] * 5)


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99))
def test_another_share_of_defects_shifts_the_odds_and_the_same_share_nothing(stated: float, share: float) -> None:
    calibration = Calibration(method="platt", midpoint=1.0, scale=1.0, n=80, defective=0.25)
    assert at_share(stated, calibration, 0.25) == pytest.approx(stated)
    shift = logit(at_share(stated, calibration, share)) - logit(stated)
    assert shift == pytest.approx(logit(share) - logit(0.25), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), images=st.integers(1, 6))
def test_the_marking_value_leaves_the_stated_share_of_good_pixels_above_it(seed: int, images: int) -> None:
    maps = list(np.random.default_rng(seed).lognormal(size=(images, 100, 100)).astype(np.float32))
    marking = set_marking(maps)
    assert (marking.share, marking.n) == (MARKED_SHARE, images)
    assert np.mean(np.stack(maps) > marking.value) <= MARKED_SHARE
    assert np.mean(np.stack(maps) > marking.value * 0.9) > 0


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_maps_that_say_nothing_set_no_marking_value(value: float) -> None:
    with pytest.raises(MeasureError, match="check the images"):
        set_marking([np.full((8, 8), value, np.float32)])


def test_a_calibration_from_before_the_marking_value_asks_for_another() -> None:
    with pytest.raises(MeasureError, match="run `python -m train calibrate` again"):
        limits_of({"threshold": {"value": 1.0}})


def test_a_held_out_good_far_beyond_the_rest_is_named_with_the_threshold_of_the_others() -> None:
    """One damaged photo among 24 goods let every defect escape."""
    calm = {f"{index:02d}.png": 0.25 + 0.004 * index for index in range(23)}
    found = outliers(calm | {"damaged.png": 1.3}, 0.01)
    assert found == {"damaged.png": pytest.approx(set_threshold(list(calm.values()), 0.01).value)}
    assert set_threshold([*calm.values(), 1.3], 0.01).value > 1.5 * found["damaged.png"]


@given(seed=st.integers(0, 200), n=st.integers(8, 200))
def test_ordinary_scores_have_no_outlier(seed: int, n: int) -> None:
    scores = np.random.default_rng(seed).normal(1.0, 0.05, n)
    assert outliers({str(index): float(score) for index, score in enumerate(scores)}, 0.01) == {}


def test_too_few_others_set_no_threshold() -> None:
    assert outliers({"a": 1.0, "b": 1.01, "c": 1.02, "d": 9.0}, 0.01) == {"d": None}


CALM = [1.0 + 0.001 * index for index in range(150)]


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(120)), st.booleans())
def test_the_order_of_the_goods_sets_no_threshold(order: list[int], cross: bool) -> None:
    scores, parts = [1.0 + (7 * index % 120) / 100 for index in range(120)], [str(index % 110) for index in range(120)]
    moved = [scores[one] for one in order], [parts[one] for one in order]
    assert set_threshold(moved[0], 0.02, moved[1], cross, 1) == set_threshold(scores, 0.02, parts, cross, 1)


@settings(deadline=None, max_examples=25)
@given(st.lists(positive, min_size=99, max_size=140, unique=True), st.integers(0, 98), st.floats(1.0, 5.0))
def test_a_good_that_scores_higher_never_lowers_the_threshold(scores: list[float], which: int, times: float) -> None:
    higher = [score * (times if index == which else 1.0) for index, score in enumerate(scores)]
    assert set_threshold(higher, 0.01, cross=True).value >= set_threshold(scores, 0.01, cross=True).value


def test_goods_that_the_bank_knows_guarantee_twice_as_much() -> None:
    held, cross = set_threshold(CALM, 0.02), set_threshold(CALM, 0.02, cross=True)
    assert (held.value, held.bound) == (cross.value, pytest.approx(3 / 151))
    assert (cross.method, cross.bound, cross.upper_95) == ("cross", pytest.approx(6 / 151), None)
    assert (goods_needed(0.01), goods_needed(0.01, cross=True)) == (99, 199)


def test_one_fibre_does_not_set_the_threshold_where_one_outlier_is_allowed() -> None:
    """The order statistic that is left has its own bound, and it is stated whether or not there was an outlier."""
    dirty = [*CALM[:-1], 9.0]
    assert set_threshold(dirty, 0.007).value > 9.0
    robust = set_threshold(dirty, 0.007, outliers=1)
    assert CALM[-2] < robust.value < 1.1 * CALM[-1]
    assert robust.bound == set_threshold(CALM, 0.007, outliers=1).bound == pytest.approx(2 / 151)


def test_where_alpha_leaves_room_an_allowed_outlier_costs_nothing() -> None:
    assert set_threshold(CALM, 0.02, outliers=1) == set_threshold(CALM, 0.02)
    assert set_threshold([*CALM[:-1], 9.0], 0.02, outliers=1) == set_threshold([*CALM[:-1], 9.0], 0.02)


def test_few_goods_and_one_fibre_are_as_many_without_it() -> None:
    calm = [1.0 + 0.01 * index for index in range(20)]
    assert set_threshold([*calm, 3.0], 0.01, outliers=1).value == set_threshold(calm, 0.01).value
    assert set_threshold([*calm, 3.0], 0.01).value > 1.5 * set_threshold(calm, 0.01).value


def nearest(points: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - bank[None], axis=2).min(axis=1) + 1e-9


Drawn = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@pytest.mark.parametrize(
    ("draw", "dimensions"),
    [
        (lambda rng, shape: rng.normal(size=shape), 1),
        (lambda rng, shape: rng.standard_t(3, shape), 1),
        (lambda rng, shape: rng.normal(size=shape), 4),
    ],
    ids=["normal", "heavy tails", "four dimensions"],
)
def test_goods_scored_without_themselves_reject_by_part_about_half_of_what_is_guaranteed(
    draw: Drawn, dimensions: int
) -> None:
    """200 draws of 60 parts with one or two photographs each: the shipped bank holds all of them.

    Scored without their own photograph alone, they reject 1.3 times (normal) to twice (four dimensions) as many.
    """
    rng, shares, bounds = np.random.default_rng(2), [], []
    for _ in range(200):
        part = np.repeat(np.arange(60), rng.integers(1, 3, 60))
        goods = draw(rng, (60, dimensions))[part] + 0.1 * rng.normal(size=(len(part), dimensions))
        alone = [float(nearest(goods[[i]], goods[part != part[i]])[0]) for i in range(len(part))]
        threshold = set_threshold(alone, 0.05, [str(one) for one in part], cross=True)
        assert threshold.bound is not None
        bounds.append(threshold.bound)
        new = draw(rng, (200, dimensions)) + 0.1 * rng.normal(size=(200, dimensions))
        shares.append(float(np.mean(nearest(new, goods) >= threshold.value)))
    assert 0.75 < np.mean(shares) / (np.mean(bounds) / 2) < 1.15


@pytest.mark.parametrize("spared", [0, 1])
def test_what_is_said_of_a_limit_that_all_goods_set_is_what_happens(spared: int) -> None:
    """With heavy tails the k-th highest of n scores is the limit, and k / (n + 1) of new ones lie above it."""
    rng, shares = np.random.default_rng(3), []
    for _ in range(300):
        threshold = set_threshold(np.exp(0.1 * rng.standard_t(3, 100)).tolist(), 0.01, cross=True, outliers=spared)
        shares.append(float(stats.t.sf(np.log(threshold.value) / 0.1, 3)))
    share = (1 + spared) / 101
    assert promise(threshold) == (
        f"about {share:.1%} or less, and at most {2 * share:.1%} of good parts rejected in expectation"
    )
    assert 0.7 * share < np.mean(shares) < 1.1 * share
