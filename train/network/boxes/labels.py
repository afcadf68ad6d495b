"""Labels of boxes: DATA/boxes/NAME.txt, one line `x1 y1 x2 y2 type` for each defect of the photo NAME."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.inference.part import joined
from edge.inference.preprocess import InputSpec, RegionView, region_to
from train.data.dataset import GOOD, Sample
from train.network.boxes import BoxesError

FOLDER = "boxes"
LARGEST_FILE = 1_000_000  # bytes

Floats = NDArray[np.float64]
Label = tuple[float, float, float, float, str]  # left, top, right, bottom in pixels of the photo, type


def has_boxes(root: Path) -> bool:
    """Say whether a data folder holds labels of boxes."""
    return (root / FOLDER).is_dir()


def read_labels(root: Path, samples: Sequence[Sample], names: Sequence[str] = ()) -> dict[Sample, list[Label]]:
    """Return the boxes of each defective sample; a good one has none and needs no file.

    names: what the types 1, 2, 3 ... are called; another word is a name itself. Raises BoxesError with one line for
    each file that is missing or cannot be meant.
    """
    found: dict[Sample, list[Label]] = {}
    problems = _shared_names(root, samples)
    for sample in samples:
        if sample.label == GOOD:
            found[sample] = []
            continue
        path = root / FOLDER / f"{sample.path.stem}.txt"
        try:
            found[sample] = _read(path, names)
        except BoxesError as error:
            problems.append(str(error))
    if problems:
        raise BoxesError("\n".join(problems))
    return found


def _shared_names(root: Path, samples: Sequence[Sample]) -> list[str]:
    """Return a line for each name that two defective photos have: their boxes would be one file."""
    counts = Counter(sample.path.stem for sample in samples if sample.label != GOOD)
    return [
        f"{root / FOLDER / name}.txt: {count} photos are called {name}, and would share these boxes; rename all but one"
        for name, count in counts.items()
        if count > 1
    ]


def _read(path: Path, names: Sequence[str]) -> list[Label]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BoxesError(f"{path}: is too large to be a list of boxes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise BoxesError(f"{path}: is missing; write a line `x1 y1 x2 y2 type` for each defect of the photo") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BoxesError(f"{path}: cannot be read ({error})") from None
    labels = [_label(path, number, line, names) for number, line in enumerate(lines, 1) if line.strip()]
    if not labels:
        raise BoxesError(f"{path}: holds no box, and the photo is in a folder of defects; label it or move the photo")
    return labels


def _label(path: Path, number: int, line: str, names: Sequence[str]) -> Label:
    words = line.replace(",", " ").split(maxsplit=4)
    try:
        left, top, right, bottom = (float(word) for word in words[:4])
        kind = words[4].strip()
    except (ValueError, IndexError):
        raise BoxesError(f"{path}:{number}: {line.strip()[:80]!r} is not `x1 y1 x2 y2 type`") from None
    sides = (left, top, right, bottom)
    if not all(map(math.isfinite, sides)) or right <= left or bottom <= top or min(left, top) < 0:
        raise BoxesError(
            f"{path}:{number}: x1 y1 must be the upper left corner and x2 y2 the lower right one, in pixels"
        )
    if names:
        if not kind.isdigit() or not 1 <= int(kind) <= len(names):
            raise BoxesError(f"{path}:{number}: type {kind[:40]!r} is none of 1 to {len(names)}, which box_types names")
        kind = names[int(kind) - 1]
    if not kind.isprintable() or len(kind) > 64:
        raise BoxesError(f"{path}:{number}: the type must be at most 64 printable characters")
    return left, top, right, bottom, kind


def types_of(labels: Mapping[Sample, Sequence[Label]], names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the types in their order: that of the names, else by the alphabet."""
    used = {label[4] for boxes in labels.values() for label in boxes}
    return tuple(names) if names else tuple(sorted(used))


def on_input(boxes: Sequence[Label], view: RegionView, spec: InputSpec, frame: tuple[int, ...]) -> Floats:
    """Return boxes of a photo in pixels of the model's input, (N, 4): the inverse of the device's way to the frame.

    Boxes may lie partly or wholly outside of the inspected region. frame: shape of the photo.
    """
    to_frame = region_to((spec.width, spec.height), spec, frame)
    if view.matrix is not None:
        to_frame = joined(view.matrix, to_frame)
    back = np.linalg.inv(to_frame[:, :2])
    found = np.zeros((len(boxes), 4))
    for row, (left, top, right, bottom, _) in enumerate(boxes):
        corners = np.array([[x, y] for x in (left, right) for y in (top, bottom)]) - 0.5
        there = (corners - to_frame[:, 2]) @ back.T + 0.5
        found[row] = *there.min(axis=0), *there.max(axis=0)
    return found
