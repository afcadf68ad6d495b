"""The folder of one training run: what each stage leaves for the next, and its report beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from edge.inference.placement import MapGeometry
from edge.inference.placement.boxes import BoxFacts
from edge.inference.preprocess import InputSpec
from train import TrainError
from train.config import TrainConfig

HEADS = "heads.json"  # epochs of what was trained by gradient; absent where nothing was
REGION, REGION_PICTURE = "region.json", "region.jpg"  # what is inspected of a photo, and why
Item = TypeVar("Item")
_RECORDED = ("torch", "timm", "neural_compressor", "onnx", "openvino", "onnxruntime", "numpy")


class RunError(TrainError):
    """A stage was called before the stage it needs."""


class FitReport(BaseModel):
    """fit.json: what was trained on what; every later stage starts here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: TrainConfig
    data: Path
    dataset_sha256: str
    input: InputSpec
    fit_images: tuple[str, ...]  # relative to data
    holdout_images: tuple[str, ...]  # good images that set the threshold; none where all of them do
    cross: bool = False  # goods that set the threshold are in the bank, and are scored without their own part
    spared_images: tuple[str, ...] = ()  # good images far beyond the rest, whose patches are not in the bank
    defect_images: tuple[str, ...] = ()  # labelled defects trained on
    left_out_images: tuple[str, ...] = ()  # of test/, other images of parts that were trained on: not measured
    types: tuple[str, ...] = ()  # of defects, as far as the network tells them apart
    boxes: tuple[str, ...] = ()  # types of a network that locates defects by boxes; none: any other network
    validation_images: tuple[str, ...] = ()  # kept from training, defects and goods: early stopping and calibration
    feature_channels: int
    bank_rows: int
    seconds: float
    git_commit: str
    versions: dict[str, str]

    @property
    def limit_images(self) -> tuple[str, ...]:
        """Good images that set the threshold."""
        return self.holdout_images if self.holdout_images or not self.cross else self.fit_images

    @property
    def bank_images(self) -> tuple[str, ...]:
        """Good images whose patches may be in the memory bank, in the order of its candidates."""
        return (*self.fit_images, *self.holdout_images) if self.cross else self.fit_images

    @property
    def seen_images(self) -> tuple[str, ...]:
        """Every image that had a say in the model or its threshold, and others of their parts: none may measure it."""
        named = (self.fit_images, self.holdout_images, self.defect_images, self.validation_images, self.left_out_images)
        return tuple(name for names in named for name in names)


class Run:
    """Paths inside a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str) -> Path:
        return self.folder / name

    def need(self, name: str, stage: str) -> Path:
        """The path of an artefact; raises RunError naming the stage that makes it."""
        path = self.folder / name
        if not path.is_file():
            raise RunError(f"{path}: missing; run `python -m train {stage}` with the same --work first")
        return path

    def fit_report(self) -> FitReport:
        path = self.need("fit.json", "fit")
        try:
            return FitReport.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path}: {error.errors()[0]['msg']}; run `python -m train fit` again") from None

    def map_geometry(self) -> MapGeometry:
        """Return where the cells of the exported map look; raises RunError where `export` has not measured it."""
        facts = self.read_report("export.json", "export").get("map")
        try:
            return MapGeometry.model_validate(facts)
        except ValidationError:
            raise RunError(
                f"{self.file('export.json')}: does not say where the map looks; run `python -m train export` again"
            ) from None

    def box_facts(self) -> BoxFacts | None:
        """Return the types and limits of a calibrated run of boxes; None for any other run."""
        facts = self.read_report("calibration.json", "calibrate").get("boxes")
        return None if facts is None else BoxFacts.model_validate(facts)

    def write_report(self, name: str, facts: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def read_report(self, name: str, stage: str) -> dict[str, Any]:
        path = self.need(name, stage)
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise RunError(f"{path}: is damaged ({error}); run `python -m train {stage}` again") from None


def rank() -> int:
    """Return the number of this process in a torchrun; 0 writes the results and is the only one without torchrun."""
    return int(os.environ.get("RANK", "0"))


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """A progress bar on stderr."""
    bar: Iterable[Item] = tqdm(items, desc=what, total=total, unit="", leave=False, dynamic_ncols=True)
    return bar


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in _RECORDED}}


def git_commit() -> str:
    """The commit this code is at, `-dirty` when files differ from it, `unknown` outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
