"""How many bits of a sample count: found in the good images, or stated."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.inference.preprocess import ImageError, inspected_box
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.check import check_dataset
from train.data.dataset import DataError, Sample, read_dataset
from train.data.input_spec import input_spec, spec_of, with_bits, with_scales, without_blank
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


def blank(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((40, 60, 3), np.uint8))


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


@pytest.mark.parametrize(("side", "words"), [("train", "left out of training"), ("test", "counted as refused")])
def test_a_picture_that_shows_nothing_is_named_and_no_good_part(tmp_path: Path, side: str, words: str) -> None:
    goods(tmp_path, None)
    blank(tmp_path / f"{side}/good/black.png")
    report = check_dataset(tmp_path)
    assert [line for line in report.warnings if "black.png: the frame is black" in line and words in line]
    assert report.problems == []


def test_training_leaves_out_a_slip_of_the_shutter_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goods(tmp_path, None)
    blank(tmp_path / "train/good/black.png")
    kept = without_blank(read_dataset(tmp_path), TrainConfig()).train_good
    assert len(kept) == 20
    assert "black.png: the frame is black" in capsys.readouterr().out


def test_goods_that_are_copies_of_one_picture_are_refused_beside_a_slip_of_the_shutter(tmp_path: Path) -> None:
    goods(tmp_path, None)
    first, *others = sorted((tmp_path / "train/good").iterdir())
    for path in others[1:]:
        path.write_bytes(first.read_bytes())
    blank(tmp_path / "train/good/black.png")
    assert len(without_blank(read_dataset(tmp_path), TrainConfig()).train_good) == 20, "one is another"
    others[0].write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"train/good: all 20 good images are copies of one picture; photograph diff"):
        without_blank(read_dataset(tmp_path), TrainConfig())


def test_a_camera_that_is_often_covered_is_refused(tmp_path: Path) -> None:
    goods(tmp_path, None)
    for number in range(3):
        blank(tmp_path / f"train/good/black{number}.png")
    with pytest.raises(DataError, match="3 of 23 good images show nothing"):
        without_blank(read_dataset(tmp_path), TrainConfig())
    assert len([line for line in check_dataset(tmp_path).problems if "the frame is black" in line]) == 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 1024), (736, 736)), ((1334, 2000), (1440, 960)), ((3000, 4000), (1472, 1120))],
)
def test_the_larger_of_two_scales_has_most_of_the_photos_resolution(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    spec = spec_of(size, with_scales(TrainConfig(), size, labels=False))
    assert (spec.width, spec.height) == expected
    assert spec.width % 32 == spec.height % 32 == 0


@pytest.mark.parametrize(
    ("config", "side", "labels"),
    [
        (TrainConfig(side=320), 1024, False),
        (TrainConfig(side=320), 1024, True),
        (TrainConfig(native=True), 1024, False),
        (TrainConfig(patch_stride=8), 1024, False),
        (TrainConfig(), 240, False),
        (TrainConfig(), 240, True),
        (TrainConfig(artificial=False), 300, False),
    ],
)
def test_named_sides_and_small_photos_have_one_scale(config: TrainConfig, side: int, labels: bool) -> None:
    assert with_scales(config, (side, side), labels).scales == 1


@pytest.mark.parametrize(("config", "labels"), [(TrainConfig(), False), (TrainConfig(artificial=False), True)])
def test_a_taught_backbone_judges_small_photos_at_two_scales(config: TrainConfig, labels: bool) -> None:
    assert with_scales(config, (300, 300), labels).scales == 2


def test_two_scales_that_were_asked_for_stay_two() -> None:
    assert with_scales(TrainConfig(side=320, scales=2), (300, 300), labels=False).scales == 2


@pytest.mark.parametrize("size", [(16, 16), (17, 17), (24, 24), (31, 20), (16, 100)])
def test_the_usual_input_of_tiny_photos_is_one_that_the_line_judges(size: tuple[int, int]) -> None:
    spec = spec_of(size, TrainConfig())
    assert inspected_box((*size, 3), spec) == (0, 0, size[1], size[0])
