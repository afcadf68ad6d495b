"""`edge film`: photos go by a real engine, and the film shows what it recorded."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.__main__ import main
from edge.commands.acceptance.film import FPS, HEIGHT, PART_S, WIDTH, chosen
from edge.inference.bundle import Bundle
from tests.tiny import bad_image, good_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two good photos and a bad one in MVTec layout, and a training photo that no film shows."""
    for name, image in {
        "test/good/a.png": good_image(),
        "test/good/b.png": np.roll(good_image(), 2, axis=1),
        "test/scratch/c.png": bad_image(),
        "train/good/d.png": good_image(),
    }.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return tmp_path / "photos"


def test_a_film_shows_each_photo_once_with_the_engines_verdict(
    tmp_path: Path, photos: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "film.mp4"
    assert main(["film", "--bundle", str(tiny_bundle.path), "--photos", str(photos), "--out", str(out)]) == 0
    assert "2 OK, 1 NG, 0 ERROR" in capsys.readouterr().out
    film = cv2.VideoCapture(str(out))
    frames = 0
    while (read := film.read())[0]:
        assert read[1].shape == (HEIGHT, WIDTH, 3)
        frames += 1
    assert frames == 3 * round(FPS * PART_S)
    assert len(cv2.imreadanimation(str(out.with_suffix(".webp")))[1].frames) == 3


def test_the_photos_are_unseen_ones_in_an_order_that_the_seed_decides(photos: Path) -> None:
    captions = [caption for _, caption in chosen(photos, 9, seed=1)]
    assert sorted(captions) == ["good/a.png", "good/b.png", "scratch/c.png"]
    assert captions == [caption for _, caption in chosen(photos, 9, seed=1)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "0"], "film shows 1 to 500 --parts"),
        (["--out", "film.avi"], "a film ends in .mp4"),
        (["--photos", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_filmed_is_one_clear_line(
    photos: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    command = ["film", "--bundle", str(tiny_bundle.path), "--photos", str(photos), *arguments]
    assert main(command) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("linewatch: ")
    assert said in line
