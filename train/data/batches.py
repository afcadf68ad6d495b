"""The examples of the heads: good parts, labelled and artificial defects, drawn so that no kind drowns the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from edge.core.types import Image
from edge.inference.preprocess import InputSpec, cut, ignored, prepare, view_of
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.anomalies import MARKED, add_anomaly, transplant
from train.data.augment import Augment
from train.data.dataset import GOOD, Sample, load_mask

CACHE_BYTES = 2_000_000_000  # decoded images that stay in memory
LABELLED, ARTIFICIAL = 0.45, 0.25  # shares of a batch, where both kinds exist; the rest is good
ONLY_ARTIFICIAL = 0.55  # without labels
TRANSPLANTED = 0.4  # of the labelled defects that have a mask: seen on another part
MIN_VALIDATION_DEFECTS = 8  # with fewer, artificial ones are added
# Of ten batches most show windows: more steps in the same time, and small defects weigh more.
WHOLE = 9  # shows whole parts, which the heads judge; without labels no head ships
HALVED = (2, 5, 8)  # show the part as the second of two scales sees it, averaged 2 x 2, and so does the whole one
LARGEST_WINDOW = 176  # pixels a side; a large input trains about as fast as a small one

Mask = NDArray[np.float32]
# image (3, H, W), mask (1, H, W), defective 0/1, type index or -1, 1 where the mask may be believed
Example = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Photos:
    """Samples at the model's input size, decoded once as far as memory allows."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._room = max(16, CACHE_BYTES // (spec.width * spec.height * 7))
        self.load = lru_cache(self._room)(self._load)

    def fill(self, samples: Sequence[Sample]) -> None:
        """Decode as many samples as memory allows, so that processes that are forked afterwards share them."""
        for sample in samples[: self._room]:
            self.load(sample)

    def _load(self, sample: Sample) -> tuple[Image, Mask]:
        """(H, W, 3) uint8 RGB as the device prepares it, and the (H, W) share of each pixel that is marked."""
        frame = load_photo(sample.path, self._spec)
        view = view_of(frame, self._spec)
        size = self._spec.width, self._spec.height
        mask = np.zeros(size[::-1], np.float32)
        if sample.mask is not None:
            whole = load_mask(sample.mask, (frame.shape[0], frame.shape[1])).astype(np.float32)
            spec = self._spec.model_copy(update={"interpolation": "area"})  # a small defect is not to vanish
            mask = np.array(cut(whole, view, spec), np.float32)
            if spec.ignore:
                mask[ignored(size, self._spec, frame.shape[:2])] = 0.0
        return np.ascontiguousarray(prepare(frame, self._spec, view)[0]), mask


class Draws(TorchDataset[Example]):
    """The examples of one epoch: number i is the same whichever process draws it, and after a resumption too."""

    def __init__(
        self,
        photos: Photos,
        goods: Sequence[Sample],
        defects: Sequence[Sample],
        types: Sequence[str],
        recipe: TrainConfig,
    ) -> None:
        self._photos, self._goods, self._recipe = photos, goods, recipe
        names = types or sorted({sample.label for sample in defects})  # a single kind of defect has no name to learn
        self._by_type = [[sample for sample in defects if sample.label == name] for name in names]
        self._augment = Augment(recipe)
        self.epoch = 0
        self.rank = 0

    def __len__(self) -> int:
        return self._recipe.steps * self._recipe.batch

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self._recipe.seed, self.epoch, self.rank, index])
        image, mask, kind, believed = self._draw(rng)
        image, mask = self._augment.moved(image, mask, rng)
        turn, (height, width) = index // self._recipe.batch % 10, _window(mask.shape)
        whole = turn == WHOLE and bool(self._by_type)
        if self._recipe.scales == 2 and (whole or turn in HALVED):
            image, mask = _shrunk(image, mask, (mask.shape[0] // 2, mask.shape[1] // 2))
        if not whole:
            window = min(height, mask.shape[0]), min(width, mask.shape[1])
            image, mask = _crop(image, mask, rng, window) if believed else _shrunk(image, mask, window)
        pixels, marked = self._augment.lit(image, mask, rng)
        # Moved out of the picture, a defect is none; without a mask its label has to do.
        defective = float((marked > MARKED).any()) if believed else float(kind is not None)
        known = -1 if kind is None or not defective else kind
        return pixels, marked, torch.tensor(defective), torch.tensor(known), torch.tensor(float(believed))

    def _draw(self, rng: np.random.Generator) -> tuple[Image, Mask, int | None, bool]:
        """Image, mask, index of the defect's type, and whether the mask tells the truth. Types are drawn alike."""
        labelled = LABELLED if self._by_type else 0.0
        artificial = ARTIFICIAL if self._by_type else ONLY_ARTIFICIAL
        chance = rng.random()
        if chance < labelled:
            kind = int(rng.integers(len(self._by_type)))
            sample = _any(self._by_type[kind], rng)
            image, mask = self._photos.load(sample)
            believed = bool((mask > MARKED).any())
            if believed and rng.random() < TRANSPLANTED:
                image, mask = transplant(image, mask, self._photos.load(_any(self._goods, rng))[0], rng)
            return image, mask, kind, believed
        image, mask = self._photos.load(_any(self._goods, rng))
        if chance < labelled + artificial:
            image, drawn = add_anomaly(image, self._photos.load(_any(self._goods, rng))[0], rng)
            mask = drawn.astype(np.float32)
        return image, mask, None, True


def _window(shape: Sequence[int]) -> tuple[int, int]:
    """Half the sides, as multiples of 16, and no more than LARGEST_WINDOW."""
    height, width = (min(LARGEST_WINDOW, max(64, side // 32 * 16)) for side in shape[:2])
    return height, width


def _shrunk(image: Image, mask: Mask, size: tuple[int, int]) -> tuple[Image, Mask]:
    """Return the whole part at a (height, width); a window of a defect that nobody marked might show none."""
    height, width = size
    small, marked = (cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in (image, mask))
    return np.asarray(small, dtype=np.uint8), np.asarray(marked, dtype=np.float32)


def _crop(image: Image, mask: Mask, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image, Mask]:
    """A window of a (height, width) round a marked pixel, if there is one, else anywhere."""
    places = np.argwhere(mask > MARKED)
    centre = places[int(rng.integers(len(places)))].tolist() if len(places) else [-1, -1]
    start = []
    for side, whole, at in zip(size, mask.shape, centre, strict=True):
        low, high = (0, whole - side) if at < 0 else (at - side + 1, at)
        start.append(int(rng.integers(max(0, low), max(0, min(high, whole - side)) + 1)))
    (y, x), (h, w) = start, size
    return image[y : y + h, x : x + w], mask[y : y + h, x : x + w]


def _any(samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
    return samples[int(rng.integers(len(samples)))]


def validation_examples(
    photos: Photos, samples: Sequence[Sample], types: Sequence[str], recipe: TrainConfig
) -> list[Example]:
    """Return every sample as it is, and where too few are defective each good one with an artificial defect as well."""
    rng = np.random.default_rng([recipe.seed, 7])
    goods = [sample for sample in samples if sample.label == GOOD]
    examples = []
    for sample in samples:
        image, mask = photos.load(sample)
        kind = types.index(sample.label) if sample.label in types else -1
        believed = sample.label == GOOD or bool((mask > MARKED).any())
        examples.append(_example(image, mask, sample.label != GOOD, kind, believed))
    if len(samples) - len(goods) < MIN_VALIDATION_DEFECTS:
        for sample in goods:
            image, drawn = add_anomaly(photos.load(sample)[0], photos.load(_any(goods, rng))[0], rng)
            examples.append(_example(image, drawn.astype(np.float32), True, -1, True))
    return examples


def _example(image: Image, mask: Mask, defective: bool, kind: int, believed: bool) -> Example:
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    return (
        pixels,
        torch.from_numpy(mask)[None],
        torch.tensor(float(defective)),
        torch.tensor(kind),
        torch.tensor(float(believed)),
    )
