"""The role of each image of a data set: fit, hold out, validate, or measure. Images of one part stay together."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.config import TrainConfig
from train.data.dataset import GOOD, DataError, Dataset, Sample
from train.data.parts import part_names

VALIDATION_GOODS = 48  # at most: enough to tell an escape from noise


@dataclass(frozen=True, slots=True)
class Split:
    """The images of a data set by role, each in at most one; what is left of test/ is measured on."""

    fit: tuple[Sample, ...]  # good: the bank and the heads
    holdout: tuple[Sample, ...]  # good: the threshold, and nothing else
    validation: tuple[Sample, ...]  # good and defective: early stopping, fusion, calibration
    defects: tuple[Sample, ...]  # defective: the heads
    # Of test/: other images of parts whose defects were trained on; measuring on them would flatter.
    left_out: tuple[Sample, ...]
    cross: bool = False  # goods that set the threshold are in the bank, and are scored without their own part

    @property
    def bank(self) -> tuple[Sample, ...]:
        """Return the good images whose patches may be in the memory bank."""
        return (*self.fit, *self.holdout) if self.cross else self.fit

    @property
    def defect_types(self) -> tuple[str, ...]:
        """Return the types of defect that the classifier names; one type alone needs no name."""
        named = sorted({sample.label for sample in self.defects})
        return tuple(named) if len(named) > 1 else ()

    @property
    def has_heads(self) -> bool:
        """Return whether the heads ship: artificial defects alone teach the backbone only (docs/decisions/0017)."""
        return bool(self.defects)


def split(dataset: Dataset, recipe: TrainConfig) -> Split:
    """Draw the roles from the recipe's seed; raises DataError when there is too little of something.

    Without heads and with limit = "cross" none is held out: each good is scored without the cells of its own part.
    Heads learn from their goods, so that with heads the held-out goods set the threshold. Only heads are validated.
    """
    goods = len(dataset.train_good)
    share = max(recipe.holdout_share, min(20 / goods, 0.25))  # 20 held-out goods, if that is no more than a quarter
    fit, holdout = split_goods(dataset.train_good, share, recipe.seed, recipe.group_regex, recipe.group_gap)
    cross = _is_cross(holdout, recipe)
    some = bool(dataset.train_defects or recipe.labelled)
    # Of all, since a gap may be bridged by an image that is not drawn.
    parts = _part_of((*dataset.train_defects, *dataset.test), recipe) if some else {}
    labelled = (*dataset.train_defects, *_drawn(dataset.test, parts, recipe))
    if not labelled and cross:
        fit, holdout = list(dataset.train_good), []
    if not labelled:
        return Split(tuple(fit), tuple(holdout), (), (), (), cross)
    defects, validation = _validation(labelled, parts, recipe)
    wanted = min(VALIDATION_GOODS, max(4, len(fit) // 10))
    fit, kept = split_goods(fit, min(wanted / len(fit), 0.3), recipe.seed + 1, recipe.group_regex, recipe.group_gap)
    left_out = _left_out(dataset, labelled, parts)
    return Split(tuple(fit), tuple(holdout), (*kept[:VALIDATION_GOODS], *validation), tuple(defects), left_out, cross)


def _is_cross(holdout: Sequence[Sample], recipe: TrainConfig) -> bool:
    """Return whether all goods set the limit: where the held-out parts alone cannot guarantee alpha."""
    if recipe.limit != "auto":
        return recipe.limit == "cross"
    parts = len(set(part_names(holdout, recipe.group_regex, recipe.group_gap)))
    return recipe.alpha * (parts + 1) + 1e-9 < 1 + recipe.outliers


def split_goods(
    samples: Sequence[Sample],
    holdout_share: float,
    seed: int,
    group_regex: str | None = None,
    group_gap: int = 0,
) -> tuple[list[Sample], list[Sample]]:
    """Split into (fit, holdout), each in the order given; all images of one part go to one side.

    The part is told by groups.csv or by the rule (train.data.parts.part_keys); without either, every image is a part.
    Parts are drawn at random until the holdout has at least its share of the images; one part at least stays on
    each side. Raises DataError when the share is not between 0 and 1 or there are fewer than two parts.
    """
    if not 0 < holdout_share < 1:
        raise DataError(f"the holdout share is {holdout_share}; it must lie between 0 and 1")
    parts = part_names(samples, group_regex, group_gap)
    sizes = Counter(parts)
    if len(sizes) < 2:
        raise DataError(f"{len(samples)} good images show {len(sizes)} part; holding some out needs at least 2 parts")
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    wanted = math.ceil(holdout_share * len(samples) - 1e-9)
    held: set[str] = set()
    taken = 0
    for part in order[:-1]:
        if taken >= wanted:
            break
        held.add(part)
        taken += sizes[part]
    paired = list(zip(samples, parts, strict=True))
    return [s for s, part in paired if part not in held], [s for s, part in paired if part in held]


def _drawn(test: Sequence[Sample], parts: Mapping[Sample, str], recipe: TrainConfig) -> list[Sample]:
    """Draw recipe.labelled defects of test/, alike many of every type."""
    if recipe.labelled == 0:
        return []
    bad = [sample for sample in test if sample.label != GOOD]
    if recipe.labelled >= len(bad):
        raise DataError(
            f"labelled = {recipe.labelled}, but test/ holds {len(bad)} defective images; leave some to measure on"
        )
    drawn: list[Sample] = []
    for name, quota in _quotas(Counter(sample.label for sample in bad), recipe.labelled).items():
        shuffled = _shuffled_parts([sample for sample in bad if sample.label == name], parts, recipe)
        # One image of each part before a second one of any: many parts teach more than many views of few.
        ordered = [part[view] for view in range(max(map(len, shuffled))) for part in shuffled if view < len(part)]
        drawn += ordered[:quota]
    return drawn


def _quotas(numbers: Mapping[str, int], wanted: int) -> dict[str, int]:
    """Return the number to draw of each type, in the order of their names: alike, as far as there are as many."""
    quotas = dict.fromkeys(sorted(numbers), 0)
    for _ in range(wanted):
        quotas[min((name for name in quotas if quotas[name] < numbers[name]), key=quotas.__getitem__)] += 1
    return quotas


def _left_out(dataset: Dataset, labelled: Sequence[Sample], parts: Mapping[Sample, str]) -> tuple[Sample, ...]:
    """Return the images of test/, good or defective, that show parts whose defects are trained on."""
    if not labelled:
        return ()
    trained = {parts[sample] for sample in labelled}
    return tuple(sample for sample in dataset.test if parts[sample] in trained and sample not in labelled)


def _validation(
    labelled: Sequence[Sample], parts: Mapping[Sample, str], recipe: TrainConfig
) -> tuple[list[Sample], list[Sample]]:
    """(to train on, to validate on): a share of every type that has at least four images, by part."""
    defects: list[Sample] = []
    validation: list[Sample] = []
    sides: dict[str, list[Sample]] = {}  # a part may show defects of several types
    for name in sorted({sample.label for sample in labelled}):
        of_type = [sample for sample in labelled if sample.label == name]
        wanted = math.floor(recipe.validation_share * len(of_type) + 0.5) if len(of_type) >= 4 else 0
        kept = 0
        for part in sorted(_shuffled_parts(of_type, parts, recipe), key=len):
            fits = kept < wanted and kept + len(part) <= len(of_type) // 2
            chosen = sides.setdefault(parts[part[0]], validation if fits else defects)
            chosen += part
            kept += len(part) if chosen is validation else 0
    return defects, validation


def _part_of(samples: Sequence[Sample], recipe: TrainConfig) -> dict[Sample, str]:
    return dict(zip(samples, part_names(samples, recipe.group_regex, recipe.group_gap), strict=True))


def _shuffled_parts(samples: Sequence[Sample], parts: Mapping[Sample, str], recipe: TrainConfig) -> list[list[Sample]]:
    """Group the samples by part, parts in random order."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(parts[sample], []).append(sample)
    order = sorted(found)
    random.Random(recipe.seed).shuffle(order)
    return [found[name] for name in order]
