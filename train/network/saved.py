"""model.pt: what `fit` trained, written once and read by every later stage."""

from __future__ import annotations

from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.bank import BANK, normality_head
from train.network.fusion import Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, Normality, PatchFeatures, Place, SecondScale
from train.run import Run

MODEL = "model.pt"


def save_network(work: Run, state: dict[str, Any]) -> None:
    """Write model.pt: the backbone, the memory bank and, where defects were learned, the heads and their fusion."""
    torch.save(state, work.file(MODEL))


def load_network(work: Run) -> InspectionNet:
    """The trained float network of a run, ready to be exported."""
    state, recipe = saved_state(work), work.fit_report().recipe
    features = PatchFeatures(Backbone.from_state(recipe.backbone, state["backbone"]), recipe.patch_stride)
    normality = Normality(features, normality_head(state), recipe.top_k, second_opinion(state))
    if "heads" not in state:
        return InspectionNet(normality).eval()
    heads = DefectHeads(features.backbone.channels, len(state["types"]))
    heads.load_state_dict(state["heads"])
    if "shift" not in state:
        raise NetworkError(f"{work.file(MODEL)}: is of another version of Linewatch; run `python -m train fit` again")
    x, y = state["shift"]
    return InspectionNet(normality, heads, Fusion(**state["fusion"]), (x, y)).eval()


def second_opinion(state: Mapping[str, Any]) -> SecondScale | Place | None:
    """The second scale or the places that a state holds, if any; raises NetworkError for those of before."""
    if "place" in state:
        place = state["place"]
        if "known" not in place:
            raise NetworkError("the run's places are of another version of Linewatch; run `python -m train fit` again")
        return Place(place["known"], place["share"], tuple(place["shift"]))
    second = state.get("second")
    if second is not None and not second.get("turned"):
        raise NetworkError("the run's second scale is of another version of Linewatch; run `python -m train fit` again")
    return None if second is None else SecondScale(normality_head(second), second["share"], tuple(second["shift"]))


def saved_banks(work: Run) -> list[dict[str, Tensor]]:
    """Return the memory bank of each scale as `train.network.bank.memory_banks` describes it."""
    state = saved_state(work)
    banks = [bank for bank in (state, state.get("second")) if bank is not None]
    if any(key not in bank for bank in banks for key in BANK):
        raise NetworkError(f"{work.file(MODEL)}: is of another version of Linewatch; run `python -m train fit` again")
    return [{key: bank[key] for key in BANK} for bank in banks]


def saved_state(work: Run) -> dict[str, Any]:
    """Return what model.pt holds; raises NetworkError where it is damaged, RunError where it is missing."""
    path = work.need(MODEL, "fit")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise NetworkError(f"{path}: is damaged ({type(error).__name__}); run `python -m train fit` again") from error
