"""`edge commission`: store how pictures of good parts look at this station, so that a changed view is noticed."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.cameras import make_camera, repeats_mean_frozen
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.commission import grab
from edge.cameras.quality import Baseline, baseline_of
from edge.commands import CommandError
from edge.commands.latency import commission_latency
from edge.config.load import load_config
from edge.config.station import DEFAULT_RECIPE, ConfigError, StationConfig
from edge.core.files import own_folders, write_atomically
from edge.core.types import Frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml")
    parser.add_argument("--frames", type=int, default=20, metavar="N", help="how many pictures (20)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="over how long (5)")
    parser.add_argument("--latency", action="store_true", help="measure a stream's latency by a light instead")
    parser.add_argument("--flash", metavar="COMMAND", help="switches that light with on or off as its last word")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, metavar="NAME", help="of which recipe (default)")


def run(arguments: argparse.Namespace) -> int:
    """Store a baseline, or a stream's latency, and print one line about it; returns the exit status."""
    if arguments.latency:
        print(commission_latency(load_config(arguments.config), arguments.flash))
        return 0
    if arguments.flash is not None:
        raise ConfigError("--flash belongs to --latency; give both")
    if not 2 <= arguments.frames <= 1000 or not 0 <= arguments.seconds <= 3600:
        raise ConfigError("commission takes 2 to 1000 --frames and 0 to 3600 --seconds")
    baseline = _commission(load_config(arguments.config), arguments.recipe, arguments.frames, arguments.seconds)
    print(_words(baseline, arguments.recipe))
    return 0


def _commission(config: StationConfig, recipe: str, frames: int, seconds: float) -> Baseline:
    """Grab so many frames spread over so many seconds and store the baseline of a recipe.

    Raises CommandError when the recipe is unknown or the camera is in fault, QualityError when a frame is not
    usable or frames differ too much, EdgeError while the engine runs.
    """
    if recipe not in config.bundles:
        raise CommandError(f"no recipe {recipe!r}; station.toml has {', '.join(config.bundles)}")
    try:
        with own_folders(config.state_dir, config.run_dir):
            grabbed, camera = _grab(config, frames, seconds)
            baseline = baseline_of(grabbed, camera)
            write_atomically(config.baseline(recipe), baseline.model_dump_json(indent=1).encode())
    except OSError as error:
        raise CommandError(f"{error.filename or config.state_dir}: {error.strerror or error}") from error
    return baseline


def _grab(config: StationConfig, count: int, seconds: float) -> tuple[list[Frame], str]:
    slot = FrameSlot()
    frozen_after = config.quality.frozen_frames if repeats_mean_frozen(config.camera) else 0
    capture = Capture(make_camera(config.camera), slot, frozen_after)
    capture.start()
    try:
        grabbed = grab(slot, count, seconds, lambda: capture.status().detail)
        return grabbed, capture.camera.describe()
    finally:
        capture.stop()


def _words(baseline: Baseline, recipe: str) -> str:
    """Return one line for the person who commissioned."""
    which = "" if recipe == DEFAULT_RECIPE else f" for {recipe}"
    return (
        f"commissioned{which}: {baseline.frames} frames of {baseline.camera}, {baseline.width}x{baseline.height}, "
        f"sharpness {baseline.focus:.0f}, brightness {baseline.exposure:.0f}"
    )
