"""Stage `synth`: a folder of synthetic photographs in MVTec layout, or the sample frames of the demo.

Image i of a folder depends on the seed, the folder and i alone: asking for more images leaves the others as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge.core.cli import OneLineParser
from edge.core.types import Image
from train import TrainError
from train.synthetic.defects import PAINTERS, defect_mask, draw_defect
from train.synthetic.flange import Defect, Scene, draw_scene, render

REPORT = "synth.json"
DATA_QUALITY, FRAME_QUALITY = 95, 92  # JPEG
SMALLEST, LARGEST = 64, 4096  # pixels a side
SPLITS = {"train": 0, "test": 1, "frames": 2}  # part of the seed, so no split repeats another's parts
KINDS = ("good", *PAINTERS)
# The demo's shift: it runs well, then a part now and then is not as it should be.
STORY = (
    *("good", "good", "good", "good", "scratch", "good", "good", "good", "stain", "good", "good", "missing"),
    *("good", "good", "good", "dent", "good", "good", "scratch", "good", "missing", "good", "stain", "good"),
)


class SynthError(TrainError):
    """The synthetic data set cannot be made as asked."""


@dataclass(frozen=True)
class Shot:
    """One photograph to take."""

    file: str  # relative to the output folder
    split: str
    kind: str
    index: int
    mask: str | None = None


def take(shot: Shot, seed: int, width: int, height: int) -> tuple[Image, NDArray[np.uint8] | None]:
    """Photograph a part: (height, width, 3) uint8 BGR and its mask (height, width) uint8 0/255; good has none."""
    scene, defect = stage_shot(shot, seed, width, height)
    return render(scene, defect), None if defect is None else defect_mask(defect, width, height)


def stage_shot(shot: Shot, seed: int, width: int, height: int) -> tuple[Scene, Defect | None]:
    """The scene of a shot and what is wrong with the part; the scene does not depend on the defect's drawing."""
    key = [seed, SPLITS[shot.split], KINDS.index(shot.kind), shot.index]
    scene = draw_scene(np.random.default_rng([*key, 0]), width, height)
    if shot.kind == "good":
        return scene, None
    rng = np.random.default_rng([*key, 1])
    while True:  # a scratch may land on a hole and a stain beside the part: draw until enough of it shows
        defect = draw_defect(shot.kind, rng, scene)
        if defect.cover.sum() >= 0.0009 * scene.pose.radius**2:
            return scene, defect


def plan_dataset(train_good: int, test_good: int, test_bad_per_type: int) -> list[Shot]:
    """The shots of a data set in MVTec layout."""
    shots = [Shot(f"train/good/{i:04d}.jpg", "train", "good", i) for i in range(train_good)]
    shots += [Shot(f"test/good/{i:04d}.jpg", "test", "good", i) for i in range(test_good)]
    for kind in PAINTERS:
        for i in range(test_bad_per_type):
            mask = f"ground_truth/{kind}/{i:04d}_mask.png"
            shots.append(Shot(f"test/{kind}/{i:04d}.jpg", "test", kind, i, mask))
    return shots


def plan_frames() -> list[Shot]:
    """The sample frames of the demo in the order the camera sees them."""
    return [Shot(f"{i + 1:02d}_{kind}.jpg", "frames", kind, i) for i, kind in enumerate(STORY)]


def write_shots(folder: Path, shots: list[Shot], seed: int, width: int, height: int) -> str:
    """Take and save every shot; returns the sha256 over names and content of all files, in the order of the shots."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        taken = pool.map(lambda shot: _encode(shot, seed, width, height), shots)
        for files in tqdm(taken, total=len(shots), desc="synth", unit="image", leave=False, disable=None):
            for name, data in files:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()


def _encode(shot: Shot, seed: int, width: int, height: int) -> list[tuple[str, bytes]]:
    """The files of one shot, by name: the photograph and, for a defect, its mask."""
    image, mask = take(shot, seed, width, height)
    quality = FRAME_QUALITY if shot.split == "frames" else DATA_QUALITY
    files = [(shot.file, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())]
    if shot.mask is not None and mask is not None:
        files.append((shot.mask, cv2.imencode(".png", mask)[1].tobytes()))
    return files


def _make_room(folder: Path, force: bool) -> None:
    """Refuse to write over anything but an earlier output of this stage."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SynthError(f"{folder}: is a file; name a folder that does not exist yet")
    if not any(folder.iterdir()):
        return
    if not (folder / REPORT).is_file():
        raise SynthError(f"{folder}: holds files that `synth` did not write (no {REPORT}); name another folder")
    if not force:
        raise SynthError(f"{folder}: already holds a synthetic data set; add --force to replace it")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 512x512")
    if not all(SMALLEST <= int(side) <= LARGEST for side in (width, height)):
        raise argparse.ArgumentTypeError(f"{text}: each side must be {SMALLEST} to {LARGEST} pixels")
    return int(width), int(height)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 9999:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 9999")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m train synth", description="Make a synthetic data set.")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="DIR", help="write a data set in MVTec layout")
    target.add_argument("--frames", type=Path, metavar="DIR", help="write the sample frames of the demo instead")
    parser.add_argument("--seed", type=_seed, default=0)
    parser.add_argument("--train-good", type=_count, default=120)
    parser.add_argument("--test-good", type=_count, default=40)
    parser.add_argument("--test-bad-per-type", type=_count, default=12)
    parser.add_argument("--size", type=_size, default=(512, 512), metavar="WxH", help="pixels (default 512x512)")
    parser.add_argument("--force", action="store_true", help="replace an earlier output of this command")
    return parser


def main(argv: list[str]) -> None:
    """Write a data set (--out) or the demo's frames (--frames) with its report synth.json; raises SynthError."""
    options = _parser().parse_args(argv)
    folder: Path = options.frames or options.out
    if options.frames:
        shots = plan_frames()
    else:
        shots = plan_dataset(options.train_good, options.test_good, options.test_bad_per_type)
    if not shots:
        raise SynthError("no image was asked for; raise --train-good, --test-good or --test-bad-per-type")
    try:
        report = _write(folder, shots, options.seed, *options.size, force=options.force)
    except OSError as error:
        raise SynthError(f"{folder}: cannot be written ({error.strerror}); name a folder you may write to") from error
    print(f"{folder}: {report['images']} images of {options.size[0]}x{options.size[1]}, sha256 {report['sha256'][:12]}")


def _write(folder: Path, shots: list[Shot], seed: int, width: int, height: int, *, force: bool) -> dict[str, Any]:
    """Build the output beside its final place and move it there whole."""
    _make_room(folder, force)
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    digest = write_shots(draft, shots, seed, width, height)
    counts: dict[str, int] = {}
    for shot in shots:
        place = f"{shot.split}/{shot.kind}"
        counts[place] = counts.get(place, 0) + 1
    report = {
        "stage": "synth",
        "seed": seed,
        "width": width,
        "height": height,
        "images": len(shots),
        "counts": counts,
        "versions": {"numpy": np.__version__, "opencv": cv2.__version__},
        "sha256": digest,
    }
    (draft / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)
    return report
