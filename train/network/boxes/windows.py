"""Windows of labelled and good photos to learn from: mirrored, turned, scaled and lit as parts may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.core.types import Image
from edge.inference.preprocess import InputSpec, prepare, view_of
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.dataset import Sample
from train.network.boxes.labels import Label, on_input

SIDE = 128  # pixels of the input, a multiple of 16
CACHE_BYTES = 2_000_000_000  # decoded photos that stay in memory
DEFECTIVE = 0.75  # share of the windows that are cut from labelled photos
AIMED = 0.8  # of those, the share in which a defect is sure to be
ZOOM = 0.22  # log of the factor by which a part may be larger or smaller
ASIDE = 0.25  # of the window's side, at most, that this defect's middle is beside the window's: all of it is seen
NOISE = 8.0  # grey levels
SEEN, HINTED = 0.6, 0.1  # shares of a box inside the window from which on it counts, and from which on it is no ground

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """One example: a piece of a photo and the boxes in it."""

    pixels: NDArray[np.float32]  # (side, side, 3) RGB 0..255
    boxes: Floats  # (N, 4) in pixels of the window
    kinds: NDArray[np.int64]  # (N,) numbers of the types
    known: NDArray[np.bool_]  # (N,) False: cut so far that it only says that there is no background


class Windows:
    """Draws windows; number i of an epoch is the same in every run."""

    def __init__(
        self,
        spec: InputSpec,
        labels: Mapping[Sample, Sequence[Label]],
        goods: Sequence[Sample],
        types: Sequence[str],
        recipe: TrainConfig,
    ) -> None:
        self._spec, self._labels, self._recipe = spec, labels, recipe
        self._defects, self._goods = [sample for sample in labels if labels[sample]], list(goods)
        self._numbers = {name: number for number, name in enumerate(types)}
        self.side = min(SIDE, spec.width // 16 * 16, spec.height // 16 * 16)
        self.load = lru_cache(max(16, CACHE_BYTES // (spec.width * spec.height * 3)))(self._load)

    def _load(self, sample: Sample) -> tuple[Image, Floats, NDArray[np.int64]]:
        """Return the photo (H, W, 3) uint8 RGB as the device prepares it, its boxes (N, 4) and their types (N,)."""
        frame = load_photo(sample.path, self._spec)
        view = view_of(frame, self._spec)
        labels = self._labels.get(sample, ())
        kinds = np.array([self._numbers[label[4]] for label in labels], np.int64)
        return prepare(frame, self._spec, view)[0], on_input(labels, view, self._spec, frame.shape), kinds

    def draw(self, step: int, index: int) -> Window:
        """Return one window."""
        rng = np.random.default_rng([self._recipe.seed, step, index])
        chosen = self._defects if rng.random() < DEFECTIVE or not self._goods else self._goods
        image, boxes, kinds = self.load(chosen[rng.integers(len(chosen))])
        pixels, boxes, share = self._cut(image, boxes, rng)
        pixels, boxes = self._turned(pixels, boxes, rng)  # the window, since the whole photo takes 20 times as long
        kept = share > HINTED
        return Window(self._lit(pixels, rng), boxes[kept], kinds[kept], share[kept] > SEEN)

    def _turned(self, image: Image, boxes: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
        """Mirror (flips) and turn by quarters (turn of 90 degrees or more); a box stays upright, so nothing between."""
        if self._recipe.flips and rng.random() < 0.5:
            image, boxes = mirrored(image, boxes)
        for _ in range(int(rng.integers(4)) if self._recipe.turn >= 90 else 0):
            image, boxes = quarter(image, boxes)
        if self._recipe.flips and self._recipe.turn < 90 and rng.random() < 0.5:  # upside down is a mirrored half turn
            image, boxes = mirrored(*quarter(*quarter(image, boxes)))
        return image, boxes

    def _cut(self, image: Image, boxes: Floats, rng: np.random.Generator) -> tuple[Image, Floats, Floats]:
        """Return a window, its boxes and the share of each box that it shows."""
        zoom = float(np.exp(rng.uniform(-ZOOM, ZOOM)))
        size, inside = np.array(image.shape[1::-1]), self.side / zoom
        middle = rng.uniform(0, size)
        if len(boxes) and rng.random() < AIMED:
            aim = boxes[rng.integers(len(boxes))]
            middle = (aim[:2] + aim[2:]) / 2 + rng.uniform(-ASIDE, ASIDE, 2) * inside
        first = np.clip(middle - inside / 2, 0, np.maximum(size - inside, 0))
        matrix = np.hstack([np.eye(2) * zoom, (-first * zoom + (zoom - 1) / 2)[:, None]])
        pixels = cv2.warpAffine(image, matrix, (self.side, self.side), borderMode=cv2.BORDER_REFLECT)
        whole = (boxes - np.tile(first, 2)) * zoom
        cut = whole.clip(0, self.side)
        area, left = ((one[:, 2:] - one[:, :2]).prod(axis=1) for one in (whole, cut))
        return np.asarray(pixels, np.uint8), cut, left / np.maximum(area, 1e-9)

    def _lit(self, pixels: Image, rng: np.random.Generator) -> NDArray[np.float32]:
        """Vary light and contrast within `light`, blur a little and add noise."""
        light = self._recipe.light
        if rng.random() < 0.3:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (3, 3), rng.uniform(0.3, 1.0)), np.uint8)
        factor, shift = np.exp(rng.uniform(-light, light) / 2), rng.uniform(-40, 40) * light
        lit = pixels.astype(np.float32) * np.float32(factor) + np.float32(shift)
        noise = rng.standard_normal(lit.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
        return np.clip(lit + noise, 0, 255)


def mirrored(image: Image, boxes: Floats) -> tuple[Image, Floats]:
    """Mirror an (H, W, 3) image and its (N, 4) boxes left to right."""
    width = image.shape[1]
    left, top, right, bottom = boxes.T
    return image[:, ::-1].copy(), np.stack([width - right, top, width - left, bottom], axis=1)


def quarter(image: Image, boxes: Floats) -> tuple[Image, Floats]:
    """Turn an (H, W, 3) image and its (N, 4) boxes by 90 degrees against the clock."""
    width = image.shape[1]
    left, top, right, bottom = boxes.T
    return np.rot90(image).copy(), np.stack([top, width - right, bottom, width - left], axis=1)
