"""Variations that a part may show without being another part: place, light, focus, noise; and mixtures of two parts."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.core.types import Image
from train.config import TrainConfig

NOISE = 6.0  # grey levels, standard deviation of the strongest
Mask = NDArray[np.float32]


class Augment:
    """(H, W, 3) uint8 RGB and (H, W) float32 mask 0..1 -> (3, H, W) float 0..255 and (1, H, W) float.

    `moved` and `lit` are its two halves, so that a window can be cut out between them.
    """

    def __init__(self, recipe: TrainConfig) -> None:
        self._flips, self._turn, self._strength = recipe.flips, recipe.turn, recipe.light

    def __call__(self, image: Image, mask: Mask, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return self.lit(*self.moved(image, mask, rng), rng)

    def moved(self, image: Image, mask: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Mirror the part, turn it, and move it a little."""
        if self._flips:
            for axis in (0, 1):
                if rng.random() < 0.5:
                    image, mask = np.flip(image, axis), np.flip(mask, axis)
        image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
        return _affine(image, mask, self._turn, rng) if rng.random() < 0.6 else (image, mask)

    def lit(self, image: Image, mask: Mask, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Vary light, contrast, colour, focus and noise; the mask stays where it is."""
        pixels = self._light(image, rng)
        if rng.random() < 0.2:
            pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(1, NOISE))
        lit = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).clamp(0, 255)
        marked = torch.from_numpy(np.ascontiguousarray(mask))[None].float()
        if rng.random() < 0.1:
            _cut_out(lit, marked, rng)
        return lit, marked

    def _light(self, image: Image, rng: np.random.Generator) -> Mask:
        """Return the image as float32, its brightness, contrast and gamma changed by up to exp(+-light)."""
        pixels = image.astype(np.float32)
        if rng.random() < 0.8 and self._strength > 0:
            bright, contrast, gamma = np.exp(rng.uniform(-self._strength, self._strength, 3) * (1.0, 1.0, 0.5))
            grey = float(pixels.mean())
            pixels = np.clip((pixels - grey) * np.float32(contrast) + grey * bright, 0, 255)
            pixels = np.asarray(255.0 * (pixels / 255.0) ** np.float32(gamma), dtype=np.float32)
            own = pixels.mean(axis=2, keepdims=True)  # a grey part stays grey
            pixels = np.clip(own + (pixels - own) * np.float32(rng.uniform(0.85, 1.15)), 0, 255)
        if rng.random() < 0.15:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (3, 3), float(rng.uniform(0.3, 1.2))), dtype=np.float32)
        return np.clip(pixels, 0, 255).astype(np.float32)  # the blur's weights add up to a little more than 1


def _affine(image: Image, mask: Mask, turn: float, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Turn by up to `turn` degrees, move by 6 %, resize by 15 % and shear by 4 degrees.

    What comes in from outside is the part's own mirror image, not a black wedge.
    """
    height, width = mask.shape
    centre, size = ((width - 1) / 2, (height - 1) / 2), (width, height)
    turned = cv2.getRotationMatrix2D(centre, float(rng.uniform(-turn, turn)), float(rng.uniform(0.85, 1.15)))
    matrix = np.asarray(turned, dtype=np.float64)
    shear = np.tan(np.deg2rad(rng.uniform(-4, 4)))
    matrix[0] += shear * matrix[1]
    matrix[0, 2] -= shear * (height - 1) / 2
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * np.array(size)
    there = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    marked = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(there, dtype=np.uint8), np.asarray(marked, dtype=np.float32)


def _cut_out(image: Tensor, mask: Tensor, rng: np.random.Generator) -> None:
    """Grey out a rectangle (DeVries and Taylor 2017) where no defect is: what is hidden is no defect."""
    _, height, width = image.shape
    h, w = int(rng.uniform(0.05, 0.2) * height), int(rng.uniform(0.05, 0.2) * width)
    y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
    if not mask[:, y : y + h, x : x + w].any():
        image[:, y : y + h, x : x + w] = image.mean()


def mix(images: Tensor, masks: Tensor, defective: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """MixUp (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch with itself, turned round by one.

    images (N, 3, H, W), masks (N, 1, H, W), defective (N,). Masks follow their pixels. A part is as defective as its
    halves (MixUp); with a piece pasted in (CutMix), as defective as what can be seen of both.
    """
    others, other_masks, other = images.roll(1, 0), masks.roll(1, 0), defective.roll(1, 0)
    if rng.random() < 0.5:
        share = float(rng.beta(0.4, 0.4))
        both = share * images + (1 - share) * others, share * masks + (1 - share) * other_masks
        return *both, share * defective + (1 - share) * other
    height, width = images.shape[2:]
    h, w = (int(side * (1 - rng.beta(1, 1)) ** 0.5) for side in (height, width))
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    images, masks = images.clone(), masks.clone()
    seen = masks.sum(dim=(1, 2, 3)), other_masks.sum(dim=(1, 2, 3))
    images[:, :, y : y + h, x : x + w] = others[:, :, y : y + h, x : x + w]
    masks[:, :, y : y + h, x : x + w] = other_masks[:, :, y : y + h, x : x + w]
    any_left, any_pasted = float(h * w < height * width), float(h * w > 0)
    kept = masks.sum(dim=(1, 2, 3)) - masks[:, :, y : y + h, x : x + w].sum(dim=(1, 2, 3))
    pasted = masks[:, :, y : y + h, x : x + w].sum(dim=(1, 2, 3))
    visible = [
        torch.where(whole > 0, part / whole.clamp_min(1e-6), some)  # nobody marked where: it counts as seen
        for part, whole, some in zip((kept, pasted), seen, (any_left, any_pasted), strict=True)
    ]
    return images, masks, torch.maximum(visible[0] * defective, visible[1] * other)
