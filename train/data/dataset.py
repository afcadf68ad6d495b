"""Folders in MVTec layout: reading them, hashing them, and splitting the good ones.

`train/good` is needed; `train/<defect>` (labelled defects to learn from), `test/good`, `test/<defect>` and
`ground_truth/<defect>/<stem>_mask.png` are optional.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inference.container import container_fault
from edge.inference.preprocess import IMAGE_SUFFIXES, MAX_PIXELS, image_files
from train import TrainError
from train.data.layout import is_hidden, label_problems, relative_name, split_problems

GOOD = "good"
MASK_ENDING = "_mask.png"
MIN_GOOD = 20
MIN_SIDE = 16  # pixels of a photo, and of what is inspected of it
MOSTLY = 0.5  # of a picture that is marked: more than that is hardly meant
MASK_LEVELS = 16  # grey values of a mask with soft edges, at most
GROUPS_FILE = "groups.csv"  # columns file,group
LONGEST_LINE = 1000  # characters of a name and its group


class DataError(TrainError):
    """A data set that cannot be trained or measured on; one line for each problem."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set."""

    path: Path
    label: str  # "good" or the type of defect
    mask: Path | None  # where the defect is; None for good images and where nobody drew one
    part: str | None = None  # the physical part it shows, as far as groups.csv tells


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images of a data folder, in the order of their names."""

    root: Path
    train_good: tuple[Sample, ...]
    test: tuple[Sample, ...]
    train_defects: tuple[Sample, ...] = ()  # labelled defects to learn from

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All of them."""
        return (*self.train_good, *self.train_defects, *self.test)

    def names(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        """Return the files of samples as they are named from the data set's root."""
        return tuple(sample.path.relative_to(self.root).as_posix() for sample in samples)


def read_dataset(root: Path) -> Dataset:
    """List a folder in MVTec layout without decoding anything.

    Raises DataError when the folder or its train/good is missing or empty, DataError when groups.csv is not usable.
    """
    dataset = scan_dataset(root)
    if not dataset.train_good:
        raise DataError(missing_goods(root))
    return dataset


def scan_dataset(root: Path) -> Dataset:
    """Read a data folder like read_dataset; a folder without good images is listed, not refused."""
    try:
        if not root.exists():
            raise DataError(f"{root}: no such folder; name the folder that holds train/good")
        if not root.is_dir():
            raise DataError(f"{root}: is a file; name the folder that holds train/good")
        if not any(root.iterdir()):
            raise DataError(f"{root}: the folder is empty; put photographs of good parts into {root / 'train' / GOOD}")
        labels = [folder for split in ("train", "test") for folder in label_folders(root / split)]
        problems = split_problems(root)
        problems += [line for folder in labels for line in label_problems(folder, images_in(folder))]
        if problems:
            raise DataError("\n".join(problems))
        groups = read_groups(root)
        goods = images_in(root / "train" / GOOD)
        test = [sample for folder in label_folders(root / "test") for sample in _samples(root, folder, groups)]
        bad = [folder for folder in label_folders(root / "train") if folder.name != GOOD]
        train_defects = [sample for folder in bad for sample in _samples(root, folder, groups)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    train_good = [Sample(path, GOOD, None, groups.get(path.relative_to(root).as_posix())) for path in goods]
    _refuse_shared_masks(test, train_defects)
    return Dataset(root, tuple(train_good), tuple(test), tuple(train_defects))


def missing_goods(root: Path) -> str:
    """Return the fact and the remedy of a data folder without good images."""
    folder = root / "train" / GOOD
    state = "holds no image" if folder.is_dir() else "does not exist"
    return f"{folder}: {state}; training needs photographs of good parts there ({' '.join(IMAGE_SUFFIXES)})"


def label_folders(folder: Path) -> list[Path]:
    """Return the folders of train/ or test/, good first, the defects by name; hidden ones hold no photos."""
    if not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if p.is_dir() and not is_hidden(p)), key=lambda p: (p.name != GOOD, p.name)
    )


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder; none when there is no such folder."""
    return [path for path in image_files(folder) if path.is_file()] if folder.is_dir() else []


def read_groups(root: Path) -> dict[str, str]:
    """groups.csv as {file relative to the root: group}; empty when there is none. Raises DataError."""
    path = root / GROUPS_FILE
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if not {"file", "group"} <= set(rows.fieldnames or ()):
                raise DataError(f"{path}: the first line must be file,group")
            listed = [(row["file"] or "", row["group"] or "") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV table ({error})") from error
    groups: dict[str, str] = {}
    for file, group in listed:
        if not file.strip() or not group.strip():
            raise DataError(f"{path}: a line lacks its file or its group (file {file[:99]!r}, group {group[:99]!r})")
        if len(file + group) > LONGEST_LINE or not (file + group).strip().isprintable():
            raise DataError(f"{path}: a line is too long or goes on in the next one ({file[:99]!r}); close its quotes")
        if not os.path.isfile(root / file.strip()):  # also False for a name that no file can have
            raise DataError(f"{path}: names {file}, which does not exist; paths are relative to {root}")
        try:
            name = relative_name(file, root)
        except ValueError:
            raise DataError(
                f"{path}: names {file}, which is no image of train/ or test/; write train/good/1.png"
            ) from None
        if groups.setdefault(name, group.strip()) != group.strip():
            raise DataError(f"{path}: names {name} with two groups, {groups[name]} and {group.strip()}; keep one")
    return groups


def _samples(root: Path, folder: Path, groups: Mapping[str, str]) -> list[Sample]:
    samples = []
    for path in images_in(folder):
        mask = root / "ground_truth" / folder.name / f"{path.stem}{MASK_ENDING}"
        found = mask if folder.name != GOOD and mask.is_file() else None
        samples.append(Sample(path, folder.name, found, groups.get(path.relative_to(root).as_posix())))
    return samples


def _refuse_shared_masks(test: Sequence[Sample], train: Sequence[Sample]) -> None:
    """train/crack/1.jpg, test/crack/1.jpg and test/crack/1.png would all own ground_truth/crack/1_mask.png."""
    owners: dict[Path, Path] = {}
    for sample in (*test, *train):
        if sample.mask is not None and owners.setdefault(sample.mask, sample.path) != sample.path:
            raise DataError(
                f"{sample.mask}: is the mask of {sample.path} and of {owners[sample.mask]}; rename one image"
            )


def load_mask(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask of the given (height, width); True where a pixel is not 0. Raises DataError."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if data.size and (fault := container_fault(data.tobytes(), MAX_PIXELS)) is not None:
        raise DataError(f"{path}: {fault}; save the mask as PNG again")
    try:
        mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
        _refuse_transparency(path, data)
    except cv2.error as error:
        raise DataError(f"{path}: the mask is refused ({error.err}); save it as PNG again") from error
    if mask is None:
        raise DataError(f"{path}: not a readable image; save the mask as PNG again")
    if mask.shape != tuple(shape):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]}, but its image is {shape[1]}x{shape[0]}; "
            "draw it on the image at its full size"
        )
    marked = np.asarray(mask > 0)
    if marked.mean() > MOSTLY and len(np.unique(mask)) > MASK_LEVELS:
        raise DataError(
            f"{path}: is a picture and no mask: {marked.mean():.0%} of it is not 0; draw the defect on black"
        )
    return marked


def _refuse_transparency(path: Path, data: NDArray[np.uint8]) -> None:
    """What is marked by transparency alone would be read as no defect, or as one everywhere."""
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is not None and image.ndim == 3 and image.shape[2] == 4 and len(np.unique(image[..., 3])) > 1:
        raise DataError(f"{path}: marks by transparency, which is not read; save the mask as grey PNG, 0 for no defect")


def dataset_sha256(dataset: Dataset) -> str:
    """A hash of every image, mask and groups.csv: relative names and bytes, in the order of the names."""
    files = [sample.path for sample in dataset.samples]
    files += [sample.mask for sample in dataset.samples if sample.mask is not None]
    groups = dataset.root / GROUPS_FILE
    files += [groups] if groups.is_file() else []
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(dataset.root).as_posix(), file) for file in files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()
