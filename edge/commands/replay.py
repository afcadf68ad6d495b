"""`edge replay`: judge the stored picture of one inspection again; the score must be the same."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from edge.commands import CommandError
from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.types import Image, Inspection
from edge.history.eventlog import EventLog
from edge.history.pictures import INPUT, picture_path
from edge.inference.bundle import MANIFEST, Bundle, open_bundle, sha256_file
from edge.inference.detector import Detector
from edge.inference.preprocess import load_image
from edge.inference.runtimes import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
    parser.add_argument("id", type=int, metavar="ID", help="of the inspection")
    parser.add_argument("--tolerance", type=float, default=0.0, metavar="T", help="allowed difference (0)")


def run(arguments: argparse.Namespace) -> int:
    """Judge one inspection again and print one line; returns the exit status."""
    print(replay(load_config(arguments.config), arguments.id, arguments.tolerance))
    return 0


def replay(config: StationConfig, inspection_id: int, tolerance: float = 0.0) -> str:
    """Run the stored input of the model through the bundle that judged it; returns one line.

    tolerance: how far the scores may differ; the same CPU gives exactly the same. Raises CommandError when
    they differ by more, or the row, its picture or its bundle is not there.
    """
    row = _row(config, inspection_id)
    bundle = _bundle(config, row)
    tensor = _tensor(config, inspection_id)
    settings = Settings(config.inspection.threads)
    detector = Detector.from_bundle(bundle, config.inspection.runtime, settings=settings)
    score = detector.predict_prepared(tensor).score
    stored = row.score
    if stored is None or not abs(score - stored) <= tolerance:
        raise CommandError(
            f"inspection {inspection_id}: scores {score!r} now, {stored!r} is stored; on another CPU or runtime give "
            "--tolerance, on the same one the picture, the model or the row was changed"
        )
    same = "exactly" if score == stored else f"within {tolerance:g}"
    return f"inspection {inspection_id}: {bundle.title} gives {score!r} again, {same} the stored score"


def _row(config: StationConfig, inspection_id: int) -> Inspection:
    events = EventLog(config.events_db, read_only=True)
    try:
        row = events.get(inspection_id)
    finally:
        events.close()
    if row is None:
        raise CommandError(f"inspection {inspection_id}: no such row in {config.events_db}; see `edge log`")
    if row.score is None:
        raise CommandError(
            f"inspection {inspection_id}: {row.verdict}/{row.reason}, the model gave no score to compare"
        )
    return row


def _bundle(config: StationConfig, row: Inspection) -> Bundle:
    """Return the station's bundle whose digest the row carries."""
    for path in config.bundles.values():
        manifest = path / MANIFEST
        if row.bundle_digest and manifest.is_file() and sha256_file(manifest).startswith(row.bundle_digest):
            return open_bundle(path)
    raise CommandError(
        f"inspection {row.id}: judged by {row.bundle!r}, which is no bundle of this station now; "
        "name its folder under [recipes] in the station.toml that you give"
    )


def _tensor(config: StationConfig, inspection_id: int) -> Image:
    path = picture_path(config.images_dir, inspection_id, INPUT)
    if not path.is_file():
        raise CommandError(f"inspection {inspection_id}: {path} is not kept any more; see [storage] in station.toml")
    rgb = cv2.cvtColor(load_image(path), cv2.COLOR_BGR2RGB)
    return np.asarray(rgb, dtype=np.uint8)[np.newaxis]
