"""Which sum of opinions tells artificial defects from good photographs better, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edge.core.types import Image
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.anomalies import add_anomaly, displaced
from train.data.dataset import Sample
from train.data.parts import part_names
from train.network.bank import collect_patches, image_tensor, k_centre_greedy, statistics
from train.network.model import NormalityHead, PatchFeatures
from train.run import progress

FITTED, SCORED = 120, 80  # good photographs, of different parts
DRAWN = 2  # artificial defects on each that is scored
RESAMPLES = 500
ROWS, CANDIDATES = 1000, 20_000  # of all banks of a trial: it is not the model
HARD = 0.1  # quantile of the artificial defects: what every opinion sees says nothing of their weights

Floats = NDArray[np.float64]
Draw = Callable[[Image, Image, np.random.Generator], Image]


@dataclass(frozen=True)
class TrialScores:
    """What k opinions say of n good photographs, and of artificial defects of several kinds drawn on them."""

    good: Floats  # (n, k)
    bad: Floats  # (kinds, n, DRAWN, k)

    def separations(self) -> Floats:
        """Return by how many spreads of the good photographs each opinion sets a hard defect above them, (k,)."""
        above = np.quantile(self.bad, HARD, axis=(0, 1, 2)) - np.median(self.good, axis=0)
        return np.asarray(np.maximum(above, 0.0) / self._spread)

    def chance(self, kind: int, first: Sequence[float], second: Sequence[float], seed: int) -> float:
        """Return how sure it is, 0..1, that the second sum of the opinions separates a kind of defect better.

        first, second: (k,) weights of the opinions, each in spreads of the good photographs. The share is that of the
        resamples of the photographs in which the second sum's AUROC is higher.
        """
        good, bad = self.good / self._spread, self.bad[kind] / self._spread
        one, other = (wins(good @ np.asarray(weights), bad @ np.asarray(weights)) for weights in (first, second))
        count = len(good)
        times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
        gains = np.einsum("ri,ij,rj->r", times, other - one, times)
        return float(np.mean(gains > 0) + 0.5 * np.mean(gains == 0))

    @property
    def _spread(self) -> Floats:
        return np.asarray(self.good.std(axis=0) + 1e-6)


def scores_of_trial(
    judged: Callable[[Image], Sequence[float]],
    scored: Sequence[Sample],
    spec: InputSpec,
    recipe: TrainConfig,
    draws: Sequence[Draw],
) -> TrialScores:
    """Return what the opinions say of photographs and of artificial defects on them.

    judged: an (H, W, 3) uint8 RGB input -> k scores; draws: what draws each kind on an input, given another one.
    """
    rng = np.random.default_rng(recipe.seed)
    good: list[Sequence[float]] = []
    bad: list[list[list[Sequence[float]]]] = [[] for _ in draws]
    other = prepare(load_photo(scored[-1].path, spec), spec)[0]
    for sample in progress(scored, "trial"):
        image = prepare(load_photo(sample.path, spec), spec)[0]
        good.append(judged(image))
        for draw, found in zip(draws, bad, strict=True):
            found.append([judged(draw(image, other, rng)) for _ in range(DRAWN)])
        other = image
    return TrialScores(np.asarray(good), np.asarray(bad))


def trial_recipe(recipe: TrainConfig, scales: int, photos: int, spec: InputSpec) -> TrainConfig:
    """Return the recipe with banks so small that a trial is short and few photographs fill them."""
    cells = photos * spec.width * spec.height // (recipe.patch_stride * scales) ** 2  # of the coarsest scale
    return recipe.model_copy(
        update={"scales": scales, "bank": min(ROWS, scales * cells // 2), "candidates": CANDIDATES}
    )


def trial_heads(
    features: PatchFeatures, fitted: Sequence[Sample], spec: InputSpec, trial: TrainConfig
) -> list[NormalityHead]:
    """Return a small memory bank of each scale, built of these photographs."""
    count = trial.scales
    with torch.inference_mode():
        drawn = collect_patches(
            lambda path: [one[0] for one in features.scales(image_tensor(path, spec), count)],
            [sample.path for sample in fitted],
            trial,
        )
    heads = []
    for one in drawn:
        mean, std = statistics(one.rows, features.fine_channels, trial)
        rows = (one.rows - mean) / std
        heads.append(NormalityHead(mean, std, rows[k_centre_greedy(rows, trial.bank // count, trial.seed)]))
    return heads


def usual(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Draw an artificial defect of the kinds that heads learn from."""
    return add_anomaly(image, other, rng)[0]


def at_another_place(image: Image, _other: Image, rng: np.random.Generator) -> Image:
    """Draw what is normal, only not where it is."""
    return displaced(image, rng)


def halves(goods: Sequence[Sample], recipe: TrainConfig) -> tuple[list[Sample], list[Sample]]:
    """Return photographs to learn from and photographs to score; no part is on both sides."""
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


def wins(good: Floats, bad: Floats) -> Floats:
    """(n,) and (n, DRAWN) scores -> (n, n): how often photograph i, with a defect, is above the good photograph j."""
    above = (bad[..., None] > good).astype(np.float64) + 0.5 * (bad[..., None] == good)
    return np.asarray(above.mean(axis=1))
