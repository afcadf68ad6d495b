"""Good photos that show the same are laid over each other, still or turning; other photos are left as they are."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.core.types import Image
from edge.inference.preprocess import Crop
from train.config import TrainConfig
from train.data.dataset import Dataset, read_dataset
from train.data.region import inspected
from train.data.region.align import find_align, with_align

WIDTH, HEIGHT = 320, 256


def board(rng: np.random.Generator, turn: float, design: int) -> Image:
    """A round board of one design in the middle of a plain photo, moved by up to 4 pixels."""
    drawing = np.random.default_rng(design)
    part = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for _ in range(40):
        x, y = drawing.integers((90, 60), (220, 190)).tolist()
        colour = tuple(int(value) for value in drawing.integers(90, 255, 3))
        cv2.rectangle(part, (x, y), (x + int(drawing.integers(6, 22)), y + 8), colour, cv2.FILLED)
    cover = cv2.circle(np.zeros((HEIGHT, WIDTH, 1), np.uint8), (160, 128), 90, 1, cv2.FILLED)
    matrix = cv2.getRotationMatrix2D((160, 128), turn, 1.0)
    matrix[:, 2] += rng.uniform(-4, 4, 2)
    moved, where = (cv2.warpAffine(one, matrix, (WIDTH, HEIGHT)) for one in (part, cover))
    noisy = np.where(where[..., np.newaxis] > 0, moved, 200) + rng.normal(0, 2, part.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def boards(folder: Path, turns: float = 0.0, designs: int = 1) -> Dataset:
    rng = np.random.default_rng(0)
    (folder / "train/good").mkdir(parents=True)
    for number in range(8):
        image = board(rng, float(rng.uniform(-turns, turns)), number % designs)
        assert cv2.imwrite(str(folder / f"train/good/{number}.png"), image)
    return read_dataset(folder)


@pytest.mark.parametrize(("turns", "follows"), [(0.5, False), (120.0, True)], ids=["still", "turning"])
def test_parts_of_one_design_are_laid_over_each_other_and_followed_where_they_turn(
    tmp_path: Path, turns: float, follows: bool
) -> None:
    wanted = TrainConfig()
    dataset, recipe, _ = inspected(boards(tmp_path, turns), wanted)
    laid, words = with_align(dataset, recipe, wanted)
    assert laid.align is not None
    assert laid.align.least > 0.7
    assert (laid.followed is not None, bool(words)) == (follows, follows)


def test_a_part_that_is_not_to_be_followed_never_is(tmp_path: Path) -> None:
    wanted = TrainConfig(follow="off")
    dataset, recipe, _ = inspected(boards(tmp_path, 120.0), wanted)
    assert with_align(dataset, recipe, wanted)[0].followed is None


def test_photos_of_many_designs_are_not_laid_over_each_other(tmp_path: Path) -> None:
    dataset = boards(tmp_path, designs=8)
    inside = TrainConfig(crop=Crop(x=100, y=70, width=120, height=110))
    assert find_align(dataset.train_good, inside) == (None, "1.png cannot be laid over 0.png")


def test_photos_of_several_sizes_are_not_laid_over_each_other(tmp_path: Path) -> None:
    dataset = boards(tmp_path)
    assert cv2.imwrite(str(dataset.train_good[3].path), np.zeros((HEIGHT, WIDTH + 2, 3), np.uint8))
    assert find_align(dataset.train_good, TrainConfig()) == (None, "the good photos have several sizes")


def test_photos_that_are_very_long_and_thin_are_compared_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "train/good").mkdir(parents=True)
    strip = cv2.resize(np.random.default_rng(0).integers(0, 255, (2, 200, 3), dtype=np.uint8), (4000, 16))
    for number in range(3):
        noisy = strip + np.random.default_rng(number).normal(0, 2, strip.shape)
        assert cv2.imwrite(str(tmp_path / f"train/good/{number}.png"), np.clip(noisy, 0, 255).astype(np.uint8))
    align, _ = find_align(read_dataset(tmp_path).train_good, TrainConfig())
    assert align is not None
    assert align.least > 0.7
