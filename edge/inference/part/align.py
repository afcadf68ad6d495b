"""Lay a frame over the reference to a fraction of a pixel, for parts that show the same thing at the same place.

The enhanced correlation coefficient (Evangelidis and Psarakis 2008), which light and contrast do not change, between
reduced grey pictures. It starts from where the part is already known to be about, and finds what is left.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from edge.core.types import Image
from edge.inference.part import Floats, PartNotFoundError, joined

LONGEST = 140  # reduced pixels that the region's longer side has, about; the search takes time by their number
FEWEST = 8  # reduced pixels that the shorter side keeps, where it has them
STEPS, SETTLED = 12, 1e-4  # of the search, at most, and the gain of correlation that ends it
BLUR = 5  # reduced pixels, odd: of the search's own filter
UPRIGHT = 0.98  # cosine of the turn from which on a part is turned upright before the search
EDGE = 12  # reduced pixels round the part that is turned upright
AROUND = 0.06  # of the region's longer side, that a frame is looked at beyond it

Box = tuple[NonNegativeInt, NonNegativeInt, PositiveInt, PositiveInt]
Grey = NDArray[np.uint8]


class Align(BaseModel):
    """Say what the region shows in the reference, and how far a part may be from where it is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: PositiveInt  # of the reference photo and of every frame, pixels
    height: PositiveInt
    box: Box = Field(strict=False)  # x, y, width, height of what is compared, reference pixels
    factor: PositiveInt  # pixels of a frame, along each side, in one reduced pixel
    picture: Annotated[str, Field(max_length=200_000)]  # the box's mean over good parts, reduced: grey PNG, base64
    least: Annotated[float, Field(ge=0.0, le=1.0)]  # correlation below which it is another thing
    reach_px: NonNegativeFloat  # of the box's corners from where they are looked for, frame pixels

    @model_validator(mode="after")
    def _picture_fits(self) -> Align:
        height, width = read_picture(self.picture).shape
        if (width, height) != (self.box[2] // self.factor, self.box[3] // self.factor):
            raise ValueError(f"the picture has {width}x{height} pixels, and the box reduced has another size")
        return self


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where the region of the reference lies in a frame."""

    matrix: Floats  # (2, 3): reference pixels -> frame pixels
    shift: float  # of the corner that moved farthest from where it was looked for, frame pixels
    likeness: float  # correlation with the reference, -1 to 1


def aligned(image: Image, align: Align, about: Floats) -> Alignment:
    """Find the region of the reference in an (H, W, 3) uint8 BGR frame of its size.

    about: (2, 3) reference pixels -> frame pixels, as far as it is known. Raises PartNotFoundError.
    """
    found = alignment(image, read_picture(align.picture), align.box, align.factor, about)
    if found is None or found.likeness < align.least:
        raise PartNotFoundError(
            "no part is found: what is there cannot be laid over the reference"
            if found is None
            else f"no part is found: what is there is {found.likeness:.2f} like the reference, "
            f"at least {align.least:.2f} is needed"
        )
    if found.shift > align.reach_px:
        raise PartNotFoundError(
            f"the part is too far: {found.shift:.0f} pixels from where good parts lie, "
            f"at most {align.reach_px:.0f} are known from them"
        )
    return found


def alignment(
    image: Image, picture: Grey, box: tuple[int, int, int, int], factor: int, about: Floats
) -> Alignment | None:
    """Return where a box of the reference lies in a frame, whatever its likeness; None where none can be found.

    picture: (h, w) uint8 grey, the box reduced by the factor, as `grey_of` gives it.
    """
    corners = corners_of(box)
    expected = corners @ about[:, :2].T + about[:, 2]
    left, top, right, bottom = _around(expected, image, factor)
    seen = grey_of(image, (left, top, right - left, bottom - top), factor)
    to_seen = _joined(_to_reduced((left, top), factor), about, _from_reduced((box[0], box[1]), factor))
    if about[0, 0] < UPRIGHT:  # turned upright first: the search knows turns of less than a quarter only
        edge = np.array([[1.0, 0.0, -EDGE], [0.0, 1.0, -EDGE]])
        upright = joined(to_seen, edge)
        size = picture.shape[1] + 2 * EDGE, picture.shape[0] + 2 * EDGE
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = np.asarray(cv2.warpAffine(seen, upright, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        start, back = -edge, upright
        start[:, :2] = np.eye(2)
    else:
        start, back = to_seen, np.eye(2, 3)
    found = _search(picture, seen, start)
    if found is None:
        return None
    likeness, there = found
    to_frame = joined(_from_reduced((left, top), factor), back)
    matrix = _joined(to_frame, there, _to_reduced((box[0], box[1]), factor))
    moved = corners @ matrix[:, :2].T + matrix[:, 2] - expected
    return Alignment(matrix, float(np.hypot(moved[:, 0], moved[:, 1]).max()), likeness)


def _search(picture: Grey, seen: Grey, start: Floats) -> tuple[float, Floats] | None:
    """Return the correlation and the (2, 3) matrix from the picture's pixels to those of what is seen, if any."""
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, SETTLED)
    everything = np.ones(seen.shape, np.uint8)
    try:
        likeness, there = cv2.findTransformECC(
            picture, seen, start.astype(np.float32), cv2.MOTION_EUCLIDEAN, stop, everything, BLUR
        )
    except cv2.error:  # it does not converge, or one of both shows nothing
        return None
    if not (math.isfinite(likeness) and np.isfinite(there).all()):
        return None
    return float(likeness), np.asarray(there, np.float64)


def grey_of(image: Image, box: tuple[int, int, int, int], factor: int) -> Grey:
    """Return a box of an (H, W, 3) uint8 BGR frame in grey, each factor x factor pixels averaged; the rest is cut."""
    x, y, width, height = box
    across, down = width // factor, height // factor
    grey = cv2.cvtColor(image[y : y + down * factor, x : x + across * factor], cv2.COLOR_BGR2GRAY)
    small = grey if factor == 1 else cv2.resize(grey, (across, down), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def factor_for(box: tuple[int, int, int, int]) -> int:
    """Return by how much a box is reduced: its shorter side keeps some rows, however long the other one is."""
    return max(1, min(round(max(box[2:]) / LONGEST), min(box[2:]) // FEWEST))


def corners_of(box: tuple[int, int, int, int]) -> Floats:
    """Return the corners of a box, (4, 2) x and y; a pixel's centre has whole coordinates."""
    x, y, width, height = box
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float64) - 0.5


def written_picture(grey: Grey) -> str:
    """Return an (h, w) uint8 grey picture as text."""
    done, png = cv2.imencode(".png", grey)
    if not done:
        raise ValueError("the picture cannot be written as PNG")
    return base64.b64encode(png.tobytes()).decode()


@lru_cache(maxsize=8)
def read_picture(text: str) -> Grey:
    """Return what `written_picture` wrote, (h, w) uint8; raises ValueError where it is none."""
    png = base64.b64decode(text, validate=True)
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    if found is None:
        raise ValueError("the picture is no PNG")
    return np.asarray(found, np.uint8)


def _around(corners: Floats, image: Image, factor: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the frame's pixels round the corners, at least a few reduced ones."""
    height, width = image.shape[:2]
    more = AROUND * float(np.ptp(corners, axis=0).max()) + BLUR * factor
    low = np.floor(np.clip(corners.min(axis=0) - more, 0, (width, height))).astype(int)
    high = np.ceil(np.clip(corners.max(axis=0) + more, 0, (width, height))).astype(int)
    low = np.maximum(np.minimum(low, high - 2 * BLUR * factor), 0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _from_reduced(origin: tuple[int, int], factor: int) -> Floats:
    """Return the (2, 3) matrix from reduced pixels to those of the picture that they were taken from."""
    middle = (factor - 1) / 2.0
    return np.array([[factor, 0.0, origin[0] + middle], [0.0, factor, origin[1] + middle]])


def _to_reduced(origin: tuple[int, int], factor: int) -> Floats:
    return np.asarray(cv2.invertAffineTransform(_from_reduced(origin, factor)), np.float64)


def _joined(last: Floats, middle: Floats, first: Floats) -> Floats:
    return joined(last, joined(middle, first))
