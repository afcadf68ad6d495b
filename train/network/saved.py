"""model.pt: what `fit` trained, written once and read by every later stage."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.bank import normality_head
from train.network.fusion import Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, PatchFeatures
from train.run import Run

MODEL = "model.pt"


def save_network(work: Run, state: dict[str, Any]) -> None:
    """Write model.pt: the backbone, the memory bank and, where defects were learned, the heads and their fusion."""
    torch.save(state, work.file(MODEL))


def load_network(work: Run) -> InspectionNet:
    """The trained float network of a run, ready to be exported."""
    state, recipe = _load(work), work.fit_report().recipe
    features = PatchFeatures(Backbone.from_state(recipe.backbone, state["backbone"]), recipe.patch_stride)
    if "heads" not in state:
        return InspectionNet(features, normality_head(state), recipe.top_k).eval()
    heads = DefectHeads(features.backbone.channels, len(state["types"]))
    heads.load_state_dict(state["heads"])
    if "shift" not in state:
        raise NetworkError(f"{work.file(MODEL)}: is of another version of Linewatch; run `python -m train fit` again")
    x, y = state["shift"]
    head, fusion = normality_head(state), Fusion(**state["fusion"])
    return InspectionNet(features, head, recipe.top_k, heads, fusion, (x, y)).eval()


def chosen_patches(work: Run) -> Tensor:
    """Return the (N,) indices of the candidates of `collect_patches` that are in the memory bank."""
    chosen: Tensor = _load(work)["chosen"]
    return chosen


def _load(work: Run) -> dict[str, Any]:
    path = work.need(MODEL, "fit")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise NetworkError(f"{path}: is damaged ({type(error).__name__}); run `python -m train fit` again") from error
