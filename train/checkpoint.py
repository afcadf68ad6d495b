"""What a training run leaves after each epoch, so that an interrupted one goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class History:
    """What is shown of a training run, epoch by epoch."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = 0

    @property
    def since_best(self) -> int:
        return len(self.epochs) - self.best


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def save(path: Path, key: str, history: History, best: dict[str, Tensor], net: nn.Module, *steppers: Any) -> None:
    """Under a temporary name first: an interruption leaves the checkpoint before. steppers: optimiser, schedule."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"key": key, "epochs": history.epochs, "best_epoch": history.best, "best": best, "net": weights_of(net)}
    draft = path.with_suffix(".draft")
    torch.save({**state, "steppers": [stepper.state_dict() for stepper in steppers]}, draft)
    draft.replace(path)


def resume(path: Path, key: str, net: nn.Module, *steppers: Any) -> tuple[History, dict[str, Tensor]] | None:
    """Take up a checkpoint of the same key; one of another run, or a damaged one, is begun again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError):
        print(f"fit: {path.name} is damaged; the heads are trained from the start")
        return None
    if state["key"] != key:
        print(f"fit: {path.name} is of other data or another recipe; the heads are trained from the start")
        return None
    net.load_state_dict(state["net"])
    for stepper, saved in zip(steppers, state["steppers"], strict=True):
        stepper.load_state_dict(saved)
    print(f"fit: goes on after epoch {len(state['epochs'])} of an interrupted run")
    return History(state["epochs"], state["best_epoch"]), state["best"]
