"""What the heads are trained against: few defective pixels among very many good ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ALPHA, GAMMA = 0.75, 2.0
MIN_PIXELS = 200.0  # of a batch: a batch without defects is not divided by nothing


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017) of logits against targets 0..1 of the same shape, per defective pixel."""
    share = torch.sigmoid(logits)
    right = share * target + (1 - share) * (1 - target)
    weight = ALPHA * target + (1 - ALPHA) * (1 - target)
    loss = weight * (1 - right) ** GAMMA * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss.sum() / target.sum().clamp_min(MIN_PIXELS)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice (Milletari et al. 2016), mean over the images of an (N, 1, h, w) batch that hold a defect."""
    share, wanted = torch.sigmoid(logits).flatten(1), target.flatten(1)
    marked = wanted.sum(dim=1) > 0
    dice = (2 * (share * wanted).sum(dim=1) + 1) / (share.sum(dim=1) + wanted.sum(dim=1) + 1)
    return ((1 - dice) * marked).sum() / marked.sum().clamp_min(1)
