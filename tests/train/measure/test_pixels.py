from dataclasses import asdict

import cv2
import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from train.measure.pixels import Mask, PixelMetrics, count_pixels, pixel_intervals, pixel_metrics

Map = NDArray[np.float32]
seeds = st.integers(0, 1000)


def drawn(seed: int, images: int = 6, side: int = 32, spread: float = 1.0) -> list[tuple[Map, Mask]]:
    """Maps with heavy tails, as scores have them; every third image is good."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(images):
        mask = np.zeros((side, side), np.bool_)
        for _ in range(rng.integers(1, 4) if index % 3 else 0):
            x, y, w, h = rng.integers(1, side // 2, 4)
            mask[y : y + h // 2 + 1, x : x + w // 2 + 1] = True
        anomaly = np.exp(spread * (rng.normal(size=(side, side)) + 1.2 * mask))
        pairs.append((anomaly.astype(np.float32), mask))
    return pairs


def marked(pairs: list[tuple[Map, Mask]], threshold: float = 2.0) -> list[tuple[Map, Mask, Mask]]:
    return [(anomaly, mask, anomaly >= threshold) for anomaly, mask in pairs]


def measured(pairs: list[tuple[Map, Mask]], threshold: float = 2.0) -> PixelMetrics:
    counts = count_pixels(marked(pairs, threshold), [pair[0] for pair in pairs])
    assert counts is not None
    return pixel_metrics(counts)


def pooled(pairs: list[tuple[Map, Mask]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.concatenate([m.ravel() for m, _ in pairs]), np.concatenate([k.ravel() for _, k in pairs])


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from([0.01, 1.0, 4.0]))
def test_pixel_metrics_agree_with_scikit_learn_whatever_the_scale_of_the_map(seed: int, spread: float) -> None:
    pairs = drawn(seed, spread=spread)
    found = measured(pairs)
    anomaly, mask = pooled(pairs)
    assert found.auroc == pytest.approx(roc_auc_score(mask, anomaly), abs=2e-4)
    assert found.average_precision == pytest.approx(average_precision_score(mask, anomaly), abs=2e-3)


@settings(deadline=None, max_examples=15)
@given(seeds)
def test_iou_and_dice_agree_with_torchmetrics(seed: int) -> None:
    """Over defective images only; theirs at a given threshold, so the best one is searched among all there are.

    Ours knows the map in steps: it may miss the very best threshold by a few pixels of these small maps, never beat it.
    """
    pairs = drawn(seed)
    found = measured(pairs)
    anomaly, mask = pooled([pair for pair in pairs if pair[1].any()])
    labels = torch.from_numpy(mask).int()
    order = np.argsort(-anomaly)
    hits = np.cumsum(mask[order])
    best = anomaly[order][np.argmax(hits / (np.arange(1, len(order) + 1) + mask.sum() - hits))]
    at = torch.from_numpy(anomaly >= best).int()
    assert -0.01 <= found.best_iou - float(peer.binary_jaccard_index(at, labels)) <= 1e-6
    assert -0.01 <= found.best_dice - float(peer.binary_f1_score(at, labels)) <= 1e-6
    shipped = torch.from_numpy(anomaly >= 2.0).int()
    assert found.iou_marked == pytest.approx(float(peer.binary_jaccard_index(shipped, labels)), abs=1e-6)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_au_pro_is_the_mean_recall_of_regions_integrated(seed: int) -> None:
    """Computed as the paper defines it: threshold by threshold and region by region."""
    pairs = drawn(seed, images=4, side=24)
    goods = np.concatenate([m[~k] for m, k in pairs])
    regions = []
    for anomaly, mask in pairs:
        count, labels = cv2.connectedComponents(mask.astype(np.uint8))
        regions += [anomaly[labels == index] for index in range(1, count)]
    levels = np.unique(np.concatenate([m.ravel() for m, _ in pairs]))[::-1]
    fpr = np.array([0.0, *[np.mean(goods >= level) for level in levels]])
    pro = np.array([0.0, *[np.mean([np.mean(region >= level) for region in regions]) for level in levels]])
    inside = fpr < 0.3
    area = np.trapezoid(np.append(pro[inside], np.interp(0.3, fpr, pro)), np.append(fpr[inside], 0.3)) / 0.3
    assert measured(pairs).au_pro == pytest.approx(area, abs=2e-3)


def test_a_map_equal_to_its_mask_is_perfect() -> None:
    mask = np.zeros((32, 32), np.bool_)
    mask[4:8, 4:8] = True
    found = measured([(mask.astype(np.float32), mask)], threshold=0.5)
    assert list(asdict(found).values()) == pytest.approx([1.0] * 6)


def test_au_pro_counts_a_small_defect_as_much_as_a_large_one() -> None:
    """The large of two defects is found, the small one is not: AUROC is high, AU-PRO is half."""
    mask = np.zeros((64, 64), np.bool_)
    mask[2:30, 2:30] = True
    mask[50:52, 50:52] = True
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[2:30, 2:30] = 1.0
    good = np.linspace(0.1, 0.5, 64 * 64, dtype=np.float32).reshape(64, 64)
    anomaly_map = np.where(mask, anomaly_map, good).astype(np.float32)
    found = measured([(anomaly_map, mask)])
    assert found.auroc > 0.98
    assert found.au_pro == pytest.approx(0.5, abs=0.01)


def test_a_good_image_cannot_lower_the_iou_of_the_defective_ones() -> None:
    pairs = drawn(0)
    noisy = (np.full((32, 32), 100.0, np.float32), np.zeros((32, 32), np.bool_))
    assert measured([*pairs, noisy]).best_iou == pytest.approx(measured(pairs).best_iou, abs=2e-3)
    assert measured([*pairs, noisy]).auroc < measured(pairs).auroc


def test_without_a_marked_pixel_there_is_no_pixel_figure() -> None:
    blank = np.zeros((4, 4), np.float32)
    assert count_pixels([(blank, np.zeros((8, 8), np.bool_), blank > 0)], [blank]) is None
    assert count_pixels([], [blank]) is None


def test_pixel_intervals_come_from_images_not_from_pixels() -> None:
    """The same images at twice the size hold four times the pixels and tell no more."""
    pairs = drawn(1, images=9)
    large = [(m.repeat(2, 0).repeat(2, 1), k.repeat(2, 0).repeat(2, 1)) for m, k in pairs]
    widths = []
    for chosen in (pairs, large):
        counts = count_pixels(marked(chosen), [pair[0] for pair in chosen])
        assert counts is not None
        found = pixel_intervals(counts, samples=100)
        for name, interval in found.items():
            assert interval.low <= interval.value <= interval.high, name
        widths.append(found["auroc"].high - found["auroc"].low)
    assert widths[0] > 0.005
    assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_six_photographs_of_each_part_are_drawn_together() -> None:
    pairs = drawn(1, images=9)
    names = [str(number) for number in range(len(pairs))]
    found = []
    for chosen, parts in ((pairs, names), (pairs * 6, names * 6)):
        counts = count_pixels(marked(chosen), [pair[0] for pair in pairs])
        assert counts is not None
        found.append(pixel_intervals(counts, parts, samples=50))
    for name, interval in found[0].items():
        assert (found[1][name].low, found[1][name].high) == pytest.approx((interval.low, interval.high)), name
