"""Plan and take the photographs of a synthetic product.

Image i of a folder depends on the seed, the folder and i alone: asking for more images leaves the others as they are.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge.core.types import Image
from train.synthetic.defects import PAINTERS, defect_mask, draw_defect
from train.synthetic.flange import Defect, Scene, draw_scene, render

DATA_QUALITY, FRAME_QUALITY = 95, 92  # JPEG
SPLITS = {"train": 0, "test": 1, "frames": 2}  # part of the seed, so no split repeats another's parts
KINDS = ("good", *PAINTERS)
# The demo's shift: it runs well, then a part now and then is not as it should be.
STORY = (
    *("good", "good", "good", "good", "scratch", "good", "good", "good", "stain", "good", "good", "missing"),
    *("good", "good", "good", "dent", "good", "good", "scratch", "good", "missing", "good", "stain", "good"),
)


@dataclass(frozen=True)
class PlannedShot:
    """One photograph to take."""

    file: str  # relative to the output folder
    split: str
    kind: str
    index: int
    mask: str | None = None


def take(shot: PlannedShot, seed: int, width: int, height: int) -> tuple[Image, NDArray[np.uint8] | None]:
    """Photograph a part: (height, width, 3) uint8 BGR and its mask (height, width) uint8 0/255; good has none."""
    scene, defect = stage_shot(shot, seed, width, height)
    return render(scene, defect), None if defect is None else defect_mask(defect, width, height)


def stage_shot(shot: PlannedShot, seed: int, width: int, height: int) -> tuple[Scene, Defect | None]:
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


def plan_dataset(train_good: int, test_good: int, test_bad_per_type: int) -> list[PlannedShot]:
    """Return the shots of a data set in MVTec layout."""
    shots = [PlannedShot(f"train/good/{i:04d}.jpg", "train", "good", i) for i in range(train_good)]
    shots += [PlannedShot(f"test/good/{i:04d}.jpg", "test", "good", i) for i in range(test_good)]
    for kind in PAINTERS:
        for i in range(test_bad_per_type):
            mask = f"ground_truth/{kind}/{i:04d}_mask.png"
            shots.append(PlannedShot(f"test/{kind}/{i:04d}.jpg", "test", kind, i, mask))
    return shots


def plan_frames() -> list[PlannedShot]:
    """Return the sample frames of the demo in the order the camera sees them."""
    return [PlannedShot(f"{i + 1:02d}_{kind}.jpg", "frames", kind, i) for i, kind in enumerate(STORY)]


def write_shots(folder: Path, shots: list[PlannedShot], seed: int, width: int, height: int) -> str:
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


def _encode(shot: PlannedShot, seed: int, width: int, height: int) -> list[tuple[str, bytes]]:
    """Return the files of one shot, by name: the photograph and, for a defect, its mask."""
    image, mask = take(shot, seed, width, height)
    quality = FRAME_QUALITY if shot.split == "frames" else DATA_QUALITY
    files = [(shot.file, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())]
    if shot.mask is not None and mask is not None:
        files.append((shot.mask, cv2.imencode(".png", mask)[1].tobytes()))
    return files
