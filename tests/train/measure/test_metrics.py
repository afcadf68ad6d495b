import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, precision_recall_curve, roc_auc_score

from train.measure.metrics import image_intervals, image_metrics, part_share_interval, reliability, share_interval

seeds = st.integers(0, 1000)


def drawn(seed: int, n: int = 60, steps: int = 40) -> tuple[list[float], list[bool]]:
    """Scores with ties, a third of them of defective parts, which score higher on the whole."""
    rng = np.random.default_rng(seed)
    bad = np.arange(n) % 3 == 0
    scores = np.round((rng.normal(size=n) + 1.5 * bad) * steps / 8)
    return scores.tolist(), bad.tolist()


def test_perfect_separation() -> None:
    found = image_metrics([0.1, 0.2, 0.3, 0.8, 0.9], [False, False, False, True, True])
    assert (found.auroc, found.average_precision, found.f1_max) == (1.0, 1.0, 1.0)
    assert (found.fpr_at_95_recall, found.recall_at_2_fpr) == (0.0, 1.0)


def test_one_good_part_above_half_of_the_bad_ones() -> None:
    found = image_metrics([0.1, 0.6, 0.5, 0.9], [False, False, True, True])
    assert found.auroc == pytest.approx(0.75)
    assert found.fpr_at_95_recall == 0.5
    assert found.recall_at_2_fpr == 0.5


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_image_metrics_agree_with_scikit_learn(seed: int) -> None:
    scores, bad = drawn(seed)
    found = image_metrics(scores, bad)
    precision, recall, _ = precision_recall_curve(bad, scores)
    assert found.auroc == pytest.approx(roc_auc_score(bad, scores))
    assert found.average_precision == pytest.approx(average_precision_score(bad, scores))
    assert found.f1_max == pytest.approx(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_image_metrics_agree_with_torchmetrics(seed: int) -> None:
    scores, bad = drawn(seed)
    found = image_metrics(scores, bad)
    shares = torch.tensor(scores, dtype=torch.float64).sigmoid()  # it wants 0..1, and otherwise does this itself
    labels = torch.tensor(bad).int()
    assert found.auroc == pytest.approx(float(peer.binary_auroc(shares, labels)), abs=1e-6)
    assert found.average_precision == pytest.approx(float(peer.binary_average_precision(shares, labels)), abs=1e-6)
    recall, _ = peer.binary_sensitivity_at_specificity(shares, labels, min_specificity=0.98)
    assert found.recall_at_2_fpr == pytest.approx(float(recall), abs=1e-6)
    specificity, _ = peer.binary_specificity_at_sensitivity(shares, labels, min_sensitivity=0.95)
    assert found.fpr_at_95_recall == pytest.approx(1 - float(specificity), abs=1e-6)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_an_interval_holds_its_value_and_is_not_a_point(seed: int) -> None:
    scores, bad = drawn(seed)
    for name, found in image_intervals(scores, bad, samples=200).items():
        assert found.value == getattr(image_metrics(scores, bad), name)
        assert found.low <= found.value <= found.high
        assert found.high - found.low > 0.02


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Two unit Gaussians 1.5 apart: AUROC is Phi(1.5 / sqrt 2) = .8556."""
    rng = np.random.default_rng(0)
    bad = [False] * 80 + [True] * 80
    held = 0
    for seed in range(200):
        scores = rng.normal(size=160) + 1.5 * np.array(bad)
        found = image_intervals(scores.tolist(), bad, seed=seed, samples=200)["auroc"]
        held += found.low <= 0.8556 <= found.high
    assert 178 <= held <= 199  # 190 expected, about 3 standard deviations each way


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_six_photographs_of_each_part_say_no_more_than_one(seed: int) -> None:
    scores, bad = drawn(seed)
    parts = [f"{number:04}" for number in range(len(scores))]
    once = image_intervals(scores, bad, parts, samples=100)
    assert image_intervals(list(scores) * 6, list(bad) * 6, parts * 6, samples=100) == once
    found = [score > 0 for score in scores]
    exact = share_interval(sum(found), len(found))
    assert part_share_interval(found, parts) == exact
    six = part_share_interval(found * 6, parts * 6)
    assert six.low <= six.value <= six.high
    assert six.high - six.low > 0.7 * (exact.high - exact.low)


def test_a_perfect_result_is_doubted_as_far_as_its_images_reach() -> None:
    found = image_intervals([1.0] * 40 + [2.0] * 10, [False] * 40 + [True] * 10)
    assert found["auroc"].low == pytest.approx(0.025 ** (1 / 10))
    assert found["recall_at_2_fpr"].low == pytest.approx(0.025 ** (1 / 10))
    assert found["fpr_at_95_recall"].high == pytest.approx(1 - 0.025 ** (1 / 40))


def test_the_exact_interval_of_a_share() -> None:
    """Clopper and Pearson for 0 of 10: the upper limit is 1 - 0.025 ** (1 / 10)."""
    found = share_interval(0, 10)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_reliability_agrees_with_scikit_learn_and_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stated = rng.random(200)
    bad = rng.random(200) < stated**2
    found = reliability(stated.tolist(), bad.tolist())
    assert found.brier == pytest.approx(brier_score_loss(bad, stated))
    peers = peer.binary_calibration_error(torch.tensor(stated), torch.tensor(bad).int(), n_bins=10, norm="l1")
    assert found.ece == pytest.approx(float(peers), abs=1e-5)
    assert sum(b.n for b in found.bins) == found.n == 200


def test_a_probability_of_one_falls_into_the_last_bin() -> None:
    (found,) = reliability([1.0, 0.95], [True, True]).bins
    assert (found.n, found.defective.value) == (2, 1.0)
