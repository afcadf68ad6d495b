"""Where a defect is, as strokes of a finger: checked when they come, drawn when they are exported.

A mask is JSON: a list of strokes, each a list of the brush's width and the points x, y, x, y, ... All are whole
numbers in ten-thousandths of the picture: of its width for the brush and for x, of its height for y.
"""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import EdgeError

WHOLE = 10_000
MOST_STROKES = 64
WIDEST = 2_000


class MaskError(EdgeError):
    """A mask that is none."""


def checked_mask(text: str) -> str:
    """Return the mask in its shortest form, empty for no mask; raises MaskError."""
    if not text:
        return ""
    try:
        strokes = json.loads(text)
    except (ValueError, RecursionError):
        raise MaskError("is no JSON; draw it again") from None
    if not isinstance(strokes, list) or len(strokes) > MOST_STROKES or not all(map(_is_stroke, strokes)):
        raise MaskError(f"must be at most {MOST_STROKES} strokes of [width, x, y, ...]; draw it again")
    return json.dumps(strokes, separators=(",", ":")) if strokes else ""


def _is_stroke(stroke: Any) -> bool:
    if not isinstance(stroke, list) or len(stroke) < 3 or len(stroke) % 2 == 0:
        return False
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in stroke)
    return whole and 1 <= stroke[0] <= WIDEST and all(0 <= value <= WHOLE for value in stroke[1:])


def drawn_mask(text: str, width: int, height: int) -> NDArray[np.uint8]:
    """Return a checked mask as (height, width) uint8: 255 where a finger was, 0 elsewhere."""
    mask = np.zeros((height, width), np.uint8)
    scale = np.array([width, height]) / WHOLE
    for brush, *flat in json.loads(text or "[]"):
        points = np.round(np.array(flat).reshape(-1, 2) * scale).astype(np.int32)
        thickness = max(1, round(brush * width / WHOLE))
        cv2.polylines(mask, [points], False, 255, thickness)
        for x, y in points[[0, -1]]:  # a tap is a dot
            cv2.circle(mask, (int(x), int(y)), thickness // 2, 255, -1)
    return mask
