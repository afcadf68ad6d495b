"""The physical part that each photograph shows, so that a split never puts one part on both sides.

Nothing is guessed: without a rule every image is a part of its own. A rule is either `groups.csv` at the root of the
data set (columns file,group) or a regular expression whose first group, found in the file's name, is the part. Where
a camera numbers its frames instead of the parts, a gap joins numbers at most that far apart into one part.

And the parts that lie far beyond the rest: those with a fibre, damage, or a defect under a wrong name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.dataset import GROUPS_FILE, DataError, Dataset, Sample

SPREADS, TIMES = 6.0, 1.5  # beyond both a good part is worth a look


class PartError(DataError):
    """A rule for telling parts apart that does not fit the names of the files."""


def part_names(samples: Sequence[Sample], group_regex: str | None = None, group_gap: int = 0) -> list[str]:
    """Return the physical part that each image shows: by groups.csv, by the rule, or every image its own."""
    if group_regex is None:
        if group_gap:
            raise PartError("group_gap is set without group_regex; say which number of the name it compares")
        return [f"file {s.path}" if s.part is None else f"part {s.part}" for s in samples]
    if any(sample.part is not None for sample in samples):
        raise PartError(f"{GROUPS_FILE} and group_regex both tell the parts; keep one of them")
    return part_keys([sample.path for sample in samples], group_regex, group_gap)


def group_problems(dataset: Dataset) -> list[str]:
    """Return one line for each thing that groups.csv says of parts and that training or measuring cannot bear.

    A part among the goods of train/ that stands in test/ as well would be measured against its own photographs. Other
    photographs of parts whose labelled defects are learned from are no problem: they are not measured on.
    """
    table, problems = dataset.root / GROUPS_FILE, []
    shown = {sample.part: sample for sample in reversed(dataset.train_good)}
    if len(shown) == 1 and None not in shown and len(dataset.train_good) > 1:
        problems.append(
            f"{table}: says that all {len(dataset.train_good)} good images show one part; photograph different parts"
        )
    both = [sample for sample in dataset.test if sample.part is not None and sample.part in shown]
    if both:
        first, other = (sample.path.relative_to(dataset.root) for sample in (shown[both[0].part], both[0]))
        problems.append(
            f"{table}: {len(both)} images of test/ show parts that are in train/good, too (first: {other} and {first}, "
            f"part {both[0].part}); keep all images of a part on one side"
        )
    return problems


def part_keys(files: Sequence[Path], group_regex: str, group_gap: int = 0) -> list[str]:
    """Return the part that each file shows according to its name, in the order of the files.

    With a gap the expression must find numbers; numbers at most that far from the next one are one part. Raises
    PartError when the expression is malformed, has no group, or does not match a name.
    """
    pattern = _compile(group_regex)
    found = [_match(pattern, file) for file in files]
    return _join(files, found, group_gap) if group_gap else [f"part {value}" for value in found]


def _compile(group_regex: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(group_regex)
    except re.error as error:
        raise PartError(f"group_regex {group_regex!r} is not a regular expression ({error})") from error
    if not pattern.groups:
        raise PartError(f"group_regex {group_regex!r} has no group; put the part's name in parentheses")
    return pattern


def _match(pattern: re.Pattern[str], file: Path) -> str:
    match = pattern.search(file.name)
    if match is None or match[1] is None:
        raise PartError(f"group_regex {pattern.pattern!r} does not match {file.name}; it must fit every good image")
    return match[1]


def _join(files: Sequence[Path], found: Sequence[str], gap: int) -> list[str]:
    """Chain numbers at most `gap` apart; the lowest number names the part."""
    for file, value in zip(files, found, strict=True):
        if not value.isdecimal():
            raise PartError(f"group_gap needs numbers, but group_regex finds {value!r} in {file.name}")
    names: dict[int, str] = {}
    previous, name = None, ""
    for number in sorted({int(value) for value in found}):
        if previous is None or number - previous > gap:
            name = f"part {number}"
        names[number] = name
        previous = number
    return [names[int(value)] for value in found]


def far_beyond(scores: Sequence[float]) -> NDArray[np.bool_]:
    """Return which of some positive scores lie far above the rest, (N,).

    Far is SPREADS robust standard deviations of the log scores (1.4826 times the median deviation) above their
    median, and TIMES the median at least.
    """
    logs = np.log(np.maximum(np.asarray(scores, np.float64), 1e-12))
    above = logs - np.median(logs)
    spread = 1.4826 * float(np.median(np.abs(above)))
    return np.asarray(above > max(SPREADS * spread, math.log(TIMES)))


def spared(scores: Sequence[float], parts: Sequence[str], most: int) -> set[str]:
    """Return the parts that score far beyond the rest, at most so many, the farthest first.

    parts: the part that each score is of. A part with one such photograph is one of them.
    """
    far = far_beyond(scores)
    order = sorted(np.flatnonzero(far).tolist(), key=lambda index: -scores[index])
    return set(list(dict.fromkeys(parts[index] for index in order))[:most])
