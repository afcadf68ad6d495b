"""Where a model's map lies on the image. Cells become places in one function, and everybody else gets its result."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, PositiveInt

from edge.core.types import AnomalyMap, Image
from edge.inference.part import joined
from edge.inference.preprocess import InputSpec, RegionView, ignored, region_to

GRID = 4  # input pixels from one value of a placed map to the next, unless the model's own map is finer
RADIUS = 2  # values on either side that the guided filter looks at
EDGE_CONTRAST = 0.01  # share of the grey scale from which on a step in the image is an edge to the guided filter


class MapGeometry(BaseModel):
    """Say where the cells of a model's map look: cell (row, column) at input pixel offset + stride x (column, row).

    A pixel's centre has whole coordinates. A cell that stood in the middle of its own stride x stride pixels would
    have an offset of (stride - 1) / 2; padding and pooling move it, so training measures the offset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    columns: PositiveInt
    rows: PositiveInt
    stride: PositiveFloat  # input pixels
    offset: tuple[FiniteFloat, FiniteFloat] = Field(strict=False)  # x, y in input pixels

    @classmethod
    def centred(cls, columns: int, rows: int, spec: InputSpec, shift: float = 0.0) -> MapGeometry:
        """Return the geometry of cells that share the input evenly and look `shift` pixels beside their middle."""
        stride = spec.width / columns
        middle = (stride - 1.0) / 2.0 + shift
        return cls(columns=columns, rows=rows, stride=stride, offset=(middle, middle))

    def misfit(self, spec: InputSpec) -> str | None:
        """Return why this map cannot lie on an input of this size, or None where it can.

        The cells must reach across the input, each within two cells of the pixels that it stands for.
        """
        for name, cells, pixels, offset in (
            ("columns", self.columns, spec.width, self.offset[0]),
            ("rows", self.rows, spec.height, self.offset[1]),
        ):
            if abs(cells * self.stride - pixels) >= self.stride:
                return f"{cells} {name} {self.stride:g} pixels apart do not cover an input of {pixels} pixels"
            if abs(offset - (self.stride - 1.0) / 2.0) > 2.0 * self.stride:
                return f"{name} begin at {offset:g} pixels, more than two cells beside the input"
        return None


def placed(cells: AnomalyMap, geometry: MapGeometry, tensor: Image) -> AnomalyMap:
    """Move a model's (rows, columns) map to where its cells look: (h, w) float32 that covers the inspected crop evenly.

    tensor: the prepared image (1, height, width, 3) uint8 that the model saw. Value (i, j) of the result stands for
    the middle of its own h-th and w-th share of the crop, so that any plain resize of it lies true. Between the cells
    it is interpolated bicubically (Keys 1981) and drawn to the edges of the image; it is never below 0. Beyond the
    outermost cells it repeats them. One cell that is not finite makes the whole map NaN, which is then judged ERROR.
    """
    _, height_px, width_px, _ = tensor.shape
    pixels = min(float(GRID), geometry.stride)
    width, height = round(width_px / pixels), round(height_px / pixels)
    if not np.isfinite(cells).all():
        return np.full((height, width), np.nan, np.float32)
    across, down = width_px / width, height_px / height
    x, y = ((size - 1.0) / 2.0 - offset for size, offset in zip((across, down), geometry.offset, strict=True))
    to_cells = np.array([[across, 0.0, x], [0.0, down, y]]) / geometry.stride
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    found = np.asarray(
        cv2.warpAffine(cells, to_cells, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    if geometry.stride > GRID:
        found = _guided(found, _grey(tensor[0], width, height))
    return np.maximum(found, np.float32(0.0))


def said_by(cells: AnomalyMap) -> AnomalyMap:
    """Return how loudly each cell of a class map says "defective", (rows, columns) float32 0..1.

    cells: (rows, columns) log odds that the cells give; their mean is the part's. 1 is the loudest cell of a part that
    is surely defective. A part that is surely good has 0 everywhere. A map with a value that is not finite is 0.
    """
    loudest = float(cells.max())
    if not np.isfinite(cells).all() or loudest <= 0:
        return np.zeros_like(cells)
    sure = 0.5 * (1.0 + np.tanh(0.5 * cells.mean(dtype=np.float64)))
    return np.asarray(np.maximum(cells, 0) * np.float32(sure / loudest), np.float32)


def on_frame(found: AnomalyMap, view: RegionView, spec: InputSpec, frame: tuple[int, ...]) -> AnomalyMap:
    """Lay the (h, w) map of a region back onto the frame: (rows, columns) float32 that covers view.box evenly.

    frame: shape of the photo. What is ignored, or lies beside a region that turned, is 0. A map with a value that is
    not finite keeps one.
    """
    size = found.shape[1], found.shape[0]
    if spec.ignore:
        found = np.where(ignored(size, spec, frame[:2]) & np.isfinite(found), np.float32(0.0), found)
    if view.matrix is None:
        return found
    to_reference = region_to(size, spec, frame)
    x, y, width, height = view.box
    columns, rows = (
        max(1, round(side / cell)) for side, cell in ((width, to_reference[0, 0]), (height, to_reference[1, 1]))
    )
    across, down = width / columns, height / rows
    to_frame = np.array([[across, 0.0, x + (across - 1.0) / 2.0], [0.0, down, y + (down - 1.0) / 2.0]])
    of_frame = np.asarray(cv2.invertAffineTransform(joined(view.matrix, to_reference)), np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(found, joined(of_frame, to_frame), (columns, rows), flags=flags), np.float32)


def _grey(image: Image, width: int, height: int) -> NDArray[np.float32]:
    """Return the (height, width) float32 brightness, 0..1, of an (H, W, 3) uint8 image."""
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # a tenth of the time of areas
    return np.asarray(cv2.transform(small.astype(np.float32), np.full((1, 3), 1 / 765.0, np.float32)), np.float32)


def _guided(values: NDArray[np.float32], guide: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth a map along the image's surfaces, not across its edges: the guided filter (He et al. 2013, equation 8)."""

    def mean(of: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(of, (2 * RADIUS + 1, 2 * RADIUS + 1), borderType=cv2.BORDER_REFLECT), np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + EDGE_CONTRAST**2)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)
