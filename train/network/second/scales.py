"""Whether two scales tell artificial defects from good photographs better than one does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edge.core.types import Image
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.dataset import Sample
from train.network.bank import as_floats, collect_patches, image_tensor, k_centre_greedy, statistics
from train.network.model import NormalityHead, PatchFeatures, top_mean
from train.network.second.trial import halves, scores_of_trial, usual

ROWS, CANDIDATES = 1000, 20_000  # of both banks: a trial, not the model
FEWEST = 20  # good photographs on either side; fewer tell nothing


def chance_that_two_are_better(
    features: PatchFeatures, goods: Sequence[Sample], spec: InputSpec, recipe: TrainConfig
) -> float | None:
    """Return how sure it is, 0..1, that both scales' sum separates artificial defects better than the first alone.

    The parts are halved: the banks are built of one half, the photographs of the other are scored. None where the
    photographs are too few.
    """
    fitted, scored = halves(goods, recipe)
    if min(len(fitted), len(scored)) < FEWEST:
        return None
    trial = trial_recipe(recipe, 2, len(fitted), spec)
    heads = trial_heads(features, fitted, spec, trial)

    def judged(image: Image) -> list[float]:
        with torch.inference_mode():
            scales = features.scales(as_floats(image[None]), 2)
            return [float(top_mean(head(one), trial.top_k)) for head, one in zip(heads, scales, strict=True)]

    scores = scores_of_trial(judged, scored, spec, trial, (usual,))
    return scores.chance(0, (1.0, 0.0), (1.0, 1.0), trial.seed)


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
