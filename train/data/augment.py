"""Variations that a part may show without being another part: place, light, focus, noise; and mixtures of two parts.

torchvision's v2 transforms move image and mask together. albumentations is archived and kornia differentiates what
nobody here needs differentiated; torchvision is installed anyway.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from edge.core.types import Image
from train.config import TrainConfig

NOISE = 6.0  # grey levels, standard deviation of the strongest


class Augment:
    """(H, W, 3) uint8 RGB and (H, W) float32 mask 0..1 -> (3, H, W) float 0..255 and (1, H, W) float."""

    def __init__(self, recipe: TrainConfig) -> None:
        flips = [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)] if recipe.flips else []
        moved = v2.RandomAffine(
            8, translate=(0.06, 0.06), scale=(0.85, 1.15), shear=4, interpolation=InterpolationMode.BILINEAR
        )
        self._flip = v2.Compose(flips) if flips else v2.Identity()
        self._moved = moved
        self._light = v2.Compose(
            [
                v2.RandomApply([v2.ColorJitter(0.3, 0.3, 0.1)], 0.8),
                v2.RandomApply([v2.GaussianBlur(3, (0.3, 1.2))], 0.15),
            ]
        )

    def __call__(self, image: Image, mask: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draws from torch's generator and from rng."""
        pixels = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))
        pixels, marked = self._flip(pixels, tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(mask))[None]))
        if rng.random() < 0.6:
            pixels, marked = self._move(pixels, marked)
        moved = self._light(pixels).float()
        if rng.random() < 0.2:
            moved = moved + torch.randn_like(moved) * float(rng.uniform(1, NOISE))
        if rng.random() < 0.1:
            _cut_out(moved, marked, rng)
        return moved.as_subclass(Tensor).clamp(0, 255), marked.as_subclass(Tensor).float()

    def _move(self, pixels: Tensor, marked: Tensor) -> tuple[Tensor, Tensor]:
        """A small affine move; what comes in from outside is the part's own mirror image, not a black wedge."""
        height, width = pixels.shape[1:]
        margin = [width // 8, height // 8]
        outer = v2.Pad(margin, padding_mode="reflect")(pixels, marked)
        return v2.CenterCrop([height, width])(*self._moved(*outer))


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
