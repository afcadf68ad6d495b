"""`edge commission`: what pictures of good parts look like at this station, so that a changed view is noticed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from edge.cameras import make_camera, repeats_mean_frozen
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.quality import (
    DIFFERENT,
    TEXTURED,
    THUMB,
    Baseline,
    Look,
    encode_thumb,
    look,
    look_of,
    shift_px,
    unusable,
)
from edge.config.station import DEFAULT_RECIPE, StationConfig
from edge.core.files import own_folders, write_atomically
from edge.core.types import EdgeError, Frame

FIRST_FRAME_WITHIN_S = 10.0
NEXT_FRAME_WITHIN_S = 5.0
MAX_EXPOSURE_RANGE = 25.0  # grey levels between the darkest and the brightest picture
MAX_FOCUS_RATIO = 2.5  # between the sharpest and the least sharp picture
MAX_CHANGED = 0.25  # share of the picture that may differ from the median picture


class CommissionError(EdgeError):
    """No baseline could be taken."""


def commission(config: StationConfig, recipe: str, frames: int, seconds: float) -> Baseline:
    """Grab so many frames spread over so many seconds and store the baseline of a recipe.

    Raises CommissionError when the recipe is unknown, a frame is not usable or frames differ too much,
    CameraError's words when the camera is in fault, EdgeError while the engine runs.
    """
    if recipe not in config.bundles:
        raise CommissionError(f"no recipe {recipe!r}; station.toml has {', '.join(config.bundles)}")
    try:
        with own_folders(config.state_dir, config.run_dir):
            grabbed, camera = _grab(config, frames, seconds)
            baseline = baseline_of(grabbed, camera)
            write_atomically(config.baseline(recipe), baseline.model_dump_json(indent=1).encode())
    except OSError as error:
        raise CommissionError(f"{error.filename or config.state_dir}: {error.strerror or error}") from error
    return baseline


def _grab(config: StationConfig, count: int, seconds: float) -> tuple[list[Frame], str]:
    slot = FrameSlot()
    frozen_after = config.quality.frozen_frames if repeats_mean_frozen(config.camera) else 0
    capture = Capture(make_camera(config.camera), slot, frozen_after)
    capture.start()
    grabbed: list[Frame] = []
    began, wait_s = time.monotonic(), FIRST_FRAME_WITHIN_S
    try:
        while len(grabbed) < count:
            frame = slot.newer_than(time.monotonic(), wait_s)
            if frame is None:
                raise CommissionError(f"the camera is in fault: {capture.status().detail or 'no frame'}")
            wait_s = NEXT_FRAME_WITHIN_S
            grabbed.append(frame)
            due = began + len(grabbed) * seconds / count
            time.sleep(max(0.0, due - time.monotonic()))
        return grabbed, capture.camera.describe()
    finally:
        capture.stop()


def baseline_of(frames: Sequence[Frame], camera: str) -> Baseline:
    """The baseline of these frames; raises CommissionError when they are not fit to be one."""
    for frame in frames:
        refused = frame.fault or unusable(frame.image)
        if refused:
            raise CommissionError(f"frame {frame.seq} is not usable: {refused}")
    if len({frame.image.shape for frame in frames}) > 1:
        raise CommissionError("the camera changes its resolution; set camera.width and camera.height")
    looks = [look(frame.image) for frame in frames]
    thumbs = np.stack([seen.thumb for seen in looks])
    reference = look_of(np.asarray(np.median(thumbs, axis=0), dtype=np.float32), 0.0)
    _refuse_variety(looks, reference)
    height, width = frames[0].image.shape[:2]
    return Baseline(
        made_at=datetime.now(UTC),
        camera=camera,
        frames=len(frames),
        width=width,
        height=height,
        focus=max(min(seen.focus for seen in looks), 1e-3),
        exposure=reference.exposure,
        clipped=max(seen.clipped for seen in looks),
        red_green=reference.red_green,
        blue_green=reference.blue_green,
        move=_moves(looks, reference),
        reference_png=encode_thumb(reference.thumb),
        spread_png=encode_thumb(np.abs(thumbs - reference.thumb).max(axis=0)),
    )


def _refuse_variety(looks: Sequence[Look], reference: Look) -> None:
    exposures = [seen.exposure for seen in looks]
    if max(exposures) - min(exposures) > MAX_EXPOSURE_RANGE:
        raise CommissionError(
            f"the brightness varies from {min(exposures):.0f} to {max(exposures):.0f}; "
            "fix exposure and gain, and shut out daylight"
        )
    sharpest, dullest = max(seen.focus for seen in looks), min(seen.focus for seen in looks)
    if sharpest > MAX_FOCUS_RATIO * max(dullest, 1e-3):
        raise CommissionError(
            f"the sharpness varies by a factor of {sharpest / max(dullest, 1e-3):.1f}; fix the focus, or stop the part"
        )
    for number, seen in enumerate(looks, 1):
        different = np.abs(seen.thumb - reference.thumb).max(axis=2) > DIFFERENT
        if different.mean() > MAX_CHANGED:
            raise CommissionError(
                f"picture {number} differs from the others on {different.mean():.0%} of its area; "
                "show good parts of one product only, each in the same place"
            )


def _moves(looks: Sequence[Look], reference: Look) -> float:
    """The largest shift against the reference, as a share of the width."""
    if reference.grey.std() < TEXTURED:
        return 0.0
    return max(float(np.hypot(*shift_px(reference.grey, seen.grey))) for seen in looks) / THUMB[0]


def words(baseline: Baseline, recipe: str) -> str:
    """One line for the person who commissioned."""
    which = "" if recipe == DEFAULT_RECIPE else f" for {recipe}"
    return (
        f"commissioned{which}: {baseline.frames} frames of {baseline.camera}, {baseline.width}x{baseline.height}, "
        f"sharpness {baseline.focus:.0f}, brightness {baseline.exposure:.0f}"
    )
