"""The checkpoint of each epoch, from which an interrupted training run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

TOLERATED = 1.1  # of the lowest validation loss: ten defects do not tell better from as good (docs/decisions/0007)


@dataclass
class History:
    """The figures of a training run, epoch by epoch; epochs are counted from 1, and 0 is before the first."""

    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """The latest epoch whose validation loss was about as low as any before it: the rate has fallen further."""
        losses = self._losses
        return max((n for n, loss in enumerate(losses, 1) if loss <= TOLERATED * min(losses[:n])), default=0)

    @property
    def since_best(self) -> int:
        """Epochs since the validation loss was lowest."""
        return self._losses[::-1].index(min(self._losses)) if self.epochs else 0

    @property
    def _losses(self) -> list[float]:
        return [epoch["validation_loss"] for epoch in self.epochs]


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def save(path: Path, key: str, history: History, kept: dict[str, Tensor], net: nn.Module, *steppers: Any) -> None:
    """Under a temporary name first: an interruption leaves the checkpoint before. steppers: optimiser, schedule."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"key": key, "epochs": history.epochs, "kept": kept, "net": weights_of(net)}
    draft = path.with_suffix(".draft")
    torch.save({**state, "steppers": [stepper.state_dict() for stepper in steppers]}, draft)
    draft.replace(path)


def resume(path: Path, key: str, net: nn.Module, *steppers: Any) -> tuple[History, dict[str, Tensor]] | None:
    """Take up a checkpoint of the same key; one of another run, or a damaged one, is begun again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        owner, kept = state["key"], state["kept"]
    except FileNotFoundError:
        return None
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError):
        print(f"fit: {path.name} is damaged or of another version; the heads are trained from the start")
        return None
    if owner != key:
        print(f"fit: {path.name} is of other data or another recipe; the heads are trained from the start")
        return None
    net.load_state_dict(state["net"])
    for stepper, saved in zip(steppers, state["steppers"], strict=True):
        stepper.load_state_dict(saved)
    print(f"fit: goes on after epoch {len(state['epochs'])} of an interrupted run")
    return History(state["epochs"]), kept
