"""The network that ships: backbone -> patch features -> distance to the nearest normal patch, one static graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.backbones import Backbone


class PatchFeatures(nn.Module):
    """(1, 3, H, W) float 0..255 RGB -> (1, C, H/8, W/8): two stages, each averaged over 3x3, side by side.

    Locally aware patch features as in PatchCore (Roth et al. 2022, section 3.1). The average does not count
    its padding: OpenVINO's INT8 pooling pads with 0 instead of the zero point otherwise.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.fine_channels = backbone.channels[-2]

    def forward(self, image: Tensor) -> Tensor:
        fine, coarse = (functional.avg_pool2d(f, 3, 1, 1, count_include_pad=False) for f in self.backbone(image)[-2:])
        coarse = functional.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], dim=1)


class NormalityHead(nn.Module):
    """Features (1, C, h, w) -> (1, 1, h, w) distance to the nearest of N normal patches, per standardised channel.

    |q - m|^2 = |q|^2 - 2 q.m + |m|^2, so the memory bank is a 1x1 convolution followed by a minimum over
    channels: no index, and it quantises like any other layer.
    """

    def __init__(self, mean: Tensor, std: Tensor, bank: Tensor) -> None:
        """mean, std: (C,) of the features; bank: (N, C) standardised normal patches."""
        super().__init__()
        channels = bank.shape[1]
        self.register_buffer("mean", mean.view(1, channels, 1, 1))
        self.register_buffer("std", std.view(1, channels, 1, 1))
        self.bank = nn.Conv2d(channels, len(bank), 1)
        with torch.no_grad():
            self.bank.weight.copy_(-2.0 * bank[:, :, None, None])
            self.bank.bias.copy_((bank * bank).sum(dim=1))

    def forward(self, features: Tensor) -> Tensor:
        query = (features - self.mean) / self.std
        nearest = self.bank(query).amin(dim=1, keepdim=True)
        squared = (query * query).sum(dim=1, keepdim=True) + nearest
        return squared.clamp_min(0.0).sqrt() / features.shape[1] ** 0.5


class InspectionNet(nn.Module):
    """What is exported: image (1, 3, H, W) float 0..255 RGB -> score (1,), anomaly_map (1, 1, H/8, W/8).

    The score is the mean of the map's `top_k` highest values: one hot cell is noise more often than a defect is
    that small, since every cell has already seen 3x3 patches. A score at the threshold implies a cell at it.
    """

    def __init__(self, features: PatchFeatures, head: NormalityHead, top_k: int) -> None:
        super().__init__()
        self.features = features
        self.head = head
        self.top_k = top_k

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = self.head(self.features(image))
        score = torch.topk(anomaly_map.flatten(1), self.top_k, dim=1).values.mean(dim=1)
        return score, anomaly_map
