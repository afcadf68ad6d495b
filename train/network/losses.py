"""The losses of the heads: few defective pixels among very many good ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ALPHA, GAMMA = 0.75, 2.0
MIN_CELLS = 30.0  # an image without a defect is not divided by nothing


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017) of (N, 1, h, w) logits against targets 0..1, per defective cell, mean over images.

    Each image is divided by its own defect's size: beside a stain, a pinhole would otherwise teach nothing.
    """
    share = torch.sigmoid(logits)
    right = share * target + (1 - share) * (1 - target)
    weight = ALPHA * target + (1 - ALPHA) * (1 - target)
    loss = weight * (1 - right) ** GAMMA * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss.flatten(1).sum(dim=1) / target.flatten(1).sum(dim=1).clamp_min(MIN_CELLS)).mean()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice (Milletari et al. 2016), mean over the images of an (N, 1, h, w) batch that hold a defect."""
    share, wanted = torch.sigmoid(logits).flatten(1), target.flatten(1)
    marked = wanted.sum(dim=1) > 0
    dice = (2 * (share * wanted).sum(dim=1) + 1) / (share.sum(dim=1) + wanted.sum(dim=1) + 1)
    return ((1 - dice) * marked).sum() / marked.sum().clamp_min(1)
