"""What good parts show at each place: an opinion for parts that lie where they always lie.

A memory bank knows what patches there are, not where they belong: a component that is missing, turned or shifted
shows nothing that other places do not show. Where the photographs lie over each other, each place has a mean and a
spread of its own (PaDiM, Defard et al. 2021, here without covariances).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge.core.types import Image
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.dataset import Sample
from train.network.bank import as_floats, image_tensor, part_numbers
from train.network.model import PatchFeatures, Place, top_mean
from train.network.second.trial import at_another_place, halves, scores_of_trial, trial_heads, trial_recipe, usual
from train.run import progress

SHRUNK = 0.5  # of a channel's usual variance that is added to that of each place: few photographs tell it badly
KEPT_ALIKE = 1.0  # of the usual variance that is added to every channel's before they are made independent
MOST_OTHER = 20.0  # times that one of both opinions may weigh against the other
FEWEST = 12  # good photographs on either side of a trial


@dataclass(frozen=True)
class Places:
    """What good photographs show at strides 8 and 16, (n, C, h, w) float16 each, and the part that each shows, (n,)."""

    stages: tuple[Tensor, Tensor]
    part: Tensor

    def statistics(self, without: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return mean and spread of each place, (1, C, h, w) float32, at each stage: of all parts or of all but one."""
        found = []
        for stage, (count, total, squares) in zip(self.stages, self._sums, strict=True):
            if without is not None:
                less, total_of, squares_of = _sums(stage[self.part == without])
                count, total, squares = count - less, total - total_of, squares - squares_of
            mean = total / count
            variance = (squares / count - mean * mean).clamp_min(0.0)
            usual = variance.mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
            found.append((mean.float()[None], (variance + SHRUNK * usual).sqrt().float()[None]))
        return found

    def known(self, without: int | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return `statistics` and, beside them, the (C, C) matrix of each stage that makes its channels independent."""
        return [(*one, matrix) for one, matrix in zip(self.statistics(without), self._independent, strict=True)]

    @cached_property
    def _independent(self) -> list[Tensor]:
        """Of all parts: what one part changes in the covariance of all places is little."""
        found = []
        for stage, (mean, spread) in zip(self.stages, self.statistics(), strict=True):
            covariance = torch.zeros(stage.shape[1], stage.shape[1])
            for one in stage:
                away = ((one.float() - mean[0]) / spread[0]).flatten(1)
                covariance += away @ away.T
            usual = covariance.diagonal().mean().clamp_min(1e-12)
            covariance = (covariance / usual + KEPT_ALIKE * torch.eye(len(covariance))) / (1.0 + KEPT_ALIKE)
            found.append(torch.linalg.cholesky(torch.linalg.inv(covariance)).T.contiguous())
        return found

    @cached_property
    def _sums(self) -> list[tuple[int, Tensor, Tensor]]:
        return [_sums(stage) for stage in self.stages]

    def scores(self, numbers: Sequence[int], top_k: int) -> list[float]:
        """Return the scores of some of the photographs, each by the places of all other parts."""
        found = []
        for number in progress(numbers, "places"):
            place = Place(self.known(int(self.part[number])), share=1.0)
            judged, _ = place([stage[number].float()[None] for stage in self.stages])
            found.append(float(top_mean(judged, top_k)))
        return found


def _sums(fine: Tensor) -> tuple[int, Tensor, Tensor]:
    """(n, C, h, w) -> n, and the sums of the values and of their squares, (C, h, w) float64."""
    total = torch.zeros(fine.shape[1:], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for one in fine:
        exact = one.double()
        total += exact
        squares += exact * exact
    return len(fine), total, squares


def collect_places(extract: Callable[[Path], Sequence[Tensor]], goods: Sequence[Sample], recipe: TrainConfig) -> Places:
    """Return the places of good photographs; extract: an image file -> its (C, h, w) features at strides 8 and 16."""
    kept = [[stage.half() for stage in extract(sample.path)] for sample in progress(goods, "places")]
    fine, coarse = (torch.stack(stage) for stage in zip(*kept, strict=True))
    return Places((fine, coarse), part_numbers(goods, recipe))


def place_stages(features: PatchFeatures, spec: InputSpec) -> Callable[[Path], list[Tensor]]:
    """Return a function from an image file to its (C, h, w) features at strides 8 and 16."""

    def extract(path: Path) -> list[Tensor]:
        with torch.inference_mode():
            return [stage[0] for stage in features.backbone(image_tensor(path, spec))[-2:]]

    return extract


@dataclass(frozen=True)
class Gain:
    """What places bring to the memory bank, in a trial."""

    displaced: float  # how sure it is, 0..1, that pieces at another place are seen better than by what is replaced
    usual: float  # the same of the artificial defects that heads learn from
    weight: float  # of places against the bank, both in spreads of the good photographs' scores


def gain_by_places(
    features: PatchFeatures, goods: Sequence[Sample], spec: InputSpec, recipe: TrainConfig
) -> Gain | None:
    """Try bank and places against the bank at the scales that the recipe asks for, which they would replace.

    The parts are halved: one half is learned from, the photographs of the other are scored. Bank and places weigh as
    they separate the artificial defects (Fisher's discriminant of independent opinions). None where the photographs
    are too few.
    """
    fitted, scored = halves(goods, recipe)
    if min(len(fitted), len(scored)) < FEWEST:
        return None
    trial = trial_recipe(recipe, max(1, recipe.scales), len(fitted), spec)
    heads = trial_heads(features, fitted, spec, trial)
    places = collect_places(place_stages(features, spec), fitted, trial)
    place = Place(places.known(), share=0.5)

    def judged(image: Image) -> list[float]:
        with torch.inference_mode():
            scales = features.stages(as_floats(image[None]), trial.scales)
            banks = (head(features.patches(stages)) for head, stages in zip(heads, scales, strict=True))
            maps = [place(scales[0])[0], *banks]
            return [float(top_mean(one, trial.top_k)) for one in maps]

    scores = scores_of_trial(judged, scored, spec, trial, (at_another_place, usual))
    own, bank = scores.separations()[:2]
    weight = float(np.clip(own / max(bank, 1e-6), 1 / MOST_OTHER, MOST_OTHER))
    before, now = [0.0] + [1.0] * trial.scales, [weight, 1.0] + [0.0] * (trial.scales - 1)
    displaced, others = (scores.chance(kind, before, now, trial.seed) for kind in (0, 1))
    return Gain(displaced, others, weight)
