import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from train.metrics import auroc_interval, image_metrics, pixel_metrics, share_interval


def test_perfect_separation() -> None:
    found = image_metrics([0.1, 0.2, 0.3, 0.8, 0.9], [False, False, False, True, True])
    assert (found.auroc, found.fpr_at_95_recall, found.recall_at_2_fpr) == (1.0, 0.0, 1.0)


def test_one_good_part_above_half_of_the_bad_ones() -> None:
    found = image_metrics([0.1, 0.6, 0.5, 0.9], [False, False, True, True])
    assert found.auroc == pytest.approx(0.75)
    assert found.fpr_at_95_recall == 0.5
    assert found.recall_at_2_fpr == 0.5


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_pixel_auroc_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random((3, 16, 16)).astype(np.float32)
    masks = rng.random((3, 16, 16)) < 0.2
    found = pixel_metrics(zip(maps, masks, strict=True), top=1.0)
    assert found is not None
    assert found.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=2e-3)


def test_a_map_equal_to_its_mask_is_perfect() -> None:
    mask = np.zeros((32, 32), np.bool_)
    mask[4:8, 4:8] = True
    found = pixel_metrics([(mask.astype(np.float32), mask)], top=1.0)
    assert found is not None
    assert found.auroc == pytest.approx(1.0)
    assert found.au_pro == pytest.approx(1.0)


def test_au_pro_counts_a_small_defect_as_much_as_a_large_one() -> None:
    """The large of two defects is found, the small one is not: AUROC is high, AU-PRO is half."""
    mask = np.zeros((64, 64), np.bool_)
    mask[2:30, 2:30] = True
    mask[50:52, 50:52] = True
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[2:30, 2:30] = 1.0
    good = np.linspace(0.1, 0.5, 64 * 64, dtype=np.float32).reshape(64, 64)
    anomaly_map = np.where(mask, anomaly_map, good).astype(np.float32)
    found = pixel_metrics([(anomaly_map, mask)], top=1.0)
    assert found is not None
    assert found.auroc > 0.98
    assert found.au_pro == pytest.approx(0.5, abs=0.01)


def test_without_a_marked_pixel_there_is_no_pixel_figure() -> None:
    assert pixel_metrics([(np.zeros((4, 4), np.float32), np.zeros((8, 8), np.bool_))], top=1.0) is None


def test_the_exact_interval_of_a_share() -> None:
    """Clopper and Pearson for 0 of 10: the upper limit is 1 - 0.025 ** (1 / 10)."""
    found = share_interval(0, 10)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 100))
def test_the_bootstrap_interval_holds_the_auroc(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bad = np.arange(60) % 3 == 0
    scores = rng.normal(size=60) + bad
    found = auroc_interval(scores.tolist(), bad.tolist())
    assert found.value == pytest.approx(image_metrics(scores.tolist(), bad.tolist()).auroc)
    assert found.low <= found.value <= found.high
    assert found.high - found.low > 0.05
