"""The checkpoint of each epoch, from which an interrupted training run goes on."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class History:
    """The figures of a training run, epoch by epoch; epochs are counted from 1, and 0 is before the first."""

    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """The latest epoch that told the validation images apart about as well as any before it.

        About is one standard error, `validation_error`: a handful of defects do not tell better from as good, and the
        rate has fallen further. The loss does not decide, since it grows with certainty, which calibration takes back
        (docs/decisions/0007). Where nothing is validated it is the latest.
        """
        if not all("validation_auroc" in epoch for epoch in self.epochs):
            return len(self.epochs)
        found = [(epoch["validation_auroc"], epoch["validation_error"]) for epoch in self.epochs]
        best = itertools.accumulate(found, max)
        good = zip(found, best, strict=True)
        return max((n for n, ((auroc, _), (top, error)) in enumerate(good, 1) if auroc >= top - error), default=0)

    @property
    def since_kept(self) -> int:
        """Epochs since the one to be kept."""
        return len(self.epochs) - self.kept


def auroc_error(auroc: float, negative: int, positive: int) -> float:
    """Return the standard error of an AUROC of so many images of each kind (Hanley and McNeil 1982).

    One more defect, which chance decides, is counted: an AUROC of 1 of a handful is not known exactly.
    """
    auroc, positive = (auroc * positive + 0.5) / (positive + 1), positive + 1
    above, below = auroc / (2.0 - auroc), 2.0 * auroc**2 / (1.0 + auroc)
    variance = auroc * (1.0 - auroc) + (positive - 1) * (above - auroc**2) + (negative - 1) * (below - auroc**2)
    return math.sqrt(max(0.0, variance) / (negative * positive))


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def save(path: Path, key: str, history: History, kept: dict[str, Tensor], net: nn.Module, *steppers: Any) -> None:
    """Under a temporary name first: an interruption leaves the checkpoint before. steppers: optimiser, schedule ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"key": key, "epochs": history.epochs, "kept": kept, "net": weights_of(net)}
    draft = path.with_suffix(".draft")
    torch.save({**state, "steppers": [stepper.state_dict() for stepper in steppers]}, draft)
    draft.replace(path)


def key_of(path: Path) -> str | None:
    """Return the key of the run that left a checkpoint; None where there is none, or a damaged one."""
    try:
        return str(torch.load(path, map_location="cpu", weights_only=True)["key"])
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, ValueError):
        return None


def resume(path: Path, key: str, net: nn.Module, *steppers: Any) -> tuple[History, dict[str, Tensor]] | None:
    """Take up a checkpoint of the same key; one of another run, or a damaged one, is begun again."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        owner, kept, saved = state["key"], state["kept"], state["steppers"]
    except FileNotFoundError:
        return None
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError):
        print(f"fit: {path.name} is damaged or of another version; the heads are trained from the start")
        return None
    if owner != key:
        print(f"fit: {path.name} is of other data or another recipe; the heads are trained from the start")
        return None
    if len(saved) != len(steppers):
        print(f"fit: {path.name} is of another version of Linewatch; the heads are trained from the start")
        return None
    net.load_state_dict(state["net"])
    for stepper, facts in zip(steppers, saved, strict=True):
        stepper.load_state_dict(facts)
    print(f"fit: goes on after epoch {len(state['epochs'])} of an interrupted run")
    return History(state["epochs"]), kept
