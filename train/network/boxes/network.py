"""The grid detector: the project's backbone, a neck, and for each cell an objectness, a box and the types."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.network.backbones import Backbone
from train.network.boxes.assignment import centres

STRIDE = 8  # input pixels from one cell to the next: a defect of 20 pixels covers two or three
WIDTH = 64
SOFTNESS = 4.0  # log odds that make one unit of score
RARE = -4.0  # log odds of a box in any cell before anything is learned (Lin et al. 2017, section 4.1)
SUREST = 30.0  # log odds; float32 holds the product of two such odds
MOST = 4.0  # natural logarithm of how many times the usual half side a side may be away


class BoxHead(nn.Module):
    """Backbone stages at strides 4, 8 and 16 -> (N, 5 + K, H/8, W/8): objectness, four sides, K types, all logits.

    A narrow feature pyramid (Lin et al. 2017) that meets at stride 8. Batch norm folds into the convolutions and so
    quantises.
    """

    def __init__(self, channels: Sequence[int], types: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fine = _block(fine, WIDTH // 2, 3, 2)
        self.coarse = _block(coarse, WIDTH, 1)
        self.joined = _block(WIDTH // 2 + middle + WIDTH, WIDTH, 3)
        self.deep = _block(WIDTH, WIDTH, 3)
        self.out = nn.Conv2d(WIDTH, 5 + types, 1)
        if self.out.bias is not None:
            nn.init.zeros_(self.out.bias)
            nn.init.constant_(self.out.bias[:1], RARE)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        fine, middle, coarse = stages
        wide = functional.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        deep = self.joined(torch.cat([self.fine(fine), middle, wide], dim=1))
        answer: Tensor = self.out(self.deep(deep))
        return answer


def _block(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class BoxNet(nn.Module):
    """The network that is trained: (N, 3, H, W) float 0..255 RGB -> the logits of BoxHead."""

    def __init__(self, backbone: Backbone, types: int, half_side: float) -> None:
        """half_side: the usual distance, in input pixels, from a box's middle to its sides."""
        super().__init__()
        self.backbone = backbone
        self.head = BoxHead(backbone.channels, types)
        self.half_side = half_side

    def forward(self, image: Tensor) -> Tensor:
        answer: Tensor = self.head(self.backbone(image))
        return answer

    def train(self, mode: bool = True) -> BoxNet:
        """The backbone's batch norm keeps its statistics: a batch of eight windows of one product has worse ones."""
        super().train(mode)
        self.backbone.eval()
        return self


def boxes_of(sides: Tensor, half_side: float) -> Tensor:
    """(N, 4, h, w) logits -> (N, 4, h, w) boxes x1 y1 x2 y2 in input pixels, edges' coordinates.

    Each side lies half_side x exp(logit) from the cell's middle, so a box is never turned inside out.
    """
    rows, columns = sides.shape[2:]
    middles = centres(rows, columns, STRIDE, sides.device).T.reshape(1, 2, rows, columns)
    away = half_side * torch.exp(sides.clamp(-MOST, MOST))
    return torch.cat([middles - away[:, :2], middles + away[:, 2:]], dim=1)


def both(first: Tensor, second: Tensor) -> Tensor:
    """Return the log odds of the product of two probabilities, which are given by their log odds.

    1 / (p q) - 1 = a + b + a b with a and b the odds against each.
    """
    against = torch.exp(-first.clamp(-SUREST, SUREST)), torch.exp(-second.clamp(-SUREST, SUREST))
    return -torch.log(against[0] + against[1] + against[0] * against[1])


class BoxInspectionNet(nn.Module):
    """Image (1, 3, H, W) float 0..255 RGB -> score (1,), anomaly_map (1, 1, h, w), boxes (1, 4, h, w) and their types.

    The map is how sure each cell is that there is a defect of its likeliest type, softplus(log odds / 4) / ln 2 of
    objectness x share of that type: 1 at even odds, never negative. The score is its highest value. boxes: x1 y1 x2 y2
    in input pixels. types: (1, K, h, w), the share of each, 0..1.
    """

    def __init__(self, net: BoxNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        answer = self.net(image)
        odds = both(answer[:, :1], answer[:, 5:].amax(dim=1, keepdim=True))
        anomaly_map = functional.softplus(odds / SOFTNESS) / math.log(2.0)
        return (
            anomaly_map.amax(dim=(1, 2, 3)),
            anomaly_map,
            boxes_of(answer[:, 1:5], self.net.half_side),
            torch.sigmoid(answer[:, 5:]),
        )
