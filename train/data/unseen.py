"""The images that may measure a model: those it has never seen, with masks that fit them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from edge.inference.preprocess import load_image
from train.data.dataset import GOOD, MOSTLY, DataError, Dataset, Sample, load_mask
from train.run import progress

DIGITS = 16  # of an image's sha256: enough to know it again


def image_sha256(files: Iterable[Path]) -> list[str]:
    """Return the first 16 hex digits of each file's sha256, sorted; raises DataError naming a file that is gone."""
    try:
        return sorted({_sha256(path) for path in files})
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: was trained on and is gone; put it back, or run fit again") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]


def unseen(dataset: Dataset, seen: Collection[str]) -> tuple[list[Sample], list[Sample]]:
    """Return the test images as (to measure on, left out because their sha256 is among the seen ones)."""
    known = frozenset(seen)
    kept: list[Sample] = []
    left_out: list[Sample] = []
    for sample in dataset.test:
        (left_out if known and _sha256(sample.path) in known else kept).append(sample)
    return kept, left_out


def both_kinds(samples: Iterable[Sample]) -> bool:
    """Are there good images and defective ones?"""
    return {sample.label == GOOD for sample in samples} == {True, False}


def check_masks(samples: Sequence[Sample]) -> list[Sample]:
    """Decode every mask before anything is measured; returns the samples whose mask marks nothing.

    Raises DataError with a line for each mask that cannot be read or has another size than its image.
    """
    problems, empty = [], []
    for sample in progress([s for s in samples if s.mask is not None], "masks"):
        try:
            if sample.mask is None:
                continue
            mask = load_mask(sample.mask, load_image(sample.path).shape[:2])
            if not mask.any():
                empty.append(sample)
            if mask.mean() > MOSTLY:
                print(f"warning: {sample.mask}: marks {mask.mean():.0%} of the picture; is it inverted? 0 is no defect")
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return empty
