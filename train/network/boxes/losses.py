"""The losses of the grid detector."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SHARPNESS = 2.0  # exponent of the focal loss
TINY = 1e-7


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of (N, 4) boxes x1 y1 x2 y2 with their partners, (N,) from 0 to 1."""
    sides = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp_min(0)
    shared = sides.prod(dim=1)
    areas = [(one[:, 2:] - one[:, :2]).clamp_min(0).prod(dim=1) for one in (first, second)]
    found: Tensor = shared / (areas[0] + areas[1] - shared).clamp_min(TINY)
    return found


def ciou(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the complete IoU (Zheng et al. 2020) of (N, 4) boxes, (N,) up to 1: overlap, distance and shape."""
    shared = overlap(found, wanted)
    hull = torch.maximum(found[:, 2:], wanted[:, 2:]) - torch.minimum(found[:, :2], wanted[:, :2])
    apart = (found[:, :2] + found[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2
    distance = apart.square().sum(dim=1) / hull.square().sum(dim=1).clamp_min(TINY)
    angles = [torch.atan2(one[:, 2] - one[:, 0], (one[:, 3] - one[:, 1]).clamp_min(TINY)) for one in (found, wanted)]
    shape = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    with torch.no_grad():
        weight = shape / (1 - shared + shape).clamp_min(TINY)
    return shared - distance - weight * shape


def objectness_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Quality focal loss (Li et al. 2020, equation 2) of (N,) logits against the wanted (N,) quality 0..1, summed."""
    away = (quality - torch.sigmoid(logits)).abs() ** SHARPNESS
    return (away * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum()
