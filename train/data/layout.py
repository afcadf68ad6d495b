"""Names in a data folder that cannot be meant: they would change the figures without a word."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from edge.inference.preprocess import IMAGE_SUFFIXES

SPLITS = ("train", "test", "ground_truth")
GOOD_WORDS = {
    "good",
    "goods",
    "ok",
    "okay",
    "normal",
    "pass",
    "passed",
    "io",
    "i.o.",
    "gut",
    "defect_free",
    "no_defect",
}
MASK_WORDS = {"mask", "masks", "gt", "ground_truth", "label", "labels"}
MASK_NAME = re.compile(r"(.+)[_-](?:mask|gt|label|seg)", re.IGNORECASE)
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")  # of macOS and of a network disk


def is_hidden(folder: Path) -> bool:
    """Say whether a folder is a tool's own (.ipynb_checkpoints holds copies of photos) and none of photos."""
    return folder.name.startswith(".") or folder.name in SYSTEM_FOLDERS


def split_problems(root: Path) -> list[str]:
    """Return one line for each folder of the root that would be passed over for its spelling."""
    return [
        f"{folder}: not read, because the name is written otherwise; rename it to {folder.name.casefold().strip()}"
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name not in SPLITS and folder.name.casefold().strip() in SPLITS
    ]


def label_problems(folder: Path, images: Iterable[Path]) -> list[str]:
    """Return one line for each thing about a folder of train/ or test/ that cannot be meant."""
    word = re.sub(r"[\s-]+", "_", folder.name.strip().casefold())
    if word in GOOD_WORDS and folder.name != "good":
        return [f"{folder}: would be a type of defect, and its name means good parts; rename it to good"]
    if word in MASK_WORDS:
        return [f"{folder}: would be a type of defect, and its name means masks; move them to ground_truth/TYPE"]
    by_stem: dict[str, list[Path]] = {}
    for path in images:
        by_stem.setdefault(path.stem, []).append(path)
    return [
        f"{path}: looks like the mask of {by_stem[found[1]][0].name} beside it, and would count as a photo; "
        f"move it to ground_truth/{folder.name}/{found[1]}_mask.png"
        for stem, paths in by_stem.items()
        for path in paths
        if (found := MASK_NAME.fullmatch(stem)) and found[1] in by_stem
    ]


def relative_name(file: str, root: Path) -> str:
    """Return a file of groups.csv as dataset paths are written, e.g. train/good/1.png; raises ValueError."""
    path = Path(file.strip())
    name = posixpath.normpath((path.relative_to(root.resolve()) if path.is_absolute() else path).as_posix())
    parts = name.split("/")
    if len(parts) != 3 or parts[0] not in ("train", "test") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError
    return name
