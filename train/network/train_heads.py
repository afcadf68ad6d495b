"""Labelled and artificial defects -> a backbone that has seen them, and two heads: segmentation and classification.

Runs on a plain CPU, on a GPU in mixed precision, and on several under `torchrun`. Each epoch leaves a checkpoint: an
interrupted run goes on where it was.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.augment import mix
from train.data.batches import Draws, Example, Photos, validation_examples
from train.data.split import Split
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.checkpoint import History, auroc_error, resume, save, weights_of
from train.network.heads import DefectHeads, dice_loss, focal_loss
from train.run import progress, rank

WEIGHT_DECAY = 1e-2
MAX_GRADIENT = 5.0
PART = 0.5  # weight of a part's loss against its pixels
AVERAGE = 0.99  # of the weights, from step to step: what is validated and kept is their moving average
MIXED = 0.5  # share of the batches, with `mixing`
WARM_UP = 0.1001  # of the steps; with exactly a tenth, torch divides by zero where there are ten
UPPER = 2  # first of the backbone's groups of blocks that "upper" lets learn: what lies below sees edges and colours


class DefectNet(nn.Module):
    """The network that is trained: (N, 3, H, W) float 0..255 RGB -> the logits of train.network.heads.DefectHeads."""

    def __init__(self, backbone: Backbone, types: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = DefectHeads(backbone.channels, types)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits, parts = self.heads(self.backbone(image))
        return logits, parts

    def train(self, mode: bool = True) -> DefectNet:
        """The backbone's batch norm keeps its statistics: a batch of eight parts of one product has worse ones."""
        super().train(mode)
        self.backbone.eval()
        return self


def train_heads(
    backbone: Backbone,
    split: Split,
    types: Sequence[str],
    spec: InputSpec,
    recipe: TrainConfig,
    checkpoint: Path,
    key: str,
) -> tuple[DefectNet, History]:
    """Train the heads and the upper blocks; returns the network of the epoch to be kept (History.kept).

    Without images to validate on, that is the last one: its rate was the lowest, and artificial defects are never few.

    checkpoint: written after each epoch, and resumed from when it was left by a run with the same key.
    Raises NetworkError when the loss is not finite or memory does not suffice.
    """
    torch.manual_seed(recipe.seed)
    device = joined_device()
    photos = Photos(spec)
    net = DefectNet(backbone, len(types)).to(device).to(memory_format=torch.channels_last)
    # channels_last: in the usual layout the backward pass of depthwise convolutions is 20 times slower on a CPU.
    groups = learning(backbone, net.heads, recipe)
    optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    rates = [group["lr"] for group in groups]
    schedule = _cycle(optimiser, rates, recipe.epochs * recipe.steps)
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    state = resume(checkpoint, key, net, optimiser, schedule, mean, scaler)
    history, kept = state or (History(), weights_of(net))
    draws = Draws(photos, split.fit, split.defects, types, recipe)
    draws.rank = rank()
    if device.type == "cuda":
        photos.fill((*split.fit, *split.defects))  # before workers are forked, each epoch anew
    checks = validation_examples(photos, split.validation, types, recipe)
    parallel = DistributedDataParallel(net) if distributed.is_initialized() else net
    left = range(len(history.epochs), recipe.epochs)
    with _memory(recipe, spec):
        for epoch in progress(left, "heads, epochs") if rank() == 0 else left:
            if history.since_kept >= recipe.patience or epoch * recipe.steps >= schedule.total_steps:
                break
            draws.epoch, start = epoch, time.monotonic()
            facts = {
                "epoch": epoch + 1,
                "loss": _epoch(parallel, draws, (optimiser, schedule, mean, scaler), recipe, device),
            }
            facts |= _shared(_validate(mean.module, checks, recipe, device, epoch), device) if checks else {}
            history.epochs.append(facts)
            if epoch == 0:
                fitting = _fitting(_shared({"seconds": time.monotonic() - start}, device)["seconds"], recipe)
                if fitting < recipe.epochs:
                    schedule = _cycle(optimiser, rates, fitting * recipe.steps, schedule.last_epoch)
            if history.kept == epoch + 1:
                kept = weights_of(mean.module)
            if rank() == 0:
                save(checkpoint, key, history, kept, net, optimiser, schedule, mean, scaler)
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
    net.load_state_dict(kept)
    return net.cpu().to(memory_format=torch.contiguous_format).eval(), history


def _cycle(
    optimiser: torch.optim.Optimizer, rates: Sequence[float], total: int, done: int = 0
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Return the schedule of `total` steps, of which some are done."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, list(rates), total_steps=total, pct_start=WARM_UP, last_epoch=done - 1
    )


def _fitting(seconds: float, recipe: TrainConfig) -> int:
    """Return how many epochs of so many seconds the recipe's minutes allow, and say so where they are not all."""
    fitting = max(2, int(60 * recipe.minutes / seconds))
    if fitting < recipe.epochs and rank() == 0:
        print(
            f"fit: the heads learn for {fitting} of {recipe.epochs} epochs: all would take "
            f"{seconds * recipe.epochs / 60:.0f} minutes, and {recipe.minutes:g} are allowed (minutes)"
        )
    return min(fitting, recipe.epochs)


def joined_device() -> torch.device:
    """Return the device of this process, after joining the process group that torchrun describes."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    if "LOCAL_RANK" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")


def _shared(facts: dict[str, float], device: torch.device) -> dict[str, float]:
    """The first process's figures in all of them: the others' heads have batch norm statistics of their own, and
    would otherwise stop after another epoch."""
    if not distributed.is_initialized():
        return facts
    values = torch.tensor(list(facts.values()), dtype=torch.float64, device=device)
    distributed.broadcast(values, 0)
    return dict(zip(facts, values.tolist(), strict=True))


def learning(backbone: Backbone, new: nn.Module, recipe: TrainConfig) -> list[dict[str, Any]]:
    """Parameter groups with discriminative rates (Howard and Ruder 2018): what is new learns at `rate`, the backbone's
    blocks the slower the shallower they are, and the others not at all."""
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    groups: list[dict[str, Any]] = [{"params": list(new.parameters()), "lr": recipe.rate}]
    if recipe.unfreeze == "none" or recipe.backbone_rate == 0:
        return groups
    every: Any = backbone.stages
    blocks = every.blocks if recipe.unfreeze == "all" else every.blocks[UPPER:]  # never the stem: it holds 1 / 255
    for depth, block in enumerate(reversed(blocks)):
        parameters = list(block.parameters())
        for parameter in parameters:
            parameter.requires_grad = True
        groups.append({"params": parameters, "lr": recipe.rate * recipe.backbone_rate * 0.5**depth})
    return groups


def _epoch(
    net: nn.Module,
    draws: Draws,
    steppers: tuple[Any, Any, AveragedModel, Any],
    recipe: TrainConfig,
    device: torch.device,
) -> float:
    """One pass over the draws; the mean loss. Raises NetworkError when it is not finite."""
    optimiser, schedule, mean, scaler = steppers
    net.train()
    torch.manual_seed(recipe.seed * 1000 + draws.epoch)  # dropout of this epoch, whether or not it was resumed
    workers = (os.cpu_count() or 1) if device.type == "cuda" else 0
    total = 0.0
    rng_of = torch.Generator().manual_seed(recipe.seed * 1000 + draws.epoch)
    for batch in DataLoader(draws, recipe.batch, num_workers=workers):
        loss = _loss(net, [one.to(device) for one in batch], recipe, rng_of)
        optimiser.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], MAX_GRADIENT)
        scaler.step(optimiser)
        scaler.update()
        schedule.step()
        mean.update_parameters(net.module if isinstance(net, DistributedDataParallel) else net)
        total += float(loss.detach())
        _refuse_overflow(total, "loss", draws.epoch, recipe)
    return total / recipe.steps


def _refuse_overflow(loss: float, what: str, epoch: int, recipe: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise NetworkError(
            f"the {what} is {loss} in epoch {epoch + 1}; lower `rate` (now {recipe.rate:g}) and start again"
        )


def _loss(net: nn.Module, batch: Sequence[Tensor], recipe: TrainConfig, draw: torch.Generator | None = None) -> Tensor:
    """Pixels: focal + dice, where the mask may be believed. Parts: cross entropy; also of the map's own summit."""
    pixels, masks, defective, kinds, believed = batch
    if draw is not None and recipe.mixing and float(torch.rand((), generator=draw)) < MIXED:
        seed = int(torch.randint(2**31, (), generator=draw))
        pixels, masks, defective = mix(pixels, masks, defective, np.random.default_rng(seed))
        kinds, believed = torch.full_like(kinds, -1), torch.minimum(believed, believed.roll(1, 0))
    pixels = pixels.to(memory_format=torch.channels_last)
    with torch.autocast(pixels.device.type, enabled=pixels.device.type == "cuda"):
        logits, parts = net(pixels)
    logits, parts = logits.float(), parts.float()
    target = functional.avg_pool2d(masks, 4)
    known = believed > 0
    summit = logits.flatten(1).topk(recipe.top_k).values.mean(dim=1)
    loss = functional.binary_cross_entropy_with_logits(parts[:, 0], defective)
    loss = PART * (loss + functional.binary_cross_entropy_with_logits(summit, defective))
    if known.any():
        loss = loss + focal_loss(logits[known], target[known]) + dice_loss(logits[known], target[known])
    if (kinds >= 0).any() and parts.shape[1] > 2:
        loss = loss + PART * functional.cross_entropy(parts[kinds >= 0, 1:], kinds[kinds >= 0])
    return loss


@torch.inference_mode()
def _validate(
    net: nn.Module, examples: Sequence[Example], recipe: TrainConfig, device: torch.device, epoch: int
) -> dict[str, float]:
    """Loss, image AUROC of the two heads' sum and its standard error on images that are not trained on."""
    net.eval()
    losses, scores, truth = [], [], []
    for start in range(0, len(examples), recipe.batch):
        batch = [torch.stack(column).to(device) for column in zip(*examples[start : start + recipe.batch], strict=True)]
        losses.append(float(_loss(net, batch, recipe)) * len(batch[0]))
        logits, parts = net(batch[0].to(memory_format=torch.channels_last))
        scores += (logits.flatten(1).topk(recipe.top_k).values.mean(dim=1) + parts[:, 0]).tolist()
        truth += batch[2].tolist()
    loss = sum(losses) / len(examples)
    _refuse_overflow(loss, "validation loss", epoch, recipe)
    auroc, bad = float(roc_auc_score(truth, scores)), int(sum(truth))
    error = auroc_error(auroc, len(truth) - bad, bad)
    return {"validation_loss": loss, "validation_auroc": auroc, "validation_error": error}


@contextmanager
def _memory(recipe: TrainConfig, spec: InputSpec) -> Iterator[None]:
    """Out of memory, in words that help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own out-of-memory errors are RuntimeErrors
        if not isinstance(error, MemoryError) and "allocate" not in str(error):
            raise
        raise NetworkError(
            f"memory does not suffice for batches of {recipe.batch} images of {spec.width}x{spec.height}; "
            f"ask for a smaller --batch or --side"
        ) from error
