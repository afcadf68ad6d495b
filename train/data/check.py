"""The check that a data set is fit to train and measure on. Every image is decoded once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge.core.types import FULL, Bits, Image
from edge.inference.preprocess import IMAGE_SUFFIXES, ImageError, is_turned, load_image, used_bits
from edge.inference.usable import unusable
from train.data.dataset import (
    GOOD,
    GROUPS_FILE,
    MASK_ENDING,
    MIN_GOOD,
    MIN_SIDE,
    MOSTLY,
    DataError,
    Dataset,
    Sample,
    dataset_sha256,
    images_in,
    label_folders,
    load_mask,
    missing_goods,
    scan_dataset,
)
from train.data.input_spec import agreed_bits, all_alike, too_many_blank
from train.data.layout import is_hidden
from train.data.parts import group_problems


@dataclass
class Row:
    """The contents of one folder of images; sizes are (width, height) in pixels."""

    split: str
    label: str
    images: int = 0
    masks: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None

    def add(self, width: int, height: int) -> None:
        """Count one image and widen the range of sizes."""
        low, high = self.smallest or (width, height), self.largest or (width, height)
        self.smallest = min(low[0], width), min(low[1], height)
        self.largest = max(high[0], width), max(high[1], height)


@dataclass
class CheckReport:
    """The findings of `check`; problems refuse the data set, warnings do not."""

    root: Path
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sha256: str = ""
    bits: Bits | None = None  # that a sample of a 16-bit photo uses; None: photos have 8 bits a sample


@dataclass(frozen=True, slots=True)
class _Seen:
    """An image that was decoded, and whether its bytes or only its pixels were met before."""

    path: Path
    split: str
    content: bytes  # sha256 of the file


def check_dataset(root: Path, min_good: int = MIN_GOOD, bits: Bits | None = None) -> CheckReport:
    """Decode every image and mask of a folder in MVTec layout and list all that is wrong.

    bits: what a sample of a 16-bit photo uses; None: what all good images agree on.
    Raises DataError when there is no folder to look into, PartError when its groups.csv is not usable.
    """
    dataset = scan_dataset(root)
    report = CheckReport(root)
    report.bits = _bits(dataset, bits, report)
    _check_goods(dataset, min_good, report)
    _check_folders(root, report)
    _check_images(dataset, report)
    _check_masks_have_images(dataset, report)
    _check_strays(root, report)
    _check_groups(dataset, report)
    if not report.problems:
        report.sha256 = dataset_sha256(dataset)
    return report


def _check_goods(dataset: Dataset, min_good: int, report: CheckReport) -> None:
    count = len(dataset.train_good)
    if count == 0:
        report.problems.append(missing_goods(dataset.root))
    elif count < min_good:
        report.problems.append(
            f"{dataset.root / 'train' / GOOD}: {count} good images, at least {min_good} are needed; "
            "take more (or lower --min-good)"
        )


def _check_folders(root: Path, report: CheckReport) -> None:
    labels = [folder for split in ("train", "test") for folder in label_folders(root / split)]
    for folder in labels:
        if not images_in(folder) and folder != root / "train" / GOOD:
            report.problems.append(f"{folder}: holds no image; add some or remove the folder")


def _check_images(dataset: Dataset, report: CheckReport) -> None:
    """Decode everything: counts, sizes, masks and duplicates."""
    train = [("train", sample) for sample in (*dataset.train_good, *dataset.train_defects)]
    samples = train + [("test", sample) for sample in dataset.test]
    rows: dict[tuple[str, str], Row] = {}
    by_pixels: dict[bytes, list[_Seen]] = defaultdict(list)
    blank: list[str] = []
    for split, sample in tqdm(samples, desc="check", unit="image", leave=False, disable=None):
        row = rows.setdefault((split, sample.label), Row(split, sample.label))
        row.images += 1
        try:
            image = load_image(sample.path, FULL if report.bits is None else report.bits)
            content = hashlib.sha256(sample.path.read_bytes()).digest()
        except ImageError as error:
            report.problems.append(str(error))
            continue
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            report.problems.append(f"{sample.path}: {width}x{height} pixels; at least {MIN_SIDE} a side are needed")
        refused = _refused(sample, image, report)
        if refused is not None and sample.label == GOOD and split == "train":
            blank.append(refused)
        elif refused is not None and split == "train":
            report.problems.append(f"{refused}; the station would refuse it, remove it")
        elif refused is not None:
            report.warnings.append(f"{refused}; counted as refused, neither found nor missed")
        row.add(width, height)
        row.masks += sample.mask is not None
        pixels = hashlib.sha256(f"{width}x{height}".encode() + np.ascontiguousarray(image).tobytes()).digest()
        by_pixels[pixels].append(_Seen(sample.path, split, content))
        _check_mask(sample, (height, width), report)
    if too_many_blank(len(blank), len(dataset.train_good)):
        report.problems += [f"{line}; the station would refuse it" for line in blank]
    else:
        report.warnings += [f"{line}; left out of training, the station would refuse it" for line in blank]
    report.rows = list(rows.values())
    goods = [[seen.path.parent == dataset.root / "train" / GOOD for seen in group] for group in by_pixels.values()]
    counts = [sum(group) for group in goods if any(group)]
    if len(counts) == 1 and counts[0] > 1:
        report.problems.append(all_alike(dataset.root, counts[0]))
    _check_duplicates(by_pixels.values(), dataset.root, report)
    _check_unmasked(dataset, report)


def _bits(dataset: Dataset, stated: Bits | None, report: CheckReport) -> Bits | None:
    if stated is not None:
        return stated
    try:
        return agreed_bits([sample.path for sample in dataset.train_good])
    except DataError as error:
        report.problems.append(str(error))
        return None
    except ImageError:
        return None  # the image is named when all are decoded


def _refused(sample: Sample, image: Image, report: CheckReport) -> str | None:
    """Return in one line why the line would refuse an image, and the remedy; None when it would not."""
    refused = unusable(image)
    if refused is None:
        return None
    bits = used_bits(sample.path)
    hint = f"; its samples use {bits} of 16 bits: state --bits {bits}" if bits not in (None, report.bits) else ""
    return f"{sample.path}: {refused}{hint}"


def _check_mask(sample: Sample, shape: tuple[int, int], report: CheckReport) -> None:
    if sample.mask is None:
        return
    try:
        mask = load_mask(sample.mask, shape)
    except DataError as error:
        report.problems.append(str(error))
        return
    if not mask.any():
        report.warnings.append(f"{sample.mask}: marks no pixel; the image counts as bad, but not in pixel figures")
    if mask.mean() > MOSTLY:
        report.warnings.append(f"{sample.mask}: marks {mask.mean():.0%} of the picture; is it inverted? 0 is no defect")
    if is_turned(sample.path):
        report.warnings.append(
            f"{sample.mask}: its photo is stored turned, with a note of its orientation; the mask must be drawn on the "
            "photo as it is shown"
        )


def _check_unmasked(dataset: Dataset, report: CheckReport) -> None:
    bad: dict[Path, list[Sample]] = defaultdict(list)
    for sample in (*dataset.train_defects, *dataset.test):
        if sample.label != GOOD:
            bad[sample.path.parent].append(sample)
    for folder, samples in bad.items():
        bare = [sample for sample in samples if sample.mask is None]
        if bare:
            report.warnings.append(
                f"{folder}: {len(bare)} of {len(samples)} images have no mask "
                f"(first: {bare[0].path.name}); they count in image figures only"
            )


def _check_duplicates(groups: Iterable[list[_Seen]], root: Path, report: CheckReport) -> None:
    """A picture on both sides makes every figure a lie; twice on one side only weighs it double."""
    for group in groups:
        if len(group) < 2:
            continue
        train = [seen for seen in group if seen.split == "train"]
        test = [seen for seen in group if seen.split == "test"]
        first, second = (train[0], test[0]) if train and test else group[:2]
        how = "the same file" if first.content == second.content else "the same picture, encoded differently"
        more = f" and {len(group) - 2} more" if len(group) > 2 else ""
        line = f"{first.path} and {second.path.relative_to(root)}{more}: {how}"
        if train and test:
            report.problems.append(f"{line} in train and test; remove one of them")
        else:
            report.warnings.append(f"{line}, twice in {first.split}")


def _check_masks_have_images(dataset: Dataset, report: CheckReport) -> None:
    report.problems += mask_problems(dataset.root)
    for folder in _folders(dataset.root / "ground_truth"):
        for path in _files(folder):
            if not path.name.endswith(MASK_ENDING):
                report.warnings.append(f"{path}: not read; masks are named <image>{MASK_ENDING}")


def mask_problems(root: Path) -> list[str]:
    """One line for each type of defect, and each mask, of ground_truth that no image of test or train belongs to."""
    problems = []
    for folder in _folders(root / "ground_truth"):
        sides = [root / split / folder.name for split in ("test", "train")]
        if not any(side.is_dir() for side in sides):
            problems.append(f"{folder}: no such type of defect: {sides[0]} is not there; rename or remove it")
            continue
        stems = {path.stem for side in sides for path in images_in(side)}
        for path in _files(folder):
            stem = path.name.removesuffix(MASK_ENDING)
            if path.name.endswith(MASK_ENDING) and stem not in stems:
                image = f"{folder.name}/{stem}.*"
                problems.append(f"{path}: there is no image {image} in test/ or train/; rename the mask or remove it")
    return problems


def _check_groups(dataset: Dataset, report: CheckReport) -> None:
    alone = [sample for sample in dataset.samples if sample.part is None]
    if alone and len(alone) < len(dataset.samples):
        report.warnings.append(
            f"{dataset.root / GROUPS_FILE}: does not name {len(alone)} of {len(dataset.samples)} images "
            f"(first: {alone[0].path.relative_to(dataset.root)}); each counts as a part of its own"
        )
    report.problems += group_problems(dataset)


def _check_strays(root: Path, report: CheckReport) -> None:
    for split in ("train", "test"):
        for path in sorted((root / split).iterdir()) if (root / split).is_dir() else []:
            if path.is_dir() and is_hidden(path):
                report.warnings.append(f"{path}: not read; it is hidden, and may hold copies of photos")
            elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                report.warnings.append(f"{path}: not read; put it into a folder, e.g. {split}/good")
    for folder in (*label_folders(root / "train"), *label_folders(root / "test")):
        for path in _files(folder):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                report.warnings.append(f"{path}: not read; it is not an image ({' '.join(IMAGE_SUFFIXES)})")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    """Everything in a folder that is not hidden, folders too."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def report_table(report: CheckReport) -> str:
    """Counts and sizes for a person, one row for each folder of images."""
    lines = [f"{row.split:<7}{row.label:<18}{row.images:>7}{row.masks:>7}  {_sizes(row)}" for row in report.rows]
    return "\n".join([f"{'split':<7}{'type':<18}{'images':>7}{'masks':>7}  size in pixels", *lines])


def _sizes(row: Row) -> str:
    if row.smallest is None or row.largest is None:
        return "-"
    low, high = ("x".join(str(side) for side in size) for size in (row.smallest, row.largest))
    return low if low == high else f"{low} to {high}"


def report_json(report: CheckReport) -> dict[str, Any]:
    """Return the report of a check as JSON types."""
    return {"stage": "check", **asdict(report), "root": str(report.root)}
