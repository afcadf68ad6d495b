"""Whether two scales tell artificial defects from good photographs better than one does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.core.types import Image
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.anomalies import add_anomaly
from train.data.dataset import Sample
from train.data.parts import part_names
from train.network.bank import as_floats, collect_patches, image_tensor, k_centre_greedy, statistics
from train.network.model import NormalityHead, PatchFeatures, top_mean
from train.run import progress

FITTED, SCORED = 120, 80  # good photographs, of different parts
DRAWN = 2  # artificial defects on each that is scored
ROWS, CANDIDATES = 1000, 20_000  # of both banks: a trial, not the model
RESAMPLES = 500
FEWEST = 20  # good photographs on either side; fewer tell nothing

Floats = NDArray[np.float64]


def chance_that_two_are_better(
    features: PatchFeatures, goods: Sequence[Sample], spec: InputSpec, recipe: TrainConfig
) -> float | None:
    """Return how sure it is, 0..1, that both scales' sum separates artificial defects better than the first alone.

    The parts are halved: the banks are built of one half, the photographs of the other are scored as they are and
    with artificial defects. The share is that of the resamples of the scored photographs in which the sum's AUROC is
    higher. None where the photographs are too few.
    """
    fitted, scored = halves(goods, recipe)
    if min(len(fitted), len(scored)) < FEWEST:
        return None
    trial = recipe.model_copy(update={"scales": 2, "bank": ROWS, "candidates": CANDIDATES})
    with torch.inference_mode():
        heads = _heads(features, fitted, spec, trial)
        good, bad = _scores(features, heads, scored, spec, trial)
    spread = good.std(axis=0) + 1e-6
    good, bad = good / spread, bad / spread
    one, both = (
        wins(one_good, one_bad) for one_good, one_bad in ((good[:, 0], bad[..., 0]), (good.sum(1), bad.sum(2)))
    )
    times = np.random.default_rng(recipe.seed).multinomial(len(good), np.full(len(good), 1 / len(good)), RESAMPLES)
    gains = np.einsum("ri,ij,rj->r", times, both - one, times)
    return float(np.mean(gains > 0) + 0.5 * np.mean(gains == 0))


def halves(goods: Sequence[Sample], recipe: TrainConfig) -> tuple[list[Sample], list[Sample]]:
    """Return photographs to build banks of and photographs to score; no part is on both sides."""
    names = part_names(goods, recipe.group_regex, recipe.group_gap)
    parts = sorted(set(names))
    order = np.random.default_rng(recipe.seed).permutation(len(parts))
    first = {parts[number] for number in order[: len(parts) // 2]}
    sides = [
        [good for good, name in zip(goods, names, strict=True) if (name in first) == side] for side in (True, False)
    ]
    fitted, scored = (
        side[:: max(1, len(side) // most)][:most] for side, most in zip(sides, (FITTED, SCORED), strict=True)
    )
    return fitted, scored


def _heads(
    features: PatchFeatures, fitted: Sequence[Sample], spec: InputSpec, trial: TrainConfig
) -> list[NormalityHead]:
    drawn = collect_patches(
        lambda path: [one[0] for one in features.scales(image_tensor(path, spec), 2)],
        [sample.path for sample in fitted],
        trial,
    )
    heads = []
    for one in drawn:
        mean, std = statistics(one.rows, features.fine_channels, trial)
        rows = (one.rows - mean) / std
        heads.append(NormalityHead(mean, std, rows[k_centre_greedy(rows, ROWS // 2, trial.seed)]))
    return heads


def _scores(
    features: PatchFeatures,
    heads: Sequence[NormalityHead],
    scored: Sequence[Sample],
    spec: InputSpec,
    trial: TrainConfig,
) -> tuple[Floats, Floats]:
    """Return the scores of both scales: (n, 2) of the photographs, (n, DRAWN, 2) with artificial defects."""
    rng = np.random.default_rng(trial.seed)

    def judged(image: Image) -> list[float]:
        scales: Sequence[Tensor] = features.scales(as_floats(image[None]), 2)
        return [float(top_mean(head(one), trial.top_k)) for head, one in zip(heads, scales, strict=True)]

    good, bad = [], []
    other = prepare(load_photo(scored[-1].path, spec), spec)[0]
    for sample in progress(scored, "scales"):
        image = prepare(load_photo(sample.path, spec), spec)[0]
        good.append(judged(image))
        bad.append([judged(add_anomaly(image, other, rng)[0]) for _ in range(DRAWN)])
        other = image
    return np.asarray(good), np.asarray(bad)


def wins(good: Floats, bad: Floats) -> Floats:
    """(n,) and (n, DRAWN) scores -> (n, n): how often photograph i, with a defect, is above the good photograph j."""
    above = (bad[..., None] > good).astype(np.float64) + 0.5 * (bad[..., None] == good)
    return np.asarray(above.mean(axis=1))
