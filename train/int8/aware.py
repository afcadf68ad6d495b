"""Quantisation-aware training: the weights learn to answer in INT8 what the float network answers.

The float network is the teacher, on the photographs that were trained on: neither labels nor the heads' losses are
needed, and what the heads have learned cannot be forgotten. After Jacob et al. 2018, with the straight-through
estimator; activations keep the ranges that were observed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge.inference.preprocess import InputSpec
from train.int8.graph import COARSE, FINE
from train.network.bank import image_tensor
from train.network.model import InspectionNet
from train.run import progress

STEPS = 150
BATCH = 4
RATE = 1e-4  # of Adam, falling to nothing
OBSERVED = 32  # images that set the ranges of the activations


class Rounded(nn.Module):
    """A convolution that computes as its INT8 self will: weights per channel, activations per tensor, both rounded."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.limit = FINE if convolution.in_channels == convolution.groups else COARSE
        self.low, self.high = 0.0, 0.0
        self.observing = True

    def forward(self, features: Tensor) -> Tensor:
        if self.observing:
            self.low, self.high = min(self.low, float(features.min())), max(self.high, float(features.max()))
            return self.convolution(features)
        weight = self.convolution.weight
        step = (weight.detach().abs().amax(dim=(1, 2, 3)) / self.limit).clamp_min(1e-12)
        zeros = torch.zeros(len(step), dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(weight, step, zeros, 0, -self.limit - 1, self.limit)
        scale = max((self.high - self.low) / 255, 1e-12)
        features = torch.fake_quantize_per_tensor_affine(features, scale, round(-self.low / scale), 0, 255)
        return self.convolution._conv_forward(features, rounded, self.convolution.bias)


def adapt(
    network: InspectionNet, files: Sequence[Path], spec: InputSpec, seed: int, steps: int = STEPS
) -> InspectionNet:
    """A copy of a network with heads whose INT8 self answers more like the network's float one on the files.

    Its memory bank is the old one: build it again. The first convolution stays, since it holds the bytes' scale.
    """
    student = copy.deepcopy(network).to(memory_format=torch.channels_last).eval()
    teacher = copy.deepcopy(student)
    rounded = round_convolutions(student)
    rng = np.random.default_rng([seed, 23])
    with torch.inference_mode():
        for index in rng.permutation(len(files))[:OBSERVED]:
            _answers(student, image_batch([files[index]], spec))
    for layer in rounded:
        layer.observing = False
    weights = [weight for layer in rounded for weight in layer.parameters()]
    optimiser = torch.optim.Adam(weights, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in progress(range(steps), "training in INT8"):
        images = image_batch([files[index] for index in rng.integers(len(files), size=BATCH)], spec)
        loss = feature_distance(student, teacher, images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    restore(student)
    return student.to(memory_format=torch.contiguous_format)


def feature_distance(student: InspectionNet, teacher: InspectionNet, images: Tensor) -> Tensor:
    """Mean squared difference of patch features, defect logits and part logits, each in units of its own variance."""
    with torch.no_grad():
        wanted = _answers(teacher, images)
    found = _answers(student, images)
    return torch.stack([((a - b) ** 2).mean() / b.var() for a, b in zip(found, wanted, strict=True)]).sum()


def _answers(network: InspectionNet, images: Tensor) -> list[Tensor]:
    stages = network.features.backbone(images)
    return [network.features.patches(stages), *(network.heads(stages) if network.heads is not None else ())]


def image_batch(files: Sequence[Path], spec: InputSpec) -> Tensor:
    return torch.cat([image_tensor(path, spec) for path in files]).contiguous(memory_format=torch.channels_last)


def round_convolutions(network: InspectionNet) -> list[Rounded]:
    """Put every convolution of backbone and heads but the first into a Rounded."""
    found = []
    for part in (network.features.backbone, network.heads):
        for module in [] if part is None else list(part.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Conv2d and child.in_channels != 3:
                    found.append(Rounded(child))
                    setattr(module, name, found[-1])
    return found


def restore(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Rounded):
                setattr(module, name, child.convolution)
