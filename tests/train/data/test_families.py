import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Image
from train.data.families import LIFELIKE, Painter, chip, hairline, hole, perlin, scratches, tone

seeds = st.integers(0, 100_000)
painters = st.sampled_from(list(dict.fromkeys(LIFELIKE)))
sides = st.sampled_from([(64, 64), (64, 96), (128, 80)])


def part(height: int, width: int, level: int = 120) -> Image:
    """A grey part with some grain."""
    grain = np.random.default_rng(level).integers(level - 10, level + 10, (height, width, 1))
    return np.repeat(grain, 3, axis=2).astype(np.uint8)


@settings(deadline=None, max_examples=150)
@given(seed=seeds, painter=painters, shape=sides)
def test_a_family_gives_a_mask_from_0_to_1_inside_the_picture_and_a_fill_in_numbers(
    seed: int, painter: Painter, shape: tuple[int, int]
) -> None:
    soft, fill = painter(part(*shape), part(*shape, 90), np.random.default_rng(seed))
    assert soft.shape == shape
    assert fill.shape == (*shape, 3)
    assert (soft.dtype, fill.dtype) == (np.float32, np.float32)
    assert soft.min() >= 0
    assert soft.max() <= 1
    assert np.isfinite(fill).all()


@settings(deadline=None, max_examples=100)
@given(seed=seeds, painter=painters, shape=sides)
def test_a_grey_part_stays_grey(seed: int, painter: Painter, shape: tuple[int, int]) -> None:
    _, fill = painter(part(*shape), part(*shape, 90), np.random.default_rng(seed))
    assert np.ptp(fill, axis=2).max() < 0.01


@settings(deadline=None, max_examples=50)
@given(seed=seeds, painter=painters)
def test_a_family_draws_the_same_from_the_same_generator_and_leaves_the_images_alone(
    seed: int, painter: Painter
) -> None:
    image, other = part(64, 96), part(64, 96, 90)
    before = image.copy(), other.copy()
    first, second = (painter(image, other, np.random.default_rng(seed)) for _ in range(2))
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))
    assert np.array_equal(image, before[0])
    assert np.array_equal(other, before[1])


@pytest.mark.parametrize("painter", dict.fromkeys(LIFELIKE))
def test_most_draws_of_a_family_mark_something_that_can_be_seen(painter: Painter) -> None:
    image, other = part(128, 128), part(128, 128, 60)
    seen = 0
    for seed in range(20):
        soft, fill = painter(image, other, np.random.default_rng(seed))
        changed = np.clip(image * (1 - soft[..., None]) + fill * soft[..., None], 0, 255).astype(np.uint8)
        mask = soft > 0.5
        seen += bool(mask.any()) and cv2.absdiff(changed, image)[mask].mean() > 4
    assert seen >= 12


@settings(deadline=None, max_examples=30)
@given(seed=seeds, painter=st.sampled_from([hairline, scratches, hole]))
def test_lines_and_holes_are_small(seed: int, painter: Painter) -> None:
    image = part(320, 320)
    soft, _ = painter(image, image, np.random.default_rng(seed))
    assert (soft > 0.5).mean() < 0.03


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_a_tone_keeps_the_texture(seed: int) -> None:
    """Every grey level is multiplied by one number."""
    image = part(64, 64)
    _, fill = tone(image, image, np.random.default_rng(seed))
    assert np.ptp(fill / image) < 1e-3


def test_a_chip_is_at_the_parts_outline_or_at_the_pictures_border() -> None:
    """A bright disc on a dark table: what is marked touches one or the other."""
    image = np.full((160, 160, 3), 40, np.uint8)
    cv2.circle(image, (80, 80), 45, (200, 200, 200), -1)
    edges = np.zeros((160, 160), np.uint8)
    cv2.circle(edges, (80, 80), 45, 1, 9)
    edges[:3], edges[-3:], edges[:, :3], edges[:, -3:] = 1, 1, 1, 1
    for seed in range(30):
        soft, _ = chip(image, image, np.random.default_rng(seed))
        if (soft > 0.5).any():
            assert edges[soft > 0.5].any()


@settings(deadline=None, max_examples=40)
@given(seed=seeds, shape=sides, rows=st.integers(1, 16), columns=st.integers(1, 16))
def test_perlin_noise_stays_in_its_range_and_varies(seed: int, shape: tuple[int, int], rows: int, columns: int) -> None:
    """|noise| <= 1.414 * sqrt(2) / 2 for gradients of length one, and 0 at the corners of the grid."""
    noise = perlin(*shape, (rows, columns), np.random.default_rng(seed))
    assert noise.shape == shape
    assert noise.dtype == np.float32
    assert np.abs(noise).max() <= 1.0001
    assert noise[0, 0] == 0
    assert noise.std() > 0.01
