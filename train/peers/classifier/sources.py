"""Labelled pictures of the formats that are common: folders of classes, the MVTec layout, CIFAR-10's binary files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inference.preprocess import image_files, load_image
from train.data.dataset import GOOD, scan_dataset
from train.data.layout import is_hidden
from train.data.parts import part_names
from train.peers.classifier import ClassifierError
from train.run import progress

CIFAR_SIDE = 32
CIFAR_ROW = 1 + 3 * CIFAR_SIDE**2  # one label, then 1024 red, 1024 green and 1024 blue bytes, row by row
CIFAR_NAMES = "batches.meta.txt"
MAX_BYTES = 4_000_000_000  # of decoded pictures
TEST_SHARE, VALIDATION_SHARE = 0.25, 0.15
SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures (n, side, side, 3) uint8 RGB, their classes (n,) int64, and the part that each one shows."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    parts: tuple[str, ...]

    def chosen(self, rows: NDArray[np.intp]) -> Labelled:
        """Return some of the pictures."""
        return Labelled(self.pictures[rows], self.labels[rows], tuple(self.parts[row] for row in rows))


@dataclass(frozen=True, slots=True)
class PicturesInRoles:
    """Pictures in three roles. No part is in two of them."""

    classes: tuple[str, ...]
    train: Labelled
    validation: Labelled
    test: Labelled


def read_source(root: Path, side: int, seed: int) -> PicturesInRoles:
    """Read a folder of pictures at side x side pixels; raises ClassifierError, DataError or ImageError.

    CIFAR-10 keeps its own test batch. Folders `train`, `val` and `test` of classes keep their roles. Everything else,
    and whatever role is missing, is drawn by parts, evenly over the classes.
    """
    if not root.is_dir():
        raise ClassifierError(f"{root}: no such folder; name one with a folder of pictures for each class")
    if any(root.glob("data_batch_*")):
        return _drawn(*_cifar(root, side), seed)
    if (root / "train" / GOOD).is_dir():
        return _drawn(*_mvtec(root, side), seed)
    return _drawn(*_folders(root, side), seed)


Roles = dict[str, Labelled]  # "train", "validation", "test", or "" for pictures without a role


def _cifar(root: Path, side: int) -> tuple[tuple[str, ...], Roles]:
    files = {"train": sorted(root.glob("data_batch_*.bin")), "test": sorted(root.glob("test_batch.bin"))}
    if not files["train"]:
        raise ClassifierError(f"{root}: holds CIFAR-10 for Python, which is code; download the binary version")
    names = root / CIFAR_NAMES
    classes = tuple(names.read_text(encoding="utf-8").split()) if names.is_file() else tuple("0123456789")
    return classes, {role: _batches(paths, len(classes), side) for role, paths in files.items() if paths}


def _batches(paths: Sequence[Path], classes: int, side: int) -> Labelled:
    rows = []
    for path in paths:
        data = np.fromfile(path, np.uint8)
        if len(data) == 0 or len(data) % CIFAR_ROW:
            raise ClassifierError(f"{path}: {len(data)} bytes are no rows of {CIFAR_ROW}; download the file again")
        rows.append(data.reshape(-1, CIFAR_ROW))
    found = np.concatenate(rows)
    if found[:, 0].max() >= classes:
        raise ClassifierError(f"{paths[0].parent}: has a class {found[:, 0].max()} of {classes}; download it again")
    pictures = found[:, 1:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)
    if side != CIFAR_SIDE:
        pictures = np.stack([_sized(picture, side) for picture in pictures])
    parts = tuple(f"{paths[0].stem} {row}" for row in range(len(found)))
    return Labelled(np.ascontiguousarray(pictures), found[:, 0].astype(np.int64), parts)


def _mvtec(root: Path, side: int) -> tuple[tuple[str, ...], Roles]:
    """Good parts and types of defects; the roles of the folders are of the detector, and the parts are drawn anew."""
    samples = scan_dataset(root).samples
    classes = tuple(sorted({sample.label for sample in samples}))
    _need_two(root, classes)
    labels = [classes.index(sample.label) for sample in samples]
    return classes, {"": _loaded([sample.path for sample in samples], labels, part_names(samples), side)}


def _folders(root: Path, side: int) -> tuple[tuple[str, ...], Roles]:
    """DIR/CLASS/*, or DIR/train/CLASS/* beside DIR/test/CLASS/* and, if there is one, DIR/val/CLASS/*."""
    below = {folder.name: folder for folder in sorted(root.iterdir()) if folder.is_dir() and not is_hidden(folder)}
    split = {SPLITS[name.casefold()]: folder for name, folder in below.items() if name.casefold() in SPLITS}
    tops = split if "train" in split else {"": root}
    found = {role: _classes(top) for role, top in tops.items()}
    classes = tuple(sorted({name for one in found.values() for name in one}))
    _need_two(root, classes)
    roles = {}
    for role, one in found.items():
        files = [(path, classes.index(name)) for name, paths in one.items() for path in paths]
        paths, labels = [path for path, _ in files], [label for _, label in files]
        roles[role] = _loaded(paths, labels, [str(path) for path in paths], side)
    return classes, roles


def _need_two(root: Path, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        found = f"{classes[0]} and no other class" if classes else "no class of pictures"
        raise ClassifierError(f"{root}: holds {found}; make a folder of pictures for each class")


def _classes(top: Path) -> dict[str, list[Path]]:
    folders = [folder for folder in sorted(top.iterdir()) if folder.is_dir() and not is_hidden(folder)]
    return {folder.name: found for folder in folders if (found := image_files(folder))}


def _loaded(paths: Sequence[Path], labels: Sequence[int], parts: Sequence[str], side: int) -> Labelled:
    if len(paths) * side * side * 3 > MAX_BYTES:
        raise ClassifierError(
            f"{len(paths)} pictures of {side}x{side} do not fit into memory; ask for a smaller --side"
        )
    pictures = np.empty((len(paths), side, side, 3), np.uint8)
    for row, path in enumerate(progress(paths, "pictures", len(paths))):
        pictures[row] = _sized(load_image(path), side)[..., ::-1]
    return Labelled(pictures, np.array(labels, np.int64), tuple(parts))


def _sized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    smaller = max(picture.shape[:2]) > side
    found = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(found, np.uint8)


def _drawn(classes: tuple[str, ...], roles: Roles, seed: int) -> PicturesInRoles:
    """Give every role its pictures: those that the data says, and a draw of parts for those that it does not."""
    learn = roles.get("train", roles.get(""))
    if learn is None:
        raise ClassifierError("no pictures to learn from; put them into train/CLASS")
    rng = np.random.default_rng(seed)
    test, validation = roles.get("test"), roles.get("validation")
    if test is None:
        learn, test = _apart(learn, TEST_SHARE, rng)
    if validation is None:
        learn, validation = _apart(learn, VALIDATION_SHARE, rng)
    for words, one in (("learn from", learn), ("stop at", validation), ("measure on", test)):
        if missing := sorted(set(range(len(classes))) - set(one.labels.tolist())):
            raise ClassifierError(f"{classes[missing[0]]}: has no picture to {words}; add pictures of more parts")
    return PicturesInRoles(classes, learn, validation, test)


def _apart(found: Labelled, share: float, rng: np.random.Generator) -> tuple[Labelled, Labelled]:
    """Return the rest, and about that share of each class's parts; a part is of the class of its rarest picture."""
    counts = np.bincount(found.labels)
    class_of: dict[str, int] = {}
    for part, label in zip(found.parts, found.labels.tolist(), strict=True):
        kept = class_of.setdefault(part, label)
        class_of[part] = min(kept, label, key=lambda one: int(counts[one]))
    taken: set[str] = set()
    for label in range(len(counts)):
        own = sorted(part for part, kept in class_of.items() if kept == label)
        if len(own) > 1:
            taken.update(rng.permutation(own)[: max(1, round(share * len(own)))].tolist())
    inside = np.array([part in taken for part in found.parts], bool)
    return found.chosen(np.flatnonzero(~inside)), found.chosen(np.flatnonzero(inside))
