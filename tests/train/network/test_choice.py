"""Whether places are judged: not where a labelled defect cannot be laid over the good parts."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.config import TrainConfig
from train.data.dataset import DataError, read_dataset
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


@pytest.mark.parametrize("role", ["test/good", "train/dent"])
def test_a_photo_of_another_size_leaves_places_out_and_is_refused_where_they_are_asked_for(
    labelled: Path, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing lays it over the reference, neither in the lesson nor when it is measured on."""
    large = labelled / role / "large.png"
    cv2.imwrite(str(large), cv2.resize(cv2.imread(str(next((labelled / "train/good").iterdir()))), (140, 128)))
    data = read_dataset(labelled)
    found, _ = with_places(RECIPE, split(data, RECIPE), data, RECIPE)
    assert found.place == "off"
    assert f"fit: no places; {large} has 140x128 pixels, and the good photos have 128x128" in capsys.readouterr().out
    asked = RECIPE.model_copy(update={"place": "on"})
    with pytest.raises(DataError, match=r"place: .*large.png has 140x128 pixels, .*; remove it, or train with --place"):
        with_places(asked, split(data, asked), data, asked)


def test_places_of_a_recipe_that_says_how_photos_are_laid_are_taken_at_its_word(labelled: Path) -> None:
    """A latency budget decides them first; to decide them again would take as long and might end otherwise."""
    data = read_dataset(labelled)
    asked = RECIPE.model_copy(update={"place": "on"})
    decided, _ = with_places(asked, split(data, asked), data, asked)
    assert decided.align is not None
    other = decided.model_copy(update={"align": decided.align.model_copy(update={"reach_px": 77.0})})
    assert with_places(other, split(data, other), data, other) == (other, "")


def test_labelled_defects_of_the_part_itself_leave_it_to_the_trial(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial is run, and what it says decides: surely better of one kind, and not worse of the other."""
    data = read_dataset(labelled)
    found, _ = with_places(RECIPE, split(data, RECIPE), data, RECIPE)
    said = capsys.readouterr().out
    sure = re.search(r"fit: (.*); that bank and places .* is (\d+)% sure, other artificial defects (\d+)%;", said)
    assert sure is not None, said
    shares = sorted(map(int, sure.groups()[1:]))
    wanted = shares[1] >= 95 and shares[0] >= 20
    assert sure[1] == ("places are judged" if wanted else "no places")
    assert found.place == ("on" if wanted else "off")
    assert (found.align is not None) == wanted
