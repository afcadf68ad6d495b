"""Measure where the cells of a model's map look: dots are painted on good photos, and the map answers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from edge.core.types import AnomalyMap, Image
from edge.inference.placement import MapGeometry
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.usable import load_photo
from train.network import NetworkError

PHOTOS = 12
ROUGH_PHOTOS = 3
ATTEMPTS = 3
PHASES = 4  # x PHASES dots a photo, spread evenly over a cell's width and height: the grid's own error then cancels
TRIMMED = 0.2  # of the dots on either side are left out of the mean
ROUNDS = 4  # how often a dot's window is laid round the place where it was found
REACH = 2.5  # cells on either side of a dot that belong to its window
LIMIT_PX = 1.0  # input pixels that a measured geometry may be off, in the trimmed mean of fresh dots

Answer = Callable[[Image], AnomalyMap]  # prepared (1, H, W, 3) uint8 RGB -> the model's own (rows, columns) cells


@dataclass(frozen=True, slots=True)
class Sighting:
    """A dot on a photo, and where the map saw it."""

    dot: tuple[float, float]  # x, y in input pixels
    seen: tuple[float, float]  # column, row in cells


def measure_geometry(answer: Answer, photos: Sequence[Image], seed: int) -> tuple[MapGeometry, float]:
    """Return where the cells of a map look, and how many input pixels fresh dots are off with it.

    photos: prepared good images (1, H, W, 3) uint8 RGB. The stride is the input's size over the map's. The offset is
    the trimmed mean, over some hundred dots, of the dot's place minus the stride times the cell that answers it.
    Where fresh dots disagree by more than LIMIT_PX they are counted in, and others are asked, ATTEMPTS times in all.
    Raises NetworkError where they still disagree, or where the map does not answer to dots.
    """
    stride = photos[0].shape[2] / answer(photos[0]).shape[1]
    known = sightings(answer, photos, stride, seed)
    for attempt in range(1, ATTEMPTS + 1):
        geometry = _geometry(answer, photos[0], known)
        fresh = sightings(answer, photos, stride, seed + 1000 * attempt)
        off = max(map(abs, displacement(fresh, geometry)))
        if off <= LIMIT_PX:
            return geometry, off
        known += fresh
    raise NetworkError(
        f"the map places dots {off:.1f} pixels of the input beside where they are, at most {LIMIT_PX:g} is allowed; "
        "choose another backbone or a larger --side"
    )


def rough_geometry(answer: Answer, photos: Sequence[Image], seed: int) -> MapGeometry:
    """Return where the cells of a map look, to some pixels, from few dots and without a second look."""
    stride = photos[0].shape[2] / answer(photos[0]).shape[1]
    return _geometry(answer, photos[0], sightings(answer, photos[:ROUGH_PHOTOS], stride, seed))


def _geometry(answer: Answer, photo: Image, known: Sequence[Sighting]) -> MapGeometry:
    rows, columns = answer(photo).shape
    stride = photo.shape[2] / columns
    x, y = trim_mean([np.subtract(one.dot, np.multiply(stride, one.seen)) for one in known], TRIMMED, axis=0)
    return MapGeometry(columns=columns, rows=rows, stride=stride, offset=(float(x), float(y)))


def prepared_photos(goods: Sequence[Path], spec: InputSpec) -> list[Image]:
    """Return good photos to paint dots on, (1, H, W, 3) uint8 RGB, spread evenly over those given."""
    return [prepare(load_photo(path, spec), spec) for path in goods[:: max(1, len(goods) // PHOTOS)][:PHOTOS]]


def displacement(found: Sequence[Sighting], geometry: MapGeometry) -> tuple[float, float]:
    """Return how far, in input pixels (x, y), a geometry places dots beside where they are, in the trimmed mean."""
    off = [geometry.offset + np.multiply(geometry.stride, one.seen) - one.dot for one in found]
    x, y = trim_mean(off, TRIMMED, axis=0)
    return float(x), float(y)


def sightings(answer: Answer, photos: Sequence[Image], stride: float, seed: int) -> list[Sighting]:
    """Paint dots on the photos, one at a time, and return where the map saw each."""
    rng = np.random.default_rng(seed)
    found = []
    for photo in photos[:PHOTOS]:
        plain = answer(photo)
        for dot in _places(photo, stride, rng):
            seen = _centre(np.maximum(answer(_dotted(photo, dot, stride, rng)) - plain, 0.0), dot, stride)
            if seen is not None:
                found.append(Sighting(dot, seen))
    if len(found) < PHASES * PHASES:
        raise NetworkError("the map does not answer to dots on good photos; look at the photos, or train again")
    return found


def _places(photo: Image, stride: float, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Give places, x and y, in the middle of the photo, one for each phase of the grid of cells."""
    size = np.array([photo.shape[2], photo.shape[1]])
    for phase in np.ndindex(PHASES, PHASES):
        within = stride * (np.array(phase) + rng.uniform(size=2)) / PHASES
        cell = np.floor(rng.uniform(0.3, 0.7, size=2) * size / stride)
        x, y = cell * stride + within
        yield float(x), float(y)


def _dotted(photo: Image, dot: tuple[float, float], stride: float, rng: np.random.Generator) -> Image:
    """Return the photo with a dot, black or white, whichever is farther from what is there."""
    image = photo[0].copy()
    x, y = (round(value) for value in dot)
    under = image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].mean()
    radius = max(2.0, min(stride, 16.0) * rng.uniform(0.25, 0.4))
    centre = (round(dot[0] * 16), round(dot[1] * 16))
    grey = 0 if under > 127 else 255
    cv2.circle(image, centre, round(radius * 16), (grey, grey, grey), cv2.FILLED, cv2.LINE_AA, 4)
    return image[np.newaxis]


def _centre(rise: NDArray[np.float32], dot: tuple[float, float], stride: float) -> tuple[float, float] | None:
    """Return the centre of mass, column and row, of what a dot raised; None where it raised nothing.

    The window follows the centre that it finds, so that a displaced map is not drawn back to where it should be.
    """
    rows, columns = np.indices(rise.shape)
    column, row = ((value - (stride - 1.0) / 2.0) / stride for value in dot)
    cells = max(1.0, 16.0 / stride)  # a fine map answers as broadly as a coarse one, counted in pixels
    for _ in range(ROUNDS):
        near = (abs(columns - column) <= REACH * cells) & (abs(rows - row) <= REACH * cells)
        weight = np.where(near, rise.astype(np.float64) ** 2, 0.0)
        if weight.sum() <= 0:
            return None
        column, row = (float((weight * at).sum() / weight.sum()) for at in (columns, rows))
    return column, row
