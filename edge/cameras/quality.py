"""Is this frame fit to be judged? Cheap enough for every part: a few thousand samples, never the whole picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from edge.config.station import QualityConfig
from edge.core.types import EdgeError, Frame, Image
from edge.inference.usable import WHITEST, unusable

THUMB = (64, 48)  # width, height of the picture that is compared with the commissioned one
TILE = 64  # edge of the nine full-resolution squares that sharpness is measured in
CLIPPED_MORE = 0.25  # share of white samples beyond the commissioned one
DIFFERENT = 24.0  # grey levels beyond the commissioned spread: this spot looks different
SAME_SCENE = 0.9  # correlation with the reference from which only exposure can have changed
TEXTURED = 4.0  # standard deviation of a reference that has something to recognise, grey levels
COLOURED = 6.0  # mean difference of red and blue from which a swap can be seen, grey levels
MAX_EXPOSURE_RANGE = 25.0  # grey levels between the darkest and the brightest picture
MAX_FOCUS_RATIO = 2.5  # between the sharpest and the least sharp picture
MAX_CHANGED = 0.25  # share of the picture that may differ from the median picture


class QualityError(EdgeError):
    """A baseline cannot be taken, read or written."""


@dataclass(frozen=True, slots=True)
class Look:
    """The features of a frame that are compared."""

    thumb: NDArray[np.float32]  # (48, 64, 3) BGR, grey levels
    grey: NDArray[np.float32]  # (48, 64)
    focus: float  # variance of the Laplacian of green
    exposure: float  # mean, grey levels
    clipped: float  # share of the picture that is white
    red_green: float  # mean of red minus green, grey levels
    blue_green: float


def _look(image: Image) -> Look:
    """Reduce an (H, W, 3) uint8 BGR frame to what is compared."""
    height, width = image.shape[:2]
    step = max(1, min(height // THUMB[1], width // THUMB[0]) // 3)
    thumb = cv2.resize(np.ascontiguousarray(image[::step, ::step]), THUMB, interpolation=cv2.INTER_AREA)
    return _look_of(np.asarray(thumb, dtype=np.float32), _focus(image))


def sight_of(image: Image) -> tuple[float, float, float]:
    """Return focus, exposure (mean grey level) and the white share of an (H, W, 3) uint8 BGR frame, as compared."""
    seen = _look(image)
    return seen.focus, seen.exposure, seen.clipped


def _look_of(thumb: NDArray[np.float32], focus: float) -> Look:
    """The same from a (48, 64, 3) BGR thumbnail in grey levels and a sharpness."""
    blue, green, red = (float(value) for value in cv2.mean(thumb)[:3])
    grey = np.asarray(thumb @ _GREY, dtype=np.float32)
    clipped = float((grey >= WHITEST).mean())
    return Look(thumb, grey, focus, (blue + green + red) / 3, clipped, red - green, blue - green)


def _focus(image: Image) -> float:
    """Variance of the Laplacian over a grid of nine squares (Pech-Pacheco 2000), not of all pixels."""
    height, width = image.shape[:2]
    edge = min(TILE, height, width)
    variances = []
    for y in (0.15, 0.5, 0.85):
        for x in (0.15, 0.5, 0.85):
            top, left = int(y * (height - edge)), int(x * (width - edge))
            tile = np.ascontiguousarray(image[top : top + edge, left : left + edge, 1])
            variances.append(float(cv2.meanStdDev(cv2.Laplacian(tile, cv2.CV_16S))[1].item()) ** 2)
    return sum(variances) / len(variances)


def _shift_px(reference: NDArray[np.float32], grey: NDArray[np.float32]) -> tuple[float, float]:
    """Return the shift of the second (48, 64) picture against the first, by phase correlation, in its pixels."""
    (dx, dy), _ = cv2.phaseCorrelate(reference.copy(), grey.copy(), _WINDOW)  # it may write to what it is given
    return float(dx), float(dy)


class Baseline(BaseModel):
    """The look of good parts at this station, written by `edge commission`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    format: Literal[1] = 1
    made_at: datetime
    camera: str
    frames: PositiveInt
    width: PositiveInt
    height: PositiveInt
    focus: PositiveFloat  # the least sharp of the commissioned pictures
    exposure: float
    clipped: float
    red_green: float
    blue_green: float
    move: float  # how far parts moved between the commissioned pictures, share of the width
    reference_png: str  # base64, 64x48 BGR
    spread_png: str  # the same: how far each spot was from the reference at most


def read_baseline(path: Path) -> Baseline | None:
    """The baseline of a recipe; None when it was never commissioned. Raises QualityError."""
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        words = " ".join(str(error).split())[:200]
        raise QualityError(f"{path}: the baseline cannot be read ({words}); run `edge commission` again") from None


def _encode_thumb(thumb: NDArray[np.float32]) -> str:
    """(48, 64, 3) grey levels as text for a Baseline."""
    _, data = cv2.imencode(".png", np.clip(np.rint(thumb), 0, 255).astype(np.uint8))
    return base64.b64encode(data.tobytes()).decode("ascii")


def _decode_thumb(text: str) -> NDArray[np.float32]:
    try:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error) as error:
        raise QualityError(f"the baseline's picture is damaged ({error}); run `edge commission` again") from None
    if image is None or image.shape != (THUMB[1], THUMB[0], 3):
        raise QualityError("the baseline's picture is damaged; run `edge commission` again")
    return np.asarray(image, dtype=np.float32)


def baseline_of(frames: Sequence[Frame], camera: str) -> Baseline:
    """Return the baseline of these frames; raises QualityError when they are not fit to be one."""
    for frame in frames:
        refused = frame.fault or unusable(frame.image)
        if refused:
            raise QualityError(f"frame {frame.seq} is not usable: {refused}")
    if len({frame.image.shape for frame in frames}) > 1:
        raise QualityError("the camera changes its resolution; set camera.width and camera.height")
    looks = [_look(frame.image) for frame in frames]
    thumbs = np.stack([seen.thumb for seen in looks])
    reference = _look_of(np.asarray(np.median(thumbs, axis=0), dtype=np.float32), 0.0)
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
        reference_png=_encode_thumb(reference.thumb),
        spread_png=_encode_thumb(np.abs(thumbs - reference.thumb).max(axis=0)),
    )


def _refuse_variety(looks: Sequence[Look], reference: Look) -> None:
    exposures = [seen.exposure for seen in looks]
    if max(exposures) - min(exposures) > MAX_EXPOSURE_RANGE:
        raise QualityError(
            f"the brightness varies from {min(exposures):.0f} to {max(exposures):.0f}; "
            "fix exposure and gain, and shut out daylight"
        )
    sharpest, dullest = max(seen.focus for seen in looks), min(seen.focus for seen in looks)
    if sharpest > MAX_FOCUS_RATIO * max(dullest, 1e-3):
        raise QualityError(
            f"the sharpness varies by a factor of {sharpest / max(dullest, 1e-3):.1f}; fix the focus, or stop the part"
        )
    for number, seen in enumerate(looks, 1):
        different = np.abs(seen.thumb - reference.thumb).max(axis=2) > DIFFERENT
        if different.mean() > MAX_CHANGED:
            raise QualityError(
                f"picture {number} differs from the others on {different.mean():.0%} of its area; "
                "show good parts of one product only, each in the same place"
            )


def _moves(looks: Sequence[Look], reference: Look) -> float:
    """Return the largest shift against the reference, as a share of the width."""
    if reference.grey.std() < TEXTURED:
        return 0.0
    return max(float(np.hypot(*_shift_px(reference.grey, seen.grey))) for seen in looks) / THUMB[0]


class FrameCheck:
    """Refuses frames that must not be judged, and remembers why: a camera's fault is not a part's defect."""

    def __init__(self, baseline: Baseline | None, limits: QualityConfig) -> None:
        """Without a baseline only frames that show nothing, and those that the capture marked, are refused."""
        self.fault: str | None = None  # of the last frame
        self.baseline = baseline
        self.commissioned = baseline is not None
        self._comparison = None if baseline is None else Comparison(baseline, limits)

    def refusal(self, frame: Frame) -> str | None:
        """Return in one line why this frame is not fit to be judged; None when it is."""
        self.fault = frame.fault or unusable(frame.image)
        if self.fault is None and self._comparison is not None:
            self.fault = self._comparison.difference(frame.image)
        return self.fault


class Comparison:
    """One baseline, ready to be compared with."""

    def __init__(self, baseline: Baseline, limits: QualityConfig) -> None:
        self._baseline = baseline
        self._limits = limits
        self._reference = _look_of(_decode_thumb(baseline.reference_png), baseline.focus)
        self._spread = _decode_thumb(baseline.spread_png) + DIFFERENT
        reference = self._reference.thumb
        self._coloured = float(np.abs(reference[..., 2] - reference[..., 0]).mean()) >= COLOURED
        self._textured = float(self._reference.grey.std()) >= TEXTURED

    def difference(self, image: Image) -> str | None:
        """Return what is wrong with the frame, the most telling first; None when it looks as commissioned."""
        height, width = image.shape[:2]
        known = self._baseline
        if (width, height) != (known.width, known.height):
            return f"the frame is {width}x{height}, commissioned was {known.width}x{known.height}; commission again"
        seen = _look(image)
        if seen.clipped > known.clipped + CLIPPED_MORE:
            return f"over-exposed: {seen.clipped:.0%} of the frame is white; check exposure and light"
        return (
            self._swapped(seen) or self._moved(seen) or self._covered(seen) or self._toned(seen) or self._blurred(seen)
        )

    def _swapped(self, seen: Look) -> str | None:
        """Red and blue in each other's place, as after a driver's change of pixel format."""
        if not self._coloured:
            return None
        as_is = cv2.norm(seen.thumb, self._reference.thumb, cv2.NORM_L1)
        swapped = cv2.norm(np.ascontiguousarray(seen.thumb[..., ::-1]), self._reference.thumb, cv2.NORM_L1)
        if swapped < 0.6 * as_is:
            return "red and blue are swapped; check the camera's pixel format"
        return None

    def _moved(self, seen: Look) -> str | None:
        """Phase correlation proposes a shift; it counts when undoing it brings the reference back."""
        if not self._textured:
            return None
        dx, dy = _shift_px(self._reference.grey, seen.grey)
        share = float(np.hypot(dx, dy)) / THUMB[0]
        if share <= max(self._limits.max_move, 2 * self._baseline.move):
            return None
        back = np.asarray([[1, 0, -dx], [0, 1, -dy]], dtype=np.float32)
        undone = cv2.warpAffine(seen.grey, back, THUMB, borderMode=cv2.BORDER_REPLICATE)
        if np.abs(undone - self._reference.grey).mean() > 0.6 * np.abs(seen.grey - self._reference.grey).mean():
            return None
        return f"the view moved by {share:.0%} of its width; check the camera's mount, or commission again"

    def _covered(self, seen: Look) -> str | None:
        difference = seen.thumb - self._reference.thumb
        difference -= np.median(difference.reshape(-1, 3), axis=0)  # a change of the light is not a cover
        changed = float((np.abs(difference) > self._spread).any(axis=2).mean())
        if changed <= self._limits.max_changed or (self._textured and self._alike(seen)):
            return None
        return f"{changed:.0%} of the frame looks different: the view is covered, or this is another product"

    def _alike(self, seen: Look) -> bool:
        if seen.grey.std() < 1:
            return False
        return float(np.corrcoef(seen.grey.ravel(), self._reference.grey.ravel())[0, 1]) > SAME_SCENE

    def _toned(self, seen: Look) -> str | None:
        known, shift = self._baseline, seen.exposure - self._baseline.exposure
        if abs(shift) > self._limits.max_exposure_shift:
            word = "over" if shift > 0 else "under"
            return f"{word}-exposed: mean {seen.exposure:.0f}, commissioned {known.exposure:.0f}; check light, exposure"
        most = max(abs(seen.red_green - known.red_green), abs(seen.blue_green - known.blue_green))
        if most > self._limits.max_colour_shift:
            return f"the colours moved by {most:.0f} grey levels; check light and white balance"
        return None

    def _blurred(self, seen: Look) -> str | None:
        share = seen.focus / self._baseline.focus
        if share < self._limits.min_focus:
            return f"out of focus: {share:.0%} of the commissioned sharpness; check lens, dirt and distance"
        return None


_GREY = np.full(3, 1 / 3, np.float32)
_WINDOW = cv2.createHanningWindow(THUMB, cv2.CV_32F)
