"""The shape of a student: the teacher's backbone with fewer blocks and fewer channels inside of each block.

A block is an inverted residual (Sandler et al. 2018): what is inside of it nobody else reads, so that channels leave
without a change to its neighbours, and the stages keep the channels that the memory bank knows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from train.network import NetworkError

BLOCKS = (1, 1, 2, 3, 1)  # kept at most of each group
SHARES = (1.0, 0.5, 0.5, 0.5, 0.5)  # of a block's inner channels, by group
MULTIPLE = 8  # of inner channels: INT8 kernels work on 8 of them at a time


def wanted_channels(inner: int, group: int) -> int:
    """Return how many of the inner channels of a group's block a student keeps."""
    share = SHARES[min(group, len(SHARES) - 1)]
    return min(inner, max(MULTIPLE, round(inner * share / MULTIPLE) * MULTIPLE))


def wanted_blocks(blocks: int, group: int) -> int:
    """Return how many of a group's blocks a student keeps."""
    return min(blocks, BLOCKS[min(group, len(BLOCKS) - 1)])


def groups_of(stages: nn.Module, name: str) -> list[nn.Sequential]:
    """Return the groups of blocks of a timm network behind the first group, which has no inner channels.

    Raises NetworkError where a block is no plain inverted residual: one that weighs its channels by all of them cannot
    lose some.
    """
    groups = list(getattr(stages, "blocks", ()))[1:]
    plain = all(_is_plain(block) for group in groups for block in group)
    if not groups or not plain:
        raise NetworkError(f"{name}: has no student; use profile = full, or backbone = tf_efficientnet_lite0")
    return groups


def narrowed(block: nn.Module, kept: Tensor) -> nn.Module:
    """Return a copy of an inverted residual with only those (n,) inner channels."""
    small: Any = copy.deepcopy(block)
    for convolution, norm in ((small.conv_pw, small.bn1), (small.conv_dw, small.bn2)):
        convolution.weight = nn.Parameter(convolution.weight.detach()[kept])
        convolution.out_channels = norm.num_features = len(kept)
        for name in ("weight", "bias"):
            setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[kept]))
        for name in ("running_mean", "running_var"):
            setattr(norm, name, getattr(norm, name)[kept])
    small.conv_dw.in_channels = small.conv_dw.groups = small.conv_pwl.in_channels = len(kept)
    small.conv_pwl.weight = nn.Parameter(small.conv_pwl.weight.detach()[:, kept])
    return nn.Module.requires_grad_(small)


def shrink(stages: nn.Module, name: str) -> None:
    """Shrink a timm network, in place, to the shape of its student, whichever channels are left."""
    for number, group in enumerate(groups_of(stages, name), 1):
        widths = [torch.arange(wanted_channels(_inner(block), number)) for block in group]
        kept = zip(group[: wanted_blocks(len(group), number)], widths, strict=False)
        replace_group(stages, number, [narrowed(block, width) for block, width in kept])


def shrink_to(stages: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Shrink a timm network, in place, to the blocks and channels of a state dict, which may be all of them."""
    for number, group in enumerate(list(getattr(stages, "blocks", ()))):
        if number == 0 or not all(_is_plain(block) for block in group):
            continue
        widths = [state.get(f"blocks.{number}.{index}.conv_pwl.weight") for index in range(len(group))]
        if all(w is not None and w.shape[1] == _inner(b) for w, b in zip(widths, group, strict=True)):
            continue
        pairs = [(block, width) for block, width in zip(group, widths, strict=True) if width is not None]
        replace_group(stages, number, [narrowed(block, torch.arange(width.shape[1])) for block, width in pairs])


def parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(value.numel() for value in network.parameters())


def _is_plain(block: nn.Module) -> bool:
    parts = [getattr(block, name, None) for name in ("conv_pw", "conv_dw", "conv_pwl", "se")]
    return all(part is not None for part in parts) and isinstance(parts[-1], nn.Identity)


def _inner(block: Any) -> int:
    return int(block.conv_pwl.in_channels)


def replace_group(stages: Any, number: int, blocks: list[nn.Module]) -> None:
    """Put blocks in the place of a network's group."""
    stages.blocks[number] = nn.Sequential(*blocks)
