"""Which of several recipes finds defects best, judged by networks trained on good images alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from edge.core.types import Image
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.anomalies import add_anomaly
from train.data.batches import Photos
from train.data.dataset import GOOD
from train.data.split import Split
from train.network.backbones import Backbone
from train.network.bank import memory_bank, normality_head
from train.network.model import InspectionNet, PatchFeatures
from train.run import progress

CANDIDATES = 20_000  # patches a bank is chosen from: fewer than in the end, and alike for all
ARTIFICIAL_EACH = 4  # artificial defects on each good image kept back, where there are no labelled ones


def contest(entries: Sequence[tuple[TrainConfig, InputSpec]], roles: Split) -> tuple[list[float], dict[str, Any]]:
    """Image AUROC of each entry on roles.validation's goods against all labelled defects, or artificial ones where
    there are none; and on how many. The hold-out and test/ have no say."""
    largest = max((spec for _, spec in entries), key=lambda spec: spec.width * spec.height)
    images, defective, kind = validation_pictures(largest, roles, entries[0][0].seed)
    found = []
    for recipe, spec in progress(entries, "finalists"):
        network = _bank_only(recipe, spec, roles)
        with torch.inference_mode():
            scores = [float(network(_tensor(image, spec))[0]) for image in progress(images, "validation")]
        found.append(float(roc_auc_score(defective, scores)))
    return found, {"good": defective.count(False), "defective": defective.count(True), "defects": kind}


def validation_pictures(spec: InputSpec, roles: Split, seed: int) -> tuple[list[Image], list[bool], str]:
    """(H, W, 3) uint8 RGB at one size for all entries, so that all see the same defects; whether they are defective;
    and whether those are labelled or artificial."""
    load = Photos(spec).load
    goods = [load(sample)[0] for sample in roles.validation if sample.label == GOOD]
    bad = [load(sample)[0] for sample in (*roles.defects, *roles.validation) if sample.label != GOOD]
    kind = "labelled" if bad else "artificial"
    if not bad:
        rng = np.random.default_rng([seed, 17])
        others = rng.integers(len(goods), size=ARTIFICIAL_EACH * len(goods))
        bad = [add_anomaly(goods[i % len(goods)], goods[int(other)], rng)[0] for i, other in enumerate(others)]
    return [*goods, *bad], [False] * len(goods) + [True] * len(bad), kind


def _bank_only(recipe: TrainConfig, spec: InputSpec, roles: Split) -> InspectionNet:
    backbone = Backbone.pretrained(recipe.backbone, recipe.weights)
    features = PatchFeatures(backbone, recipe.patch_stride).eval()
    sparing = recipe.model_copy(update={"candidates": max(CANDIDATES, 2 * recipe.bank)})
    head = normality_head(memory_bank(features, roles.fit, spec, sparing))
    return InspectionNet(features, head, recipe.top_k).eval()


def _tensor(image: Image, spec: InputSpec) -> torch.Tensor:
    resized = cv2.resize(image, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(resized).permute(2, 0, 1)[None].float()
