"""A bundle is a verified folder: docs/reference/bundle.md is the contract, this file reads and writes it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json

from edge.core.files import sync_folder
from edge.core.types import EdgeError, Limits, one_line
from edge.inference.placement import MapGeometry
from edge.inference.placement.boxes import BoxFacts
from edge.inference.preprocess import InputSpec

FORMAT = 2  # what is written; format 1, which said nothing of the map's place, is read too
FORMAT_BOXES = 3  # of a bundle that locates by boxes, which an older Linewatch would judge without their limits
READABLE = (1, 2, 3)
MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
SIGNATURE = "manifest.sig"  # of manifest.json; a bundle without one is not signed
INT8_IR = "model_int8.xml"
INT8_IR_WEIGHTS = "model_int8.bin"
INT8_ONNX = "model_int8.onnx"
FP32_ONNX = "model_fp32.onnx"
MODELS = (INT8_IR, INT8_IR_WEIGHTS, INT8_ONNX, FP32_ONNX)
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"  # of a bundle
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_SIGNATURE_BYTES = 4096
FORMAT_1_SHIFT_PX = -12.5  # measured with dots: 12.1 to 13.8 at strides 8 and 16, Lite0 and Lite2

MAX_SCORE = 1e6  # no distance and no odds come near it
MAX_COUNT = 1_000_000_000
MAX_SIDE_PX = 16_384  # of the model's input, and of the map in cells
MAX_INPUT_PX = 4096 * 4096
MAX_ABOVE = 10.0  # how many times the highest reference's score the threshold may be
MAX_TOLERANCE = 0.1  # share of a reference's score, or of the threshold where that is higher

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Score = Annotated[float, Field(ge=0.0, le=MAX_SCORE)]
PositiveScore = Annotated[float, Field(ge=1e-9, le=MAX_SCORE)]
MOST_BUNDLES = 50  # in the folder of a station
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
FileName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ProductName = Annotated[str, Field(pattern=f"^{NAME}$")]


class BundleError(EdgeError):
    """A bundle that is damaged, incomplete or not of this format."""


class Facts(BaseModel):
    """A frozen part of the manifest; a key nobody knows, or a number that is not finite, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Threshold(Facts):
    """Score from which a part is NG, and how it was set (on good parts the model had not seen)."""

    value: PositiveScore
    method: Literal["conformal", "cross", "normal_limit"]
    n: Count  # good parts that set it
    alpha: Probability  # wanted share of good parts rejected
    bound: Probability | None  # guaranteed expected share, where n supports one; None: an estimate only
    upper_95: Probability | None = None  # the share rejected stays below this in 95 of 100 such draws of n goods


class Marking(Facts):
    """Map value from which a place on an NG part may be marked, set on good parts the model had not seen."""

    value: PositiveScore
    share: Probability  # of the held-out good images' placed map that reaches it
    n: Count  # held-out good images


class Calibration(Facts):
    """defect_probability = 1 / (1 + exp(-(score - midpoint) / scale))."""

    method: Literal["goods_logistic", "platt"]
    midpoint: Annotated[float, Field(ge=-MAX_SCORE, le=MAX_SCORE)]
    scale: PositiveScore
    n: Count  # images it was fitted to
    defective: Probability | None = None  # share of them that are defective, which the probability takes for granted


class Reference(Facts):
    """An image whose score every CPU must reproduce: |score - expected| <= tolerance."""

    file: FileName
    score: Score
    tolerance: PositiveScore


class Release(Facts):
    """The product that a bundle is for, and its version, which only rises: a station never takes an older one."""

    product: ProductName
    counter: Count


class Manifest(Facts):
    """Everything the device needs to know of a bundle, and everything an auditor may ask."""

    format: Literal[1, 2, 3]
    name: str = Field(pattern=f"^{NAME}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")
    created: datetime
    release: Release | None = None  # bundles from before they were signed do not say
    git_commit: str
    dataset_sha256: Sha256
    input: InputSpec
    map: MapGeometry | None = None  # where the cells of the model's map look; format 1 does not say
    threshold: Threshold
    marking: Marking | None = None  # format 1 does not say
    calibration: Calibration
    types: tuple[str, ...] = ()  # of defects, in the order of the model's `defect_types`; empty: it tells none apart
    # Format 3: the model locates defects by boxes, and the score is the best box's, in units of its type's limit.
    boxes: BoxFacts | None = Field(default=None, exclude_if=lambda boxes: boxes is None)
    metrics: dict[str, Any]
    training: dict[str, Any]  # backbone, seed, package versions: for the auditor, never read by the device
    references: tuple[Reference, ...] = Field(min_length=2)  # good ones, and one that is marked
    holdout_scores: tuple[Score, ...] = ()  # of the held-out good parts; without them drift is not watched
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _map_fits(self) -> Manifest:
        told = self.map is not None and self.marking is not None
        if self.format != 1 and not told:
            raise ValueError(f"format {self.format} needs map and marking")
        if (self.format == FORMAT_BOXES) != (self.boxes is not None):
            raise ValueError(f"boxes: format {FORMAT_BOXES} needs them, and no other knows them")
        if self.boxes is not None and (self.types or self.threshold.value != 1.0):
            raise ValueError("boxes: each has the limit of its type, so that the threshold is 1 and types are theirs")
        if self.format == 1 and (self.map is not None or self.marking is not None):
            raise ValueError("format 1 knows neither map nor marking")
        if self.map is not None and (misfit := self.map.misfit(self.input)) is not None:
            raise ValueError(f"map: {misfit}")
        return self

    @model_validator(mode="after")
    def _numbers_agree(self) -> Manifest:
        for fault in (self._size_fault(), self._threshold_fault(), *map(self._tolerance_fault, self.references)):
            if fault is not None:
                raise ValueError(fault)
        return self

    def _size_fault(self) -> str | None:
        """Return why the model's input or map is of a size that no bundle has."""
        width, height = self.input.width, self.input.height
        if max(width, height) > MAX_SIDE_PX or width * height > MAX_INPUT_PX:
            return f"input: {width}x{height} pixels are more than a model here may take"
        if self.map is not None and max(self.map.columns, self.map.rows) > MAX_SIDE_PX:
            return f"map: {self.map.columns}x{self.map.rows} cells are more than a model here may answer"
        return None

    def _threshold_fault(self) -> str | None:
        """Return why the threshold contradicts the references, which every CPU proves, or the held-out goods."""
        threshold, scores = self.threshold, [reference.score for reference in self.references]
        if not min(scores) < threshold.value <= MAX_ABOVE * max(scores):
            return (
                f"threshold.value: {threshold.value:g} lies where no score of this model lies, for its references "
                f"score {min(scores):g} to {max(scores):g}"
            )
        if self.holdout_scores and statistics.median(self.holdout_scores) > threshold.value:
            return f"holdout_scores: half of these good parts reach the threshold of {threshold.value:g}"
        if (threshold.bound is None) != (threshold.method == "normal_limit"):
            return f"threshold.bound: {threshold.method} has {'no' if threshold.bound is not None else 'a'} bound"
        if threshold.bound is not None and threshold.bound * (threshold.n + 1) < 1.0 - 1e-6:
            return f"threshold.bound: {threshold.n} good parts cannot guarantee {threshold.bound:g}"
        return None

    def _tolerance_fault(self, reference: Reference) -> str | None:
        """Return why the tolerance of a reference would let another model pass."""
        most = MAX_TOLERANCE * max(reference.score, self.threshold.value)
        if reference.tolerance <= most:
            return None
        return f"references: {reference.file}: a tolerance of {reference.tolerance:g}; at most {most:g} proves anything"

    @property
    def marking_value(self) -> float:
        """Map value from which a place on an NG part may be marked; format 1 took the threshold."""
        return self.threshold.value if self.marking is None else self.marking.value

    @property
    def typical_score(self) -> float:
        """Score of a typical good part; 0 where no held-out good part is known."""
        return typical_score(self.holdout_scores, self.threshold.value)

    @property
    def limits(self) -> Limits:
        """The values that a prediction of this bundle's model is compared with."""
        return Limits(self.threshold.value, self.marking_value, self.typical_score)

    def format_1_geometry(self, columns: int, rows: int) -> MapGeometry:
        """Return where the columns x rows cells of a format 1 model look: its manifest does not say, its making does.

        The backbones that TensorFlow trained ran with symmetric padding there, and look up and left of the middle of
        their cells (docs/decisions/0011). A map with heads, 4 pixels a cell, was taught its place by the masks.
        """
        config = self.training.get("recipe")
        backbone = config.get("backbone") if isinstance(config, dict) else None
        trained_by_tensorflow = str(backbone).startswith("tf_")
        shift = FORMAT_1_SHIFT_PX if trained_by_tensorflow and self.input.width / columns >= 8 else 0.0
        return MapGeometry.centred(columns, rows, self.input, shift)


def typical_score(goods: Sequence[float], threshold: float) -> float:
    """Return the median score of the held-out good parts that lie below the threshold, or 0 where there are none."""
    below = [score for score in goods if score < threshold]
    return max(0.0, statistics.median(below)) if below else 0.0


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose every byte was checked when it was opened."""

    path: Path
    manifest: Manifest
    digest: str  # sha256 of manifest.json, which holds the sha256 of every other file

    @property
    def title(self) -> str:
        """Name, version and the first 12 digits of the digest: what every row in the history carries."""
        return f"{self.manifest.name} {self.manifest.version} {self.digest[:12]}"

    def file(self, name: str) -> Path:
        """Path of one of the manifest's files."""
        return self.path / name


def sha256_file(path: Path) -> str:
    """sha256 of a file's content, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """sha256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Open a bundle after verifying all of it; raises BundleError naming the first thing that is wrong."""
    if not os.path.isdir(path):
        raise BundleError(f"{path}: no such bundle folder; give the folder that holds {MANIFEST}")
    try:
        raw, digest = _read_manifest(path)
        manifest = _parse_manifest(path, raw)
        _verify_files(path, manifest)
    except BundleError as error:
        raise BundleError(one_line(error, 1000)) from error  # a name in the bundle may hold a line feed, or be long
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}: {error.filename})") from error
    return Bundle(path, manifest, digest)


def bundle_folders(folder: Path, named: Iterable[Path] = ()) -> list[Path]:
    """Return the folders in `folder` that were meant as bundles, damaged ones among them, sorted by name.

    Such a folder holds a file of a manifest, or is named by one of the paths in `named`, a recipe's. Links and hidden
    folders are left out.
    """
    recipes = {os.path.realpath(path) for path in named}
    return sorted(
        one
        for one in (folder.iterdir() if folder.is_dir() else ())
        if one.is_dir() and not one.is_symlink() and not one.name.startswith(".")
        if os.path.realpath(one) in recipes or any((one / name).exists() for name in (MANIFEST, DIGEST, SIGNATURE))
    )


def read_digest(path: Path) -> str:
    """Return the digest that a bundle's folder claims, without verifying its files; raises BundleError."""
    try:
        return _read_manifest(path)[1]
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}: {error.filename})") from error


def read_promise(path: Path) -> Bundle:
    """Return what a bundle's folder says of itself, its files unverified: to be shown, never to judge with it.

    Raises BundleError.
    """
    try:
        raw, digest = _read_manifest(path)
        return Bundle(path, _parse_manifest(path, raw), digest)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}: {error.filename})") from error


def _read_manifest(path: Path) -> tuple[bytes, str]:
    for name in (MANIFEST, DIGEST):
        if not (path / name).is_file():
            raise BundleError(f"{path}: {name} is missing; copy the whole bundle again")
        if (path / name).stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path}: {name} is too large to be one; copy the whole bundle again")
    raw = (path / MANIFEST).read_bytes()
    digest = sha256_bytes(raw)
    if (path / DIGEST).read_bytes() != _digest_line(digest):
        raise BundleError(f"{path}: {MANIFEST} does not match {DIGEST}; the bundle was damaged, copy it again")
    return raw, digest


def _digest_line(digest: str) -> bytes:
    return f"{digest}  {MANIFEST}\n".encode()


def _parse_manifest(path: Path, raw: bytes) -> Manifest:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {MANIFEST} is not JSON ({error}); pack the bundle again") from None
    found = data.get("format") if isinstance(data, dict) else None
    if found not in READABLE or isinstance(found, bool):
        known = ", ".join(map(str, READABLE[:-1])) + f" and {READABLE[-1]}"
        raise BundleError(f"{path}: bundle format {found!r}, this Linewatch reads formats {known}; pack it again")
    try:
        return Manifest.model_validate_json(raw, strict=True)  # a true or a "0.3" is no number
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        what = first["msg"].removeprefix("Value error, ")
        raise BundleError(f"{path}: {MANIFEST}: {where}{what}; pack the bundle again") from None


def _verify_files(path: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BundleError(f"{path}: {MANIFEST} names {name!r}, outside the bundle; do not use this bundle")
    for name in (*MODELS, *(reference.file for reference in manifest.references)):
        if name not in manifest.files:
            raise BundleError(f"{path}: {name} is not listed in {MANIFEST}; pack the bundle again")
    present = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_symlink() or not p.is_dir()}
    for name in sorted(present - set(manifest.files) - {MANIFEST, DIGEST, SIGNATURE}):
        raise BundleError(f"{path}: {name} is not listed in {MANIFEST}; remove it or copy the bundle again")
    _refuse_odd(path / SIGNATURE)
    for name, expected in sorted(manifest.files.items()):
        if name not in present:
            raise BundleError(f"{path}: {name} is missing; copy the whole bundle again")
        if (path / name).is_symlink() or not (path / name).is_file():
            raise BundleError(f"{path}: {name} is not a plain file; copy the whole bundle again")
        if sha256_file(path / name) != expected:
            raise BundleError(f"{path}: {name} does not match its sha256; the bundle was damaged, copy it again")


def _refuse_odd(signature: Path) -> None:
    if not os.path.lexists(signature):
        return
    if signature.is_symlink() or not signature.is_file() or signature.stat().st_size > MAX_SIGNATURE_BYTES:
        raise BundleError(f"{signature.parent}: {SIGNATURE} is no file of signatures; copy the whole bundle again")


def write_bundle(target: Path, facts: dict[str, Any], files: dict[str, Path]) -> Bundle:
    """Write a bundle folder in one step: it is complete and verified, or it is not there.

    facts: the manifest without `format` and `files`; files: name inside the bundle -> file to copy.
    Raises BundleError when target exists: a finished bundle is never changed.
    """
    if target.exists():
        raise BundleError(f"{target}: exists already, and a bundle is never changed; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, source in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, draft / name)
        listed = {name: sha256_file(draft / name) for name in sorted(files)}
        written = FORMAT if facts.get("boxes") is None else FORMAT_BOXES
        manifest = _parse_manifest(target, to_json({"format": written, **facts, "files": listed}))
        raw = (manifest.model_dump_json(indent=2) + "\n").encode()
        (draft / MANIFEST).write_bytes(raw)
        (draft / DIGEST).write_bytes(_digest_line(sha256_bytes(raw)))
        open_bundle(draft)
        draft.chmod(0o755)
        sync_folder(draft)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return open_bundle(target)
