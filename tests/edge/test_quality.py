from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.preprocess import image_files, load_image
from edge.quality import unusable
from tests.tiny import bad_image, good_image

DATA = Path(__file__).parents[3] / "shared" / "data"


@given(level=st.integers(0, 255), height=st.integers(1, 200), width=st.integers(1, 200))
def test_a_frame_of_one_tone_is_refused(level: int, height: int, width: int) -> None:
    assert unusable(np.full((height, width, 3), level, np.uint8))


@pytest.mark.parametrize(("low", "high", "word"), [(0, 17, "black"), (250, 256, "white"), (0, 2, "black")])
def test_a_frame_that_is_nearly_black_or_white_is_refused_by_name(low: int, high: int, word: str) -> None:
    noise = np.random.default_rng(0).integers(low, high, (480, 640, 3)).astype(np.uint8)
    assert word in (unusable(noise) or "")


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 0, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_frame_is_refused(frame: np.ndarray) -> None:
    assert unusable(frame)


def test_ordinary_dark_and_binary_parts_pass() -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(5, 60, (400, 500, 3)).astype(np.uint8)
    binary = rng.choice(np.array([0, 255], np.uint8), (640, 640, 1)).repeat(3, axis=2)
    for image in (good_image(), bad_image(), dark, binary):
        assert unusable(image) is None


@pytest.mark.parametrize("name", ["magnetic_tile", "cookie", "pcb"])
def test_no_real_part_is_refused(name: str) -> None:
    folders = sorted({p.parent for p in (DATA / name).rglob("train/good/*")})
    if not folders:
        pytest.skip(f"{DATA / name} is not there")
    for path in image_files(folders[0])[:10]:
        assert unusable(load_image(path)) is None, path


def test_the_frame_is_not_changed() -> None:
    image = bad_image()
    image.flags.writeable = False
    assert unusable(image) is None
