"""Labelled photos -> a trained grid detector."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train.config import TrainConfig
from train.network.boxes import BoxesError
from train.network.boxes.assignment import IGNORED, assign, centres
from train.network.boxes.losses import ciou, objectness_loss, overlap
from train.network.boxes.network import STRIDE, BoxNet, boxes_of
from train.network.boxes.windows import Window, Windows
from train.network.train_heads import learning
from train.run import progress

OBJECTNESS, SIDES, TYPES = 2.0, 2.0, 1.0  # weights of the three losses
WEIGHT_DECAY = 1e-2
MAX_GRADIENT = 5.0
AVERAGE = 0.99  # of the weights, from step to step: their moving average is kept
WARM_UP = 0.1  # of the training
LAST = 0.01  # share of the rate that is left at the end
LEAST_CELLS = 8.0  # a batch without a defect is not divided by nothing


def train_boxes(net: BoxNet, windows: Windows, recipe: TrainConfig) -> list[dict[str, float]]:
    """Train a detector in place for epochs x steps batches, or as many as `minutes` allow; returns the mean losses.

    No epoch is chosen by a measure, so that no label is kept back: the moving average of the weights at the end of a
    falling rate is the result. Raises BoxesError when the loss is not finite.
    """
    torch.manual_seed(recipe.seed)
    net.to(memory_format=torch.channels_last)  # in the usual layout depthwise convolutions are 20 times slower on a CPU
    groups = learning(net.backbone, net.head, recipe)
    rates = [group["lr"] for group in groups]
    optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    total, start = recipe.epochs * recipe.steps, time.monotonic()
    history: list[dict[str, float]] = []
    seen: list[tuple[float, float, float]] = []
    net.train()
    for step in progress(range(total), "boxes, batches"):
        done = max(step / total, (time.monotonic() - start) / (60 * recipe.minutes))
        if done >= 1:
            print(f"fit: {step} of {total} batches were learned from in {recipe.minutes:g} minutes (minutes)")
            break
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * _share_of_rate(done)
        losses = _losses(net, [windows.draw(step, index) for index in range(recipe.batch)])
        loss = OBJECTNESS * losses[0] + SIDES * losses[1] + TYPES * losses[2]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], MAX_GRADIENT)
        optimiser.step()
        mean.update_parameters(net)
        seen.append((float(losses[0].detach()), float(losses[1].detach()), float(losses[2].detach())))
        if not all(map(math.isfinite, seen[-1])):
            raise BoxesError(f"the loss is not finite in batch {step + 1}; lower `rate` (now {recipe.rate:g})")
        if (step + 1) % recipe.steps == 0:
            history.append(_told(history, seen, time.monotonic() - start))
            seen = []
    net.load_state_dict(mean.module.state_dict())
    net.to(memory_format=torch.contiguous_format).eval()
    return history


def _told(
    history: list[dict[str, float]], seen: Sequence[tuple[float, float, float]], seconds: float
) -> dict[str, float]:
    names = ("objectness_loss", "box_loss", "type_loss")
    means = np.mean(seen, axis=0)
    return {"epoch": len(history) + 1, "seconds": round(seconds, 1), **dict(zip(names, map(float, means), strict=True))}


def _share_of_rate(done: float) -> float:
    """Return the share of the peak rate after a share of the training: a linear rise, then half a cosine."""
    if done < WARM_UP:
        return max(LAST, done / WARM_UP)
    return LAST + (1 - LAST) * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def _losses(net: BoxNet, batch: Sequence[Window]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of objectness, sides and types for each cell that answers for a box."""
    pixels = torch.from_numpy(np.stack([window.pixels for window in batch])).permute(0, 3, 1, 2)
    answer = net(pixels.contiguous(memory_format=torch.channels_last))
    rows, columns = answer.shape[2:]
    cells = centres(rows, columns, STRIDE)
    found = boxes_of(answer[:, 1:5], net.half_side).flatten(2).transpose(1, 2)
    flat = answer.flatten(2).transpose(1, 2)
    objectness = sides = kinds = torch.zeros(())
    count = 0
    for window, boxes, logits in zip(batch, found, flat, strict=True):
        wanted = torch.from_numpy(window.boxes).float()
        numbers = assign(cells, wanted, torch.from_numpy(window.known), STRIDE)
        own = numbers >= 0
        quality = torch.zeros(len(cells))
        if bool(own.any()):
            partner = wanted[numbers[own]]
            sides = sides + (1 - ciou(boxes[own], partner)).sum()
            quality[own] = overlap(boxes[own], partner).detach()
            named = functional.one_hot(torch.from_numpy(window.kinds)[numbers[own]], logits.shape[1] - 5).float()
            kinds = kinds + functional.binary_cross_entropy_with_logits(logits[own, 5:], named, reduction="sum")
            count += int(own.sum())
        asked = numbers != IGNORED
        objectness = objectness + objectness_loss(logits[asked, 0], quality[asked])
    each = max(float(count), LEAST_CELLS)
    return objectness / each, sides / each, kinds / each
