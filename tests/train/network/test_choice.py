"""Whether places are judged: not where a labelled defect cannot be laid over the good parts."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.network.second.choice import with_places
from train.stages import synth

RECIPE = TrainConfig(crop=None, follow=None, side=128, bank=100, candidates=1000)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """36 good flanges and three labelled dents."""
    sizes = ("--train-good", "36", "--test-good", "2", "--test-bad-per-type", "3", "--size", "128x128")
    synth.main(["--out", str(tmp_path), *sizes])
    shutil.move(tmp_path / "test/dent", tmp_path / "train/dent")
    return tmp_path


def test_a_labelled_photo_that_shows_another_part_leaves_places_out_and_is_named(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stripes = np.tile(np.uint8([40, 40, 200, 200]), (128, 32))
    cv2.imwrite(str(labelled / "train/dent/other.png"), cv2.cvtColor(stripes, cv2.COLOR_GRAY2BGR))
    data = read_dataset(labelled)
    found, words = with_places(RECIPE, split(data, RECIPE), data, RECIPE)
    assert (found.place, found.align, words) == ("off", None, "")
    assert f"fit: no places; {labelled / 'train/dent/other.png'}: " in capsys.readouterr().out


def test_labelled_defects_of_the_part_itself_leave_it_to_the_trial(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = read_dataset(labelled)
    with_places(RECIPE, split(data, RECIPE), data, RECIPE)
    assert "% sure" in capsys.readouterr().out
