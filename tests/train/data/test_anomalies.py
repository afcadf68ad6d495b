import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Image
from train.data import anomalies
from train.data.anomalies import MIN_CHANGE, PAINTERS, add_anomaly, transplant
from train.data.families import LIFELIKE, Painter, Soft

seeds = st.integers(0, 100_000)
sides = st.sampled_from([(64, 64), (64, 96), (128, 80)])


def part(height: int, width: int, level: int = 120) -> Image:
    rng = np.random.default_rng(level)
    return rng.integers(level - 10, level + 10, (height, width, 3)).astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, shape=sides)
def test_there_is_a_mask_and_what_it_marks_can_be_seen(seed: int, shape: tuple[int, int]) -> None:
    image = part(*shape)
    changed, mask = add_anomaly(image, part(*shape, 90), np.random.default_rng(seed))
    assert mask.shape == shape
    assert mask.any()
    assert cv2.absdiff(changed, image)[mask].mean() >= MIN_CHANGE


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_a_defect_that_cannot_be_seen_is_drawn_another_way(seed: int) -> None:
    """Black parts, pieces of which show on no black part, and painters that paint nothing else."""
    black = np.zeros((64, 64, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomalies, "PAINTERS", (anomalies._pasted,))
        patch.setattr(anomalies, "LIFELIKE_SHARE", 0.0)
        changed, mask = add_anomaly(black, black, np.random.default_rng(seed))
    assert mask.any()
    assert changed[mask].mean() >= MIN_CHANGE


@settings(deadline=None, max_examples=60)
@given(seed=seeds, painter=st.sampled_from((*PAINTERS, *dict.fromkeys(LIFELIKE))))
def test_nothing_changes_outside_the_soft_mask(seed: int, painter: Painter) -> None:
    """The same draw as add_anomaly makes: which painter, its soft mask, how opaque."""
    image, other = part(64, 96), part(64, 96, 90)
    soft, _ = painter(image, other, _after_choice(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomalies, "PAINTERS", (painter,))
        patch.setattr(anomalies, "LIFELIKE_SHARE", 0.0)
        patch.setattr(anomalies, "MIN_CHANGE", 0.0)  # the first attempt counts
        changed, mask = add_anomaly(image, other, np.random.default_rng(seed))
    if (soft > 0.5).any():
        assert not (changed != image).any(axis=2)[soft <= 0].any()
        assert np.array_equal(mask, soft > 0.5)


def _after_choice(seed: int) -> np.random.Generator:
    rng = np.random.default_rng(seed)
    rng.random()
    rng.integers(1)
    return rng


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_the_same_generator_draws_the_same_picture(seed: int) -> None:
    image, other = part(64, 96), part(64, 96, 90)
    first, second = (add_anomaly(image, other, np.random.default_rng(seed)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_both_broad_and_lifelike_defects_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each painter is replaced by one that marks a spot of its own."""
    found = []
    for name, painters in (("PAINTERS", PAINTERS), ("LIFELIKE", LIFELIKE)):

        def noted(image: Image, other: Image, rng: np.random.Generator, name: str = name) -> tuple[Soft, Soft]:
            found.append(name)
            return np.ones(image.shape[:2], np.float32), np.full(image.shape, 255, np.float32)

        monkeypatch.setattr(anomalies, name, (noted,) * len(painters))
    for seed in range(200):
        add_anomaly(part(64, 64), part(64, 64), np.random.default_rng(seed))
    assert 0.5 < found.count("LIFELIKE") / len(found) < 0.8


def test_the_good_image_stays_as_it_was() -> None:
    image = part(64, 64)
    before = image.copy()
    add_anomaly(image, image, np.random.default_rng(0))
    assert np.array_equal(image, before)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, level=st.sampled_from([70, 120, 200]))
def test_a_transplanted_defect_stays_as_much_darker_than_what_lies_round_it(seed: int, level: int) -> None:
    """A dent 40 grey levels below its part's surface, on parts that are darker or brighter as a whole."""
    source, marked = part(96, 128), np.zeros((96, 128), np.float32)
    marked[40:60, 50:80] = 1.0
    source[marked > 0] -= 40
    good = np.full((96, 128, 3), level, np.uint8)
    changed, mask = transplant(source, marked, good, np.random.default_rng(seed))
    inside, outside = mask > 0.9, cv2.dilate(mask, np.ones((25, 25), np.uint8)) == 0
    if inside.any():
        assert -50 < changed[inside].mean() - level < -30
    assert (changed[outside] == level).all()
