"""The heatmap: what the model marks on a part, drawn so that the flaw itself stays visible."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import AnomalyMap, Image, Limits, Region, Verdict
from edge.inference.decision import mark

# Colours from the marking value to the top, (R, G, B). Blue and violet are the hues that grey metal, paper, green
# boards and baked goods lack, and that people who confuse red and green still tell from them; the lightness rises,
# so that the order is kept on a grey print.
RAMP = ((34, 60, 255), (120, 50, 255), (206, 70, 255), (255, 130, 245))
TOP = 5.0  # distance from a typical good part (1 is the threshold) at which the colours end, for every image alike
FAINT, STRONG = 0.15, 0.4  # opacity where the paint begins and where the colours end
SPOKEN = 0.25  # value of a class map from which on it is painted: nothing, where the part looks good to the head
CSS_STOPS = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in RAMP)

Box = tuple[int, int, int, int]


def overlay(
    image: Image,
    anomaly_map: AnomalyMap,
    limits: Limits,
    box: Box,
    verdict: Verdict,
    boxes: Sequence[Region] | None = None,
) -> Image:
    """Draw the heatmap over a copy of an (H, W, 3) uint8 BGR frame; box: the inspected rectangle, frame pixels.

    Nothing is painted below the marking value, which good parts hardly reach. From there on the colours follow the
    distance to a typical good part on a scale that is the same for every image. Only an NG part gets outlines: they
    are those of its regions. boxes: the regions of a model that locates by boxes, drawn with their types in place of
    outlines of the map; None for any other model.
    """
    x, y, width, height = box
    painted = image.copy()
    part = painted[y : y + height, x : x + width]
    _paint(part, shares(_enlarged(anomaly_map, width, height), limits))
    if verdict is Verdict.NG and boxes is None:
        _outline(part, anomaly_map, limits)
    for region in reversed(boxes or ()) if verdict is Verdict.NG else ():
        _frame(painted, region)
    return painted


def class_overlay(image: Image, class_map: AnomalyMap, box: Box) -> Image:
    """Draw what speaks for a defective part over a copy of an (H, W, 3) uint8 BGR frame, in the heatmap's colours.

    class_map: (h, w) 0..1 of a Prediction; box: the rectangle that it covers, frame pixels. What is below SPOKEN or
    not finite is not painted.
    """
    x, y, width, height = box
    painted = image.copy()
    said = np.nan_to_num(class_map, posinf=0.0, neginf=0.0).astype(np.float32)
    share = np.clip((_enlarged(said, width, height) - SPOKEN) / (1.0 - SPOKEN), 0.0, 1.0)
    _paint(painted[y : y + height, x : x + width], np.asarray(share, np.float32))
    return painted


def shares(level: AnomalyMap, limits: Limits) -> NDArray[np.float32]:
    """Return where values lie on the colour scale: 0 at and below the marking value, 1 at and above the top."""
    top = max(limits.typical + TOP * (limits.threshold - limits.typical), limits.marking * (1 + 1e-6), 1e-9)
    scaled = (level - np.float32(limits.marking)) / np.float32(max(top - limits.marking, 1e-9))
    return np.asarray(np.clip(scaled, 0.0, 1.0), np.float32)


def _paint(part: Image, share: NDArray[np.float32]) -> None:
    """Paint the ramp into the part by (height, width) shares of the colour scale; nothing where the share is 0."""
    colours = cv2.applyColorMap(cv2.convertScaleAbs(share, alpha=255.0), _lookup_table())
    opacity = np.where(share > 0, FAINT + (STRONG - FAINT) * share, 0.0).astype(np.float32)
    part[:] = cv2.blendLinear(np.ascontiguousarray(part), colours, 1.0 - opacity, opacity)


def _outline(part: Image, anomaly_map: AnomalyMap, limits: Limits) -> None:
    """Draw each region's outline into the part: white between two black lines, which shows on any ground."""
    height, width = part.shape[:2]
    marked = (mark(anomaly_map, limits) > 0).astype(np.float32)
    inside = (_enlarged(marked, width, height) >= 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    thickness = max(1, round(max(width, height) / 400))
    cv2.drawContours(part, outlines, -1, (0, 0, 0), thickness + 2)
    cv2.drawContours(part, outlines, -1, (255, 255, 255), thickness)


def _frame(image: Image, region: Region) -> None:
    """Draw a box and its type into the frame: white on black, which shows on any ground; the type above the box."""
    height, width = image.shape[:2]
    thickness = max(1, round(max(width, height) / 400))
    first, last = (region.x, region.y), (region.x + region.w - 1, region.y + region.h - 1)
    cv2.rectangle(image, first, last, (0, 0, 0), thickness + 2)
    cv2.rectangle(image, first, last, (255, 255, 255), thickness)
    scale = max(0.35, max(width, height) / 1400)  # smaller letters cannot be read
    (long, high), below = cv2.getTextSize(region.label, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(0, min(region.x, width - long))
    y = region.y - thickness - below if region.y - thickness - below >= high else last[1] + thickness + below + high
    cv2.rectangle(image, (x, y - high - 1), (x + long, y + below), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, region.label, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def _enlarged(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _lookup_table() -> NDArray[np.uint8]:
    """Return the ramp as the (256, 1, 3) BGR table that cv2.applyColorMap takes."""
    at = np.linspace(0, len(RAMP) - 1, 256)
    channels = [np.interp(at, range(len(RAMP)), [colour[channel] for colour in RAMP]) for channel in (2, 1, 0)]
    return np.stack(channels, axis=1).round().astype(np.uint8)[:, np.newaxis]
