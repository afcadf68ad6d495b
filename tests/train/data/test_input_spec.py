"""How many bits of a sample count: found in the good images, or stated."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.inference.preprocess import ImageError
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.check import check_dataset
from train.data.dataset import DataError, Sample
from train.data.input_spec import input_spec, with_bits
from train.stages.check import main


def write(path: Path, number: int, bits: int | None) -> Sample:
    """A textured part that uses all values of its bits; None: with 8 bits a sample."""
    noise = np.random.default_rng(number).random((40, 60))
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = noise * 255 if bits is None else noise * (2**bits - 1)
    levels[0, 0] = 255 if bits is None else 2**bits - 1
    assert cv2.imwrite(str(path), levels.astype(np.uint8 if bits is None else np.uint16))
    return Sample(path, "good", None)


def goods(root: Path, bits: int | None, number: int = 20) -> list[Sample]:
    return [write(root / f"train/good/{index:03d}.png", index, bits) for index in range(number)]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_bits_of_the_good_images_scale_training_as_the_line(tmp_path: Path, bits: int) -> None:
    samples = goods(tmp_path, bits)
    spec = input_spec(samples, with_bits(samples, TrainConfig()))
    assert spec.bits == bits
    raw = cv2.imread(str(samples[0].path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(load_photo(samples[0].path, spec)[..., 0], raw >> (bits - 8))


def test_photos_with_eight_bits_change_nothing(tmp_path: Path) -> None:
    samples = goods(tmp_path, None)
    assert with_bits(samples, TrainConfig()) == TrainConfig()
    assert "bits" not in input_spec(samples, TrainConfig()).model_dump()


@pytest.mark.parametrize("other", [None, 10, 16])
def test_good_images_that_disagree_are_refused_until_the_number_is_stated(tmp_path: Path, other: int | None) -> None:
    samples = [*goods(tmp_path, 12), write(tmp_path / "train/good/other.png", 77, other)]
    with pytest.raises(DataError, match=r"other.png .*state what the camera gives, e.g. --bits (12|16)"):
        with_bits(samples, TrainConfig())
    assert [line for line in check_dataset(tmp_path).problems if "state what the camera gives" in line]
    assert with_bits(samples, TrainConfig(bits=16)).bits == 16


def test_check_states_the_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goods(tmp_path, 12)
    main(["--data", str(tmp_path)])
    assert "samples: 12 of 16 bits are used" in capsys.readouterr().out


def test_check_refuses_what_the_line_would_refuse_and_says_the_remedy(tmp_path: Path) -> None:
    """12 bits taken for 16: every part would be ERROR "lens cap"."""
    goods(tmp_path, 12)
    found = check_dataset(tmp_path, bits=16).problems
    assert len(found) == 20
    assert all("the frame is black" in line and "state --bits 12" in line for line in found)


def test_a_photo_of_more_bits_than_stated_is_refused(tmp_path: Path) -> None:
    samples = goods(tmp_path, 12)
    with pytest.raises(ImageError, match=r"000.png: a sample is 4095, over the 10 bits"):
        load_photo(samples[0].path, input_spec(samples, TrainConfig(bits=10)))


@pytest.mark.parametrize(("side", "refused"), [("train", True), ("test", False)])
def test_a_picture_that_shows_nothing_is_no_good_part(tmp_path: Path, side: str, refused: bool) -> None:
    goods(tmp_path, None)
    write(tmp_path / f"{side}/good/black.png", 5, None)
    assert cv2.imwrite(str(tmp_path / f"{side}/good/black.png"), np.zeros((40, 60, 3), np.uint8))
    report = check_dataset(tmp_path)
    lines = report.problems if refused else report.warnings
    assert [line for line in lines if "black.png: the frame is black" in line]
    assert bool(report.problems) == refused
