"""How a classifier learns: classes drawn alike, MixUp or CutMix, one cycle of the rate, the best epoch kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from train.network.checkpoint import weights_of
from train.peers.classifier import ClassifierError
from train.peers.classifier.sources import Labelled, PicturesInRoles
from train.run import progress

WEIGHT_DECAY = 1e-2
MIXED = 0.5  # share of the batches that are mixed, where mixing is asked for
SHIFT = 0.1  # of the sides, by which a picture is moved at most
LIGHT = 0.2  # of the value, by which brightness and contrast vary


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides how a classifier learns."""

    epochs: int
    batch: int
    rate: float
    mixing: bool
    flips: bool
    seed: int


def learn(network: nn.Module, source: PicturesInRoles, settings: Settings) -> tuple[list[dict[str, float]], int]:
    """Train a network in place; returns the figures of each epoch and the number of the one whose weights it has.

    Each class is drawn equally often, whatever its share of the pictures: a rare one weighs as much as a common one.
    Raises ClassifierError when the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    steps = max(1, math.ceil(len(source.train.labels) / settings.batch))
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=WEIGHT_DECAY)
    total = max(2, settings.epochs * steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=total, pct_start=0.3)
    history: list[dict[str, float]] = []
    kept, best, number = weights_of(network), math.inf, 0
    for epoch in progress(range(settings.epochs), "epochs", settings.epochs):
        network.train()
        loss = sum(_step(network, source, optimiser, settings, rng) for _ in _scheduled(schedule, steps)) / steps
        facts = {"epoch": epoch + 1, "loss": loss, **_validated(network, source.validation, settings.batch)}
        if not math.isfinite(facts["loss"] + facts["validation_loss"]):
            raise ClassifierError(f"the loss is not finite in epoch {epoch + 1}; lower --rate (now {settings.rate:g})")
        history.append(facts)
        if facts["validation_loss"] < best:
            kept, best, number = weights_of(network), facts["validation_loss"], epoch + 1
    network.load_state_dict(kept)
    network.eval()
    return history, number


def _scheduled(schedule: Any, steps: int) -> Any:
    for step in range(steps):
        yield step
        schedule.step()


def _step(
    network: nn.Module,
    source: PicturesInRoles,
    optimiser: torch.optim.Optimizer,
    settings: Settings,
    rng: np.random.Generator,
) -> float:
    pictures, labels = drawn(source.train, settings.batch, len(source.classes), rng)
    pictures = varied(pictures, settings.flips, rng)
    wanted = functional.one_hot(labels, len(source.classes)).float()
    if settings.mixing and rng.random() < MIXED:
        pictures, wanted = mixed(pictures, wanted, rng)
    loss = functional.cross_entropy(network(pictures), wanted)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def drawn(found: Labelled, count: int, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw pictures (count, 3, side, side) float 0..255 and labels (count,), every class with the same chance."""
    by_class = [np.flatnonzero(found.labels == label) for label in range(classes)]
    rows = [int(rng.choice(by_class[int(label)])) for label in rng.integers(classes, size=count)]
    return as_images(found.pictures[rows]), torch.from_numpy(found.labels[rows])


def as_images(pictures: Any) -> Tensor:
    """(N, side, side, 3) uint8 -> (N, 3, side, side) float 0..255."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float()


def varied(pictures: Tensor, flips: bool, rng: np.random.Generator) -> Tensor:
    """Mirror, move and light a batch, each picture by itself; what comes in from outside is its own mirror image."""
    side = pictures.shape[-1]
    most = max(1, int(SHIFT * side))
    padded = functional.pad(pictures, (most, most, most, most), mode="reflect")
    found = []
    for one in padded:
        y, x = (int(value) for value in rng.integers(0, 2 * most + 1, size=2))
        cut = one[:, y : y + side, x : x + side]
        if flips and rng.random() < 0.5:
            cut = cut.flip(2)
        bright, contrast = rng.uniform(1 - LIGHT, 1 + LIGHT, size=2)
        grey = cut.mean()
        found.append(((cut - grey) * float(contrast) + grey * float(bright)).clamp(0, 255))
    return torch.stack(found)


def mixed(pictures: Tensor, wanted: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """MixUp (Zhang et al. 2018) or CutMix (Yun et al. 2019) of a batch with itself, turned round by one.

    pictures (N, 3, H, W); wanted (N, classes), each row a share of every class. The shares follow the pixels.
    """
    others, other = pictures.roll(1, 0), wanted.roll(1, 0)
    if rng.random() < 0.5:
        share = float(rng.beta(0.4, 0.4))
        return share * pictures + (1 - share) * others, share * wanted + (1 - share) * other
    height, width = pictures.shape[2:]
    h, w = (int(side * (1 - rng.beta(1, 1)) ** 0.5) for side in (height, width))
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    pasted = pictures.clone()
    pasted[:, :, y : y + h, x : x + w] = others[:, :, y : y + h, x : x + w]
    share = 1.0 - h * w / (height * width)
    return pasted, share * wanted + (1 - share) * other


@torch.no_grad()
def _validated(network: nn.Module, found: Labelled, batch: int) -> dict[str, float]:
    """Return loss and accuracy, every class with the same weight."""
    network.eval()
    logits = torch.cat(
        [network(as_images(found.pictures[at : at + batch])) for at in range(0, len(found.labels), batch)]
    )
    labels = torch.from_numpy(found.labels)
    each = functional.cross_entropy(logits, labels, reduction="none")
    right = (logits.argmax(dim=1) == labels).float()
    kinds = [labels == label for label in labels.unique()]
    return {
        "validation_loss": float(torch.stack([each[kind].mean() for kind in kinds]).mean()),
        "validation_balanced_accuracy": float(torch.stack([right[kind].mean() for kind in kinds]).mean()),
    }
