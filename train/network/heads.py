"""The heads that learn defects: a decoder that marks their pixels, a classifier of the whole part, and their losses.

The losses are of few defective pixels among very many good ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 48  # decoder channels at strides 16 and 8; two thirds of it at stride 4
ALPHA, GAMMA = 0.75, 2.0
MIN_CELLS = 30.0  # an image without a defect is not divided by nothing
CLOSE = 0.5  # cells that come so close to a channel's peak share what the peak says
TINY = 1e-6  # weight below which a channel says nothing


class SegmentationHead(nn.Module):
    """Features at strides 4, 8 and 16 -> (N, 1, H/4, W/4) defect logits, and the decoder's features beside them.

    A U-shaped decoder (Ronneberger et al. 2015) as narrow as a small CPU wants it. Batch norm, since it folds into the
    convolutions and so quantises; group norm would stay float between them.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        """channels of the backbone's features, finest first."""
        super().__init__()
        fine, middle, coarse = channels
        self.width = WIDTH * 2 // 3
        self.bottom = _block(coarse, WIDTH, 1)
        self.middle = _block(middle + WIDTH, WIDTH, 3)
        self.top = _block(fine + WIDTH, self.width, 3)
        self.logits = nn.Conv2d(self.width, 1, 1)
        if self.logits.bias is not None:  # defects are rare: begin with few of them (Lin et al. 2017, section 4.1)
            nn.init.constant_(self.logits.bias, -4.0)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        fine, middle, coarse = features
        deep = self.bottom(coarse)
        deep = self.middle(torch.cat([middle, _up(deep)], dim=1))
        deep = self.top(torch.cat([fine, _up(deep)], dim=1))
        return self.logits(deep), deep


class ClassificationHead(nn.Module):
    """Coarse and decoder features, defect logits -> (N, 1 + K) logits: defect or not, then the K types of defect.

    Average and maximum over the whole part of what the backbone sees and of what the decoder marked (after
    SuperSimpleNet, Rolih et al. 2024): the decision is of the part, and follows the segmentation where that is sure.
    """

    def __init__(self, coarse: int, decoded: int, types: int) -> None:
        super().__init__()
        self.squeeze = _block(coarse, WIDTH, 1)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Conv2d(2 * (WIDTH + decoded + 1), 1 + types, 1)  # a linear layer that quantises like the others

    def forward(self, coarse: Tensor, decoded: Tensor, logits: Tensor) -> Tensor:
        return self.of_part(self.maps(coarse, decoded, logits))

    def maps(self, coarse: Tensor, decoded: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        """Return the maps whose averages and peaks the linear layer weighs."""
        return self.squeeze(coarse), decoded, logits

    def of_part(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the (N, 1 + K) logits of the part."""
        pooled = [pool(one) for one in maps for pool in (_mean, _peak)]
        part: Tensor = self.out(self.drop(torch.cat(pooled, dim=1))).flatten(1)
        return part

    def class_maps(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return where "defective" comes from, two (N, 1, H/16, W/16): of the coarse features and of the decoder's.

        Class activation mapping (Zhou et al. 2016): the linear layer before the pooling. An average's share of the
        logit lies where its channel is high. A peak's lies on the cells that come within CLOSE of it. The mean of both
        maps' sum is the logit.
        """
        coarse, decoded, logits = maps
        size = decoded.shape[-1] // coarse.shape[-1]
        fine = torch.cat([decoded, logits], dim=1)
        averages, peaks = functional.avg_pool2d(fine, size), functional.max_pool2d(fine, size)
        weights = self.out.weight[:1].split([coarse.shape[1]] * 2 + [decoded.shape[1]] * 2 + [1, 1], dim=1)
        bias = 0.0 if self.out.bias is None else self.out.bias[0]
        of_coarse = _said(coarse, coarse, weights[0], weights[1])
        of_fine = _said(averages, peaks, torch.cat(weights[2::2], dim=1), torch.cat(weights[3::2], dim=1))
        return of_coarse, of_fine + bias


class DefectHeads(nn.Module):
    """Backbone stages -> (N, 1, H/4, W/4) defect logits, (N, 1 + K) part logits: defect or not, then its type."""

    def __init__(self, channels: Sequence[int], types: int) -> None:
        """channels of the backbone's stages, finest first; types: K, how many kinds of defect have a name."""
        super().__init__()
        self.segmentation = SegmentationHead(channels)
        self.classification = ClassificationHead(channels[-1], self.segmentation.width, types)

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        logits, decoded = self.segmentation(stages)
        return logits, self.classification(stages[-1], decoded, logits)

    def explained(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Return what forward returns, and the class maps beside it."""
        logits, decoded = self.segmentation(stages)
        maps = self.classification.maps(stages[-1], decoded, logits)
        return logits, self.classification.of_part(maps), self.classification.class_maps(maps)


def _block(inputs: int, outputs: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)
    )


def _up(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3), keepdim=True)


def _peak(maps: Tensor) -> Tensor:
    return maps.amax(dim=(2, 3), keepdim=True)


def _said(averages: Tensor, peaks: Tensor, of_average: Tensor, of_peak: Tensor) -> Tensor:
    """Return (N, 1, h, w), whose mean is of_average x the means of `averages` + of_peak x the peaks of `peaks`.

    Divided by the weights' reciprocals: the quantiser would take a product with a constant for a convolution, and its
    ranges of good parts would cut what a defect says.
    """
    top = _peak(peaks)
    near = (peaks >= top - CLOSE).to(peaks.dtype)
    said = averages / _reciprocal(of_average) + top / _reciprocal(of_peak) * (near / _mean(near))
    return said.sum(dim=1, keepdim=True)


def _reciprocal(weights: Tensor) -> Tensor:
    return 1.0 / torch.where(weights.abs() < TINY, TINY, weights)


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
