"""Stage `synth`: a folder of synthetic photographs in MVTec layout, or the sample frames of the demo.

Image i of a folder depends on the seed, the folder and i alone: asking for more images leaves the others as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.core.cli import OneLineParser
from train.stages import StageError
from train.synthetic.shots import PlannedShot, plan_dataset, plan_frames, write_shots

REPORT = "synth.json"
SMALLEST, LARGEST = 64, 4096  # pixels a side


def _make_room(folder: Path, force: bool) -> None:
    """Refuse to write over anything but an earlier output of this stage."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StageError(f"{folder}: is a file; name a folder that does not exist yet")
    if not any(folder.iterdir()):
        return
    if not (folder / REPORT).is_file():
        raise StageError(f"{folder}: holds files that `synth` did not write (no {REPORT}); name another folder")
    if not force:
        raise StageError(f"{folder}: already holds a synthetic data set; add --force to replace it")


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
    """Write a data set (--out) or the demo's frames (--frames) with its report synth.json; raises StageError."""
    options = _parser().parse_args(argv)
    folder: Path = options.frames or options.out
    if options.frames:
        shots = plan_frames()
    else:
        shots = plan_dataset(options.train_good, options.test_good, options.test_bad_per_type)
    if not shots:
        raise StageError("no image was asked for; raise --train-good, --test-good or --test-bad-per-type")
    try:
        report = _write(folder, shots, options.seed, *options.size, force=options.force)
    except OSError as error:
        raise StageError(f"{folder}: cannot be written ({error.strerror}); name a folder you may write to") from error
    print(f"{folder}: {report['images']} images of {options.size[0]}x{options.size[1]}, sha256 {report['sha256'][:12]}")


def _write(
    folder: Path, shots: list[PlannedShot], seed: int, width: int, height: int, *, force: bool
) -> dict[str, Any]:
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
