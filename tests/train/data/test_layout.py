"""Data sets that are accepted and then read otherwise than they were meant: refused, or named."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.inference.preprocess import ImageError, InputSpec, view_of
from train.config import TrainConfig
from train.data.check import check_dataset
from train.data.dataset import DataError, Dataset, load_mask, read_dataset
from train.data.input_spec import input_spec
from train.data.split import split_goods
from train.int8.trials import HeldOut, Settings, compare, marked

SIZE = (40, 60)


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def photo(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def drawn() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[10:20, 10:20] = 255
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 good images, 2 good ones and 2 cracks to test on, with masks."""
    folder = tmp_path / "set"
    for number in range(20):
        write(folder / f"train/good/{number:03d}.png", photo(number))
    for number in range(2):
        write(folder / f"test/good/{number:03d}.png", photo(100 + number))
        write(folder / f"test/crack/{number:03d}.png", photo(200 + number))
        write(folder / f"ground_truth/crack/{number:03d}_mask.png", drawn())
    assert check_dataset(folder).problems == check_dataset(folder).warnings == []
    return folder


def grouped(root: Path, written: Callable[[str], str]) -> Dataset:
    """Two photos of each part, with paths as somebody may write them."""
    lines = [f"{written(f'train/good/{number:03d}.png')},{number // 2}" for number in range(20)]
    (root / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    return read_dataset(root)


@pytest.mark.parametrize(
    "written",
    [
        lambda name: f"./{name}",
        lambda name: name.replace("/", "//"),
        lambda name: f"{{root}}/{name}",
        lambda name: f"test/../{name}",
        lambda name: f" {name} ",
    ],
    ids=["./", "//", "absolute", "..", "spaces"],
)
def test_a_path_of_groups_csv_means_the_file_however_it_is_written(root: Path, written: Callable[[str], str]) -> None:
    """Accepted and then ignored, it let one part train the model and set its threshold."""
    dataset = grouped(root, lambda name: written(name).format(root=root.resolve()))
    assert [sample.part for sample in dataset.train_good] == [str(number // 2) for number in range(20)]
    fit, holdout = split_goods(dataset.train_good, 0.25, 0)
    assert not {sample.part for sample in fit} & {sample.part for sample in holdout}


@pytest.mark.parametrize("file", ["ground_truth/crack/000_mask.png", "groups.csv", "../set/groups.csv"])
def test_a_line_of_groups_csv_that_names_no_photo_is_refused(root: Path, file: str) -> None:
    (root / "groups.csv").write_text(f"file,group\n{file},1\n")
    with pytest.raises(DataError, match=r"is no image of train/ or test/"):
        read_dataset(root)


def test_a_photo_in_two_groups_is_refused(root: Path) -> None:
    (root / "groups.csv").write_text("file,group\ntrain/good/000.png,1\n./train/good/000.png,2\n")
    with pytest.raises(DataError, match="with two groups, 1 and 2"):
        read_dataset(root)


def test_photos_that_groups_csv_leaves_out_are_named(root: Path) -> None:
    (root / "groups.csv").write_text("file,group\ntrain/good/000.png,1\n")
    assert "does not name 23 of 24 images" in check_dataset(root).warnings[0]


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", "@eaDir"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_hidden_folder_is_no_type_of_defect_and_is_named(root: Path, split: str, hidden: str) -> None:
    write(root / split / hidden / "000-checkpoint.png", photo(7))
    dataset = read_dataset(root)
    assert {sample.label for sample in dataset.samples} == {"good", "crack"}
    assert hidden in check_dataset(root).warnings[0]


@pytest.mark.parametrize("name", ["OK", "Good", "ok", "normal", "good ", "defect-free", "masks", "Ground Truth"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_type_of_defect_whose_name_means_something_else_is_refused(root: Path, split: str, name: str) -> None:
    write(root / split / name / "000.png", photo(7))
    with pytest.raises(DataError, match=rf"{split}/{re.escape(name)}: would be a type of defect"):
        read_dataset(root)


def test_a_folder_of_the_root_in_another_spelling_is_refused(root: Path) -> None:
    (root / "test").rename(root / "Test")
    with pytest.raises(DataError, match="Test: not read, because the name is written otherwise"):
        read_dataset(root)


def test_a_mask_beside_its_photo_is_refused(root: Path) -> None:
    write(root / "test/crack/000_mask.png", drawn())
    with pytest.raises(DataError, match=r"000_mask.png: looks like the mask of 000.png"):
        read_dataset(root)


def test_two_photos_with_one_mask_are_refused(root: Path) -> None:
    write(root / "test/crack/000.bmp", photo(7))
    with pytest.raises(DataError, match=r"000_mask.png: is the mask of"):
        read_dataset(root)


def test_a_photo_that_lies_in_no_folder_is_named(root: Path) -> None:
    write(root / "test/loose.png", photo(7))
    assert "loose.png: not read; put it into a folder" in check_dataset(root).warnings[0]


def transparent() -> np.ndarray:
    return np.dstack([np.zeros((*SIZE, 3), np.uint8), drawn()])


def overlay() -> np.ndarray:
    image = photo(3) // 2 + 60
    image[drawn() > 0] = (0, 0, 255)
    return image


@pytest.mark.parametrize(
    ("mask", "words"), [(transparent(), "marks by transparency"), (overlay(), "is a picture and no mask")]
)
def test_what_is_no_mask_is_refused(root: Path, mask: np.ndarray, words: str) -> None:
    path = write(root / "ground_truth/crack/000_mask.png", mask)
    assert [line for line in check_dataset(root).problems if words in line]
    with pytest.raises(DataError, match=words):
        load_mask(path, SIZE)


def test_an_inverted_mask_is_named(root: Path) -> None:
    write(root / "ground_truth/crack/000_mask.png", 255 - drawn())
    assert "000_mask.png: marks 96% of the picture; is it inverted?" in check_dataset(root).warnings[0]


def turned_photo(path: Path, orientation: int) -> None:
    jpeg = cv2.imencode(".jpg", photo(5))[1].tobytes()
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])


@pytest.mark.parametrize(("orientation", "named"), [(1, False), (3, True), (2, True)])
def test_a_mask_of_a_photo_that_is_stored_turned_is_named(root: Path, orientation: int, named: bool) -> None:
    """Turned by half, photo and mask have the same size whichever of both was drawn on."""
    (root / "test/crack/000.png").unlink()
    turned_photo(root / "test/crack/000.jpg", orientation)
    assert any("is stored turned" in line for line in check_dataset(root).warnings) == named


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (15, 400)])
def test_a_tiny_photo_is_refused_in_one_line(root: Path, shape: tuple[int, int]) -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    write(root / "train/good/tiny.png", tiny)
    assert any("at least 16 a side are needed" in line for line in check_dataset(root).problems)
    for path in (root / "train/good").iterdir():
        write(path, tiny)
    with pytest.raises((DataError, ImageError), match="at least 16 a side are needed"):
        input_spec(list(read_dataset(root).train_good), TrainConfig())


def test_a_mark_fits_into_any_photo() -> None:
    spec = InputSpec(width=16, height=16)
    for shape in ((2, 2), (8, 8), (3, 90)):
        image = np.full((*shape, 3), 90, np.uint8)
        assert (marked(image, view_of(image, spec).box, 0.5, np.random.default_rng(0)) != image).any()


def test_int8_is_judged_at_the_share_of_rejected_goods_that_the_recipe_wants() -> None:
    """With alpha .1 the shipped threshold is another one than with .01, and so are the changed verdicts."""
    rng = np.random.default_rng(0)
    goods = rng.normal(1, 0.1, 60)
    int8 = goods.copy()
    int8[np.argsort(goods)[-4]] = goods.min()
    flips = [
        compare(Settings("x"), HeldOut((), np.zeros(60, np.bool_), "goods", alpha), int8, goods).flips
        for alpha in (0.01, 0.1)
    ]
    assert flips[0] != flips[1]
