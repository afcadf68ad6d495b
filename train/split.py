"""Which images of a data set do what: fit, hold out, validate, or measure. Images of one part stay together."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from train.data import GOOD, DataError, Dataset, Sample, part_names, split_goods
from train.recipe import Recipe

VALIDATION_GOODS = 48  # at most: enough to tell an escape from noise


@dataclass(frozen=True, slots=True)
class Split:
    """Every image in at most one role; what is left of test/ is measured on."""

    fit: tuple[Sample, ...]  # good: the bank and the heads
    holdout: tuple[Sample, ...]  # good: the threshold, and nothing else
    validation: tuple[Sample, ...]  # good and defective: early stopping, fusion, calibration
    defects: tuple[Sample, ...]  # defective: the heads
    left_out: tuple[
        Sample, ...
    ]  # of test/: other images of parts that were trained on; measuring on them would flatter


def split(dataset: Dataset, recipe: Recipe) -> Split:
    """Draw the roles from the recipe's seed; raises DataError when there is too little of something."""
    goods = len(dataset.train_good)
    share = max(recipe.holdout_share, min(20 / goods, 0.25))  # 20 held-out goods, if that is no more than a quarter
    fit, holdout = split_goods(dataset.train_good, share, recipe.seed, recipe.group_regex, recipe.group_gap)
    drawn, left_out = _drawn(dataset.test, recipe)
    labelled = (*dataset.train_defects, *drawn)
    if not labelled and not recipe.artificial:
        return Split(tuple(fit), tuple(holdout), (), (), ())
    defects, validation = _validation(labelled, recipe)
    wanted = min(VALIDATION_GOODS, max(4, len(fit) // 10))
    fit, kept = split_goods(fit, min(wanted / len(fit), 0.3), recipe.seed + 1, recipe.group_regex, recipe.group_gap)
    return Split(tuple(fit), tuple(holdout), (*kept[:VALIDATION_GOODS], *validation), tuple(defects), tuple(left_out))


def _drawn(test: Sequence[Sample], recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """recipe.labelled defects of test/, alike many of every type, and the other images of their parts."""
    if recipe.labelled == 0:
        return [], []
    bad = [sample for sample in test if sample.label != GOOD]
    types = sorted({sample.label for sample in bad})
    if recipe.labelled >= len(bad):
        raise DataError(
            f"labelled = {recipe.labelled}, but test/ holds {len(bad)} defective images; leave some to measure on"
        )
    drawn: list[Sample] = []
    left_out: list[Sample] = []
    quotas = [recipe.labelled * (i + 1) // len(types) - recipe.labelled * i // len(types) for i in range(len(types))]
    for name, quota in zip(types, quotas, strict=True):
        parts = _shuffled_parts([sample for sample in bad if sample.label == name], recipe)
        # One image of each part before a second one of any: many parts teach more than many views of few.
        ordered = [part[view] for view in range(max(map(len, parts))) for part in parts if view < len(part)]
        taken = set(ordered[:quota])
        drawn += ordered[:quota]
        left_out += [s for part in parts if taken & set(part) for s in part if s not in taken]
    return drawn, left_out


def _validation(labelled: Sequence[Sample], recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """(to train on, to validate on): a share of every type that has at least four images, by part."""
    defects: list[Sample] = []
    validation: list[Sample] = []
    for name in sorted({sample.label for sample in labelled}):
        of_type = [sample for sample in labelled if sample.label == name]
        wanted = math.floor(recipe.validation_share * len(of_type) + 0.5) if len(of_type) >= 4 else 0
        kept = 0
        for part in sorted(_shuffled_parts(of_type, recipe), key=len):
            chosen = validation if kept < wanted and kept + len(part) <= len(of_type) // 2 else defects
            chosen += part
            kept += len(part) if chosen is validation else 0
    return defects, validation


def _shuffled_parts(samples: Sequence[Sample], recipe: Recipe) -> list[list[Sample]]:
    """The samples by part, parts in random order."""
    parts: dict[str, list[Sample]] = {}
    for sample, part in zip(samples, part_names(samples, recipe.group_regex, recipe.group_gap), strict=True):
        parts.setdefault(part, []).append(sample)
    order = sorted(parts)
    random.Random(recipe.seed).shuffle(order)
    return [parts[name] for name in order]
