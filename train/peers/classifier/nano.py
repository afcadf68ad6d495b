"""Networks of fewer than a million parameters, in two shapes: what is faster on a device is measured, not believed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Shape = Literal["separable", "dense"]
SHAPES: tuple[Shape, ...] = ("separable", "dense")
SEPARABLE = ((24, 1), (48, 2), (96, 3), (160, 2))  # channels, blocks; every stage but the first halves the sides
DENSE = ((16, 1), (32, 1), (64, 2), (96, 2))
SQUEEZE = 4
GREY = 128.0


class SqueezeExcitation(nn.Module):
    """Channels weighed by what the whole picture shows (Hu et al. 2018); a hard sigmoid, which quantises well."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // SQUEEZE, 1)
        self.expand = nn.Conv2d(channels // SQUEEZE, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        weights = self.expand(torch.relu(self.reduce(maps.mean(dim=(2, 3), keepdim=True))))
        return maps * nn.functional.hardsigmoid(weights)


class Separable(nn.Module):
    """Depthwise 3x3, squeeze and excitation, pointwise 1x1 (Howard et al. 2019), and a way round if it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            *_convolution(inputs, inputs, 3, stride, groups=inputs),
            SqueezeExcitation(inputs),
            *_convolution(inputs, outputs, 1, 1),
        )
        self.round = inputs == outputs and stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.way(maps)
        return maps + found if self.round else found


class Dense(nn.Module):
    """Two 3x3 convolutions and a way round (He et al. 2016): nothing but what INT8 kernels are best at."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(*_convolution(inputs, outputs, 3, stride), *_convolution(outputs, outputs, 3, 1))
        self.round = inputs == outputs and stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.way(maps)
        return maps + found if self.round else found


class Nano(nn.Module):
    """Picture (N, 3, H, W) float 0..255 RGB -> (N, classes) logits; normalisation included."""

    def __init__(self, classes: int, shape: Shape) -> None:
        super().__init__()
        stages, block = (SEPARABLE, Separable) if shape == "separable" else (DENSE, Dense)
        width = stages[0][0]
        layers: list[nn.Module] = [*_convolution(3, width, 3, 2)]
        for number, (channels, blocks) in enumerate(stages):
            for index in range(blocks):
                layers.append(block(width, channels, 2 if number and index == 0 else 1))
                width = channels
        self.features = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Conv2d(width, classes, 1)  # a linear layer that quantises like the others

    def forward(self, image: Tensor) -> Tensor:
        maps = self.features((image - GREY) / GREY)
        logits: Tensor = self.out(self.drop(maps.mean(dim=(2, 3), keepdim=True))).flatten(1)
        return logits


def _convolution(inputs: int, outputs: int, size: int, stride: int, groups: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
