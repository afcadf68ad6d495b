"""Where is the part? What stands out in a photo against the background that its border shows, and how it is turned.

A part that moves is found by the moments of its silhouette, and its turn by circular correlation in polar coordinates
with the reference photo (docs/decisions/0015). All of it runs on a reduced photo.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt

from edge.core.types import EdgeError, Image

REDUCED_PX = 160  # about so many pixels on the longer side are looked at
RING = 3  # reduced pixels along the edge of the photo that show the background
PLAINEST = 16.0  # grey levels: what differs less from the background does not stand out, however plain that is
SPREADS = 6.0  # standard deviations of the background from which on something stands out
SPECK = 0.05  # share of the largest area below which something else is dirt
MAD = 1.4826  # standard deviations of a normal distribution in a median absolute deviation

ANGLES, RADII = 180, 32  # samples of a part in polar coordinates: one every two degrees
AROUND = 1.1  # of the part's farthest point: the circle that is looked at
STEP = 42.0  # signal of one standard deviation of the part's grey values
LIKELY = 0.97  # of the best turn's correlation: a smaller turn that reaches it is taken, for parts that repeat

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
By = Literal["outline", "picture"]


class PartNotFoundError(EdgeError):
    """A frame in which the part is not found where it may be."""


class Follow(BaseModel):
    """Say how the part is found in a frame: its place and its look in the reference photo, and how far it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: PositiveInt  # of the reference photo and of every frame, pixels
    height: PositiveInt
    centre: tuple[FiniteFloat, FiniteFloat] = Field(strict=False)  # of the part, x, y, reference pixels
    radius: PositiveFloat  # of the circle round the part that is compared, reference pixels
    by: By  # what is compared: the silhouette, or the grey values inside it
    turn: bool  # the region turns with the part; false: it only moves
    signal: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/=]{7680}$")]  # (ANGLES, RADII) int8, base64
    least: Annotated[float, Field(ge=0.0, le=1.0)]  # correlation below which it is another thing
    reach_px: NonNegativeFloat  # from the reference, frame pixels
    reach_deg: NonNegativeFloat


@dataclass(frozen=True, slots=True)
class PartPose:
    """The part's place in a frame, relative to the reference photo."""

    matrix: Floats  # (2, 3): reference pixels -> frame pixels
    shift: float  # of the part's centre, frame pixels
    turn: float  # degrees, clockwise as seen, -180 to 180
    likeness: float  # correlation with the reference, -1 to 1


def locate(image: Image, follow: Follow) -> PartPose:
    """Find the part in an (H, W, 3) uint8 BGR frame of the reference's size; raises PartNotFoundError."""
    small = reduced(image)
    found = silhouette(small)
    if not found.any():
        raise PartNotFoundError("no part is found: nothing stands out against the background")
    if found[0].any() or found[-1].any() or found[:, 0].any() or found[:, -1].any():
        raise PartNotFoundError("the part is not whole: it reaches the edge of the picture")
    pose = pose_of(small, found, follow)
    if pose.likeness < follow.least:
        raise PartNotFoundError(
            f"no part is found: what stands out is {pose.likeness:.2f} like the part, "
            f"at least {follow.least:.2f} is needed"
        )
    if pose.shift > follow.reach_px or abs(pose.turn) > follow.reach_deg:
        raise PartNotFoundError(
            f"the part is too far: {pose.shift:.0f} pixels and {abs(pose.turn):.0f} degrees from the reference, "
            f"at most {follow.reach_px:.0f} and {follow.reach_deg:.0f} are known from good parts"
        )
    return pose


def joined(outer: Floats, inner: Floats) -> Floats:
    """Return the (2, 3) matrix that does what inner does, and then what outer does."""
    return np.asarray(outer @ np.vstack([inner, [0.0, 0.0, 1.0]]), np.float64)


def pose_of(small: Image, found: Mask, follow: Follow) -> PartPose:
    """Return the place of what was found in a reduced frame, whatever it is."""
    scale = follow.width / small.shape[1]
    middle = centre_of(found)
    seen = polar(small, found, middle, follow.radius / scale, follow.by)
    turn, likeness = _turn(_reference(follow.signal), seen, follow.turn)
    angle = math.radians(turn)
    matrix = np.array([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
    centre = (middle + 0.5) * scale - 0.5
    matrix[:, 2] = centre - matrix[:, :2] @ follow.centre
    return PartPose(matrix, float(math.dist(centre, follow.centre)), turn, likeness)


def centre_of(found: Mask) -> Floats:
    """Return the centre of mass, x and y, of an (h, w) mask that marks something."""
    moments = cv2.moments(found.view(np.uint8), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]


def polar(small: Image, found: Mask, centre: Floats, radius: float, by: By) -> NDArray[np.int8]:
    """Return what is compared, (ANGLES, RADII) int8: the silhouette, or the grey values in it, standardised."""
    if by == "outline":
        plane = np.where(found, np.float32(3.0), np.float32(-3.0))
    else:
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        mean, spread = cv2.meanStdDev(grey, mask=found.view(np.uint8))
        plane = np.where(found, (grey - np.float32(mean[0, 0])) / np.float32(max(spread[0, 0], 1.0)), np.float32(0.0))
    flags = cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    seen = cv2.warpPolar(plane, (RADII, ANGLES), (float(centre[0]), float(centre[1])), radius, flags)
    return np.asarray(np.clip(np.rint(seen * STEP), -127, 127), np.int8)


@lru_cache(maxsize=8)
def _reference(signal: str) -> NDArray[np.int8]:
    return np.frombuffer(base64.b64decode(signal), np.int8).reshape(ANGLES, RADII)


def _turn(reference: NDArray[np.int8], seen: NDArray[np.int8], may_turn: bool) -> tuple[float, float]:
    """Return by how many degrees the reference is turned to look like what is seen, and how like it then is."""
    weight = np.sqrt(np.arange(RADII) + 1.0)  # a ring's length
    one, other = reference * weight, seen * weight
    size = math.sqrt(float((one**2).sum() * (other**2).sum())) or 1.0
    if not may_turn:
        return 0.0, float((one * other).sum()) / size
    product = (np.conj(np.fft.rfft(one, axis=0)) * np.fft.rfft(other, axis=0)).sum(axis=1)
    whole = np.fft.irfft(product, ANGLES)
    varying = whole - whole.mean()  # what is alike at every turn says nothing of it
    best = int(varying.argmax())
    peaks = (varying >= np.roll(varying, 1)) & (varying >= np.roll(varying, -1)) & (varying >= LIKELY * varying[best])
    signed = (np.flatnonzero(peaks) + ANGLES // 2) % ANGLES - ANGLES // 2
    at = int(signed[np.abs(signed).argmin()])
    before, top, after = (float(varying[(at + side) % ANGLES]) for side in (-1, 0, 1))
    bend = before - 2.0 * top + after
    between = 0.5 * (before - after) / bend if bend < 0 else 0.0  # the summit of the parabola through three samples
    turn = (at + between) * 360.0 / ANGLES  # the summit may lie beyond a half turn, which is the other way round
    return (turn + 180.0) % 360.0 - 180.0, float(whole[at]) / size


def reduced(image: Image) -> Image:
    """Return an (H, W, 3) uint8 photo about REDUCED_PX pixels long; a photo of up to twice that size stays as it is.

    Rows and columns are left out first, as long as each result is still the mean of several samples.
    """
    factor = max(image.shape[:2]) // REDUCED_PX
    if factor < 2:
        return image
    step = max(1, factor // 3)
    height, width = (round(side / factor) for side in image.shape[:2])
    rows = image[step // 2 :: step, step // 2 :]
    columns = -(-rows.shape[1] // step), rows.shape[0]
    sampled = cv2.resize(rows, columns, interpolation=cv2.INTER_NEAREST)  # a fifth of the time of numpy's slices
    return np.asarray(cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def silhouette(small: Image) -> Mask:
    """Return what stands out in an (h, w, 3) uint8 reduced photo, (h, w), holes filled, specks left out.

    The border's pixels give the background: a smooth one, quadratic in x and y, so that a light that falls off to the
    sides is no part. A pixel stands out where a colour differs by SPREADS robust standard deviations of the border.
    """
    height, width = small.shape[:2]
    basis, ring = _basis(height, width)
    shape, border = basis[ring], small.reshape(-1, 3)[ring].astype(np.float32)
    off = np.abs(border - np.median(border, axis=0)).max(axis=1)
    fit = np.zeros((basis.shape[1], 3), np.float32)
    for _ in range(2):  # what reaches into the border is left out of the fit
        near = (off <= max(3.0 * MAD * float(np.median(off)), PLAINEST / 2))[:, np.newaxis] * shape
        fit = np.linalg.lstsq(near.T @ shape, near.T @ border, rcond=None)[0]  # the normal equations: 5 x 5
        off = np.abs(border - shape @ fit).max(axis=1)
    level = max(PLAINEST, SPREADS * MAD * float(np.median(off)))
    background = np.clip(basis @ fit, 0.0, 255.0).astype(np.uint8).reshape(small.shape)
    alike = cv2.inRange(cv2.absdiff(small, background), (0, 0, 0), (level, level, level))
    return _filled(np.asarray(alike == 0).view(np.uint8))


@lru_cache(maxsize=8)
def _basis(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return 1, x, y, x^2, y^2 of every pixel, (h * w, 5), and the numbers of those on the border."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    ring = np.ones((height, width), np.bool_)
    ring[RING:-RING, RING:-RING] = False
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y], axis=-1).reshape(-1, 5)
    return basis.astype(np.float32), np.flatnonzero(ring)


def _filled(found: NDArray[np.uint8]) -> Mask:
    """Return the larger areas of an (h, w) 0/1 mask, each closed and without holes."""
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(outline) for outline in outlines]
    largest = max(areas, default=0.0)
    kept = [outline for outline, area in zip(outlines, areas, strict=True) if area >= SPECK * largest]
    filled = np.zeros(found.shape, np.uint8)
    cv2.drawContours(filled, kept, -1, 1, cv2.FILLED)
    return filled > 0
