"""The memory bank: patches of the good photographs, and those of them that are kept as normal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge.core.types import Image
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.dataset import Sample
from train.data.parts import part_names, spared
from train.network import NetworkError
from train.network.model import NormalityHead, PatchFeatures, top_mean
from train.run import progress

SPREAD_PHOTOS = 60  # good photos that tell how the scores of a scale spread
BANK = ("patches", "chosen", "part", "mean", "std", "spare", "spare_chosen", "spare_part")  # what a bank holds
PROJECTED = 96  # dimensions in which the bank is chosen


def image_tensor(path: Path, spec: InputSpec) -> Tensor:
    """(1, 3, height, width) float 0..255 RGB, prepared by the device's own code."""
    return as_floats(prepare(load_photo(path, spec), spec))


def as_floats(tensor: Image) -> Tensor:
    """(1, height, width, 3) uint8 -> (1, 3, height, width) float, the network's input."""
    return torch.from_numpy(tensor).permute(0, 3, 1, 2).float()


@dataclass(frozen=True)
class Candidates:
    """Patches drawn from the good photographs, from which a memory bank is chosen."""

    rows: Tensor  # (N, C) float32
    photo: Tensor  # (N,) the number of the photograph that each is from


def memory_banks(
    features: PatchFeatures, goods: Sequence[Sample], spec: InputSpec, recipe: TrainConfig
) -> tuple[list[dict[str, Tensor]], list[Sample]]:
    """Choose the normal patches that are kept, one bank for each scale; return also the goods that gave none.

    Those lie far beyond the rest, and are at most recipe.outliers parts. A scale with fewer patches than its share of
    the bank keeps all of them: the second of two has a quarter of the first one's.

    Each is a dictionary: `patches` (N, C), `chosen` (N,) their numbers among the candidates, `part` (N,) the number
    of the part that each is from (`part_numbers`), `mean` and `std` (C,) of all candidates, and the stand-ins
    (`find_stand_ins`): `spare` (E, C), `spare_chosen` (E,) their numbers, and `spare_part` (E,) for which part.
    """
    files = [sample.path for sample in goods]
    with torch.inference_mode():
        drawn = collect_patches(
            lambda path: [one[0] for one in features.scales(image_tensor(path, spec), _scales(recipe))], files, recipe
        )
    numbers = part_numbers(goods, recipe)
    banks = [_bank(one, numbers[one.photo], features.fine_channels, recipe) for one in drawn]
    odd = _odd_parts(drawn, banks, numbers, recipe)
    kept = [_without(bank, odd, numbers[one.photo]) for bank, one in zip(banks, drawn, strict=True)]
    return kept, [sample for sample, number in zip(goods, numbers.tolist(), strict=True) if number in odd]


def part_numbers(goods: Sequence[Sample], recipe: TrainConfig) -> Tensor:
    """Return the number of the part that each good photograph shows, (n,), counted as they appear."""
    names = part_names(goods, recipe.group_regex, recipe.group_gap)
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])


def _bank(drawn: Candidates, part: Tensor, fine_channels: int, recipe: TrainConfig) -> dict[str, Tensor]:
    """Choose the bank of one scale; part: (N,) of each candidate."""
    mean, std = statistics(drawn.rows, fine_channels, recipe)
    rows = (drawn.rows - mean) / std
    chosen = k_centre_greedy(rows, min(recipe.bank // _scales(recipe), len(rows)), recipe.seed)
    if len(part.unique()) > 1 and len(part[chosen].unique()) == 1:
        raise NetworkError(
            "the memory bank is filled by one part alone: to the network all good images look alike; "
            "photograph different parts, or ask for a larger --bank"
        )
    spare, place = find_stand_ins(rows, part, chosen, recipe.seed)
    bank = {"patches": drawn.rows[chosen], "chosen": chosen, "part": part[chosen], "mean": mean, "std": std}
    return {**bank, "spare": drawn.rows[spare], "spare_chosen": spare, "spare_part": place}


def find_stand_ins(rows: Tensor, part: Tensor, chosen: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Choose the patches that stand in for those of each part while that part is scored.

    A bank chosen from all parts without the rows of one is not the bank that the others would have given: what its
    rows covered, other parts' rows were not chosen for. Those that lost their nearest row are covered again, the
    farthest first, by as many rows as are gone. Without them the scores of 30 flanges lay 3.4 spreads above those of
    new ones, with them 0.1 (docs/decisions/0016).

    rows: (N, C) standardised candidates; part: (N,) the part of each; chosen: (B,) the bank. Returns (E,) numbers of
    candidates and (E,) the part in whose place each stands.
    """
    rows = _projected(rows, torch.Generator().manual_seed(seed))
    _, owner = _nearest(rows, rows[chosen])
    owned = part[chosen]
    spare: list[int] = []
    place: list[int] = []
    for number in progress(part.unique().tolist(), "stand-ins"):
        orphans = torch.nonzero((owned[owner] == number) & (part != number))[:, 0]
        removed = int((owned == number).sum())
        if len(orphans) == 0 or removed == len(chosen):
            continue
        left = rows[orphans]
        nearest, _ = _nearest(left, rows[chosen[owned != number]])
        for _ in range(removed):
            farthest = int(nearest.argmax())
            if float(nearest[farthest]) <= 0.0:
                break
            spare.append(int(orphans[farthest]))
            place.append(number)
            torch.minimum(nearest, (left - left[farthest]).square().sum(dim=1), out=nearest)
    return torch.tensor(spare, dtype=torch.long), torch.tensor(place, dtype=torch.long)


def _nearest(rows: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) rows -> (N,) squared distance to the nearest of (B, C) rows, (N,) its number."""
    square = bank.square().sum(dim=1)
    found = [(square - 2.0 * (some @ bank.T)).min(dim=1) for some in rows.split(4096)]
    distances = torch.cat([one.values for one in found]) + rows.square().sum(dim=1)
    return distances.clamp_min(0.0), torch.cat([one.indices for one in found])


def without_part(bank: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return the bank as it would be without a part, so that the part's own photographs can be scored."""
    kept = torch.cat([bank["patches"][bank["part"] != number], bank["spare"][bank["spare_part"] == number]])
    return {"patches": kept, "mean": bank["mean"], "std": bank["std"]}


def _odd_parts(
    drawn: Sequence[Candidates], banks: Sequence[Mapping[str, Tensor]], numbers: Tensor, recipe: TrainConfig
) -> set[int]:
    """Return the parts that lie far beyond the rest at a scale, recipe.outliers of them at most."""
    names = [str(number) for number in numbers.tolist()]
    if recipe.outliers == 0 or len(set(names)) < 4:
        return set()
    found: dict[str, float] = {}
    for one, bank in zip(drawn, banks, strict=True):
        scores = torch.zeros(len(numbers))
        for number in numbers.unique().tolist():
            left = without_part(bank, number)
            head = (left["patches"] - bank["mean"]) / bank["std"]
            for photo in torch.nonzero(numbers == number)[:, 0].tolist():
                rows = (one.rows[one.photo == photo] - bank["mean"]) / bank["std"]
                distances = _nearest(rows, head)[0].sqrt()
                scores[photo] = distances.topk(min(recipe.top_k, len(rows))).values.mean()
        values = scores.tolist()
        for name in spared(values, names, recipe.outliers):
            highest = max(value for value, own in zip(values, names, strict=True) if own == name)
            found[name] = max(found.get(name, 0.0), highest / float(scores.median()))
    return {int(name) for name in sorted(found, key=lambda name: -found[name])[: recipe.outliers]}


def _without(bank: Mapping[str, Tensor], odd: Set[int], part: Tensor) -> dict[str, Tensor]:
    """Return the bank with stand-ins in the place of some parts; part: (N,) of each candidate."""
    gone = torch.tensor(sorted(odd), dtype=torch.long)
    own, true = (~torch.isin(part[bank[key]], gone) for key in ("chosen", "spare_chosen"))
    joins, waits = (true & one for one in (torch.isin(bank["spare_part"], gone), ~torch.isin(bank["spare_part"], gone)))
    patches = torch.cat([bank["patches"][own], bank["spare"][joins]])
    chosen = torch.cat([bank["chosen"][own], bank["spare_chosen"][joins]])
    rows = {"patches": patches, "chosen": chosen, "part": part[chosen]}
    return {**bank, **rows, **{key: bank[key][waits] for key in ("spare", "spare_chosen", "spare_part")}}


def normality_head(state: Mapping[str, Tensor]) -> NormalityHead:
    """The head around a memory bank."""
    return NormalityHead(state["mean"], state["std"], (state["patches"] - state["mean"]) / state["std"])


def collect_patches(
    extract: Callable[[Path], Sequence[Tensor]], files: Sequence[Path], recipe: TrainConfig
) -> list[Candidates]:
    """Draw the candidates of each scale evenly from each image's (C, h, w) features, recipe.candidates in all.

    The same files and recipe draw the same places, whatever network extracts them.
    """
    generators = [torch.Generator().manual_seed(recipe.seed + scale) for scale in range(_scales(recipe))]
    per_image = max(1, recipe.candidates // _scales(recipe) // len(files))
    drawn: list[list[Tensor]] = [[] for _ in generators]
    for path in progress(files, "features"):
        for one, generator, kept in zip(extract(path), generators, drawn, strict=True):
            rows = one.flatten(1).T
            kept.append(rows[torch.randperm(len(rows), generator=generator)[:per_image]].clone())
    return [_candidates(kept) for kept in drawn]


def patches_of(photos: int, spec: InputSpec, recipe: TrainConfig) -> int:
    """Return how many patches of so many photographs the first scale's bank is chosen from."""
    cells = spec.width * spec.height // recipe.patch_stride**2
    return photos * min(cells, max(1, recipe.candidates // _scales(recipe) // photos))


def refuse_few(photos: int, spec: InputSpec, recipe: TrainConfig) -> None:
    """Raise NetworkError where the first scale of so many photographs cannot fill the bank that somebody asked for.

    Where nobody did, few and small photographs keep all their patches.
    """
    if "bank" not in recipe.model_fields_set:
        return
    share, patches = recipe.bank // _scales(recipe), patches_of(photos, spec, recipe)
    if patches < share:
        raise NetworkError(
            f"{photos} good images give {patches} patches, a bank of {share} needs more; "
            f"add good images or ask for a smaller --bank"
        )


def _scales(recipe: TrainConfig) -> int:
    return max(1, recipe.scales)  # runs of before there were two say nothing


def _candidates(by_photo: Sequence[Tensor]) -> Candidates:
    photo = torch.cat([torch.full((len(rows),), number) for number, rows in enumerate(by_photo)])
    return Candidates(torch.cat(list(by_photo)), photo)


def spread_goods(count: int) -> range:
    """Return the numbers of the good photographs, evenly drawn, that tell how an opinion's scores spread."""
    return range(0, count, max(1, count // SPREAD_PHOTOS))


def second_share(first: Sequence[float], second: Sequence[float], weight: float = 1.0) -> float:
    """Return the share of the second opinion, 0..1: both weigh inversely to the spread of good photographs' scores.

    weight: of the second in its spreads, where the first has 1.
    """
    one, other = (float(np.std(scores)) + 1e-6 for scores in (first, second))
    return weight * one / (weight * one + other)


def scores_of_goods(
    features: PatchFeatures,
    banks: Sequence[Mapping[str, Tensor]],
    goods: Sequence[Sample],
    spec: InputSpec,
    recipe: TrainConfig,
) -> list[list[float]]:
    """Return the scores of `spread_goods` by each scale's memory bank, without the patches of their own parts."""
    parts = part_numbers(goods, recipe)
    scores: list[list[float]] = [[] for _ in banks]
    with torch.inference_mode():
        for number in progress(spread_goods(len(goods)), "scales"):
            scales = features.scales(image_tensor(goods[number].path, spec), len(banks))
            for patches, bank, found in zip(scales, banks, scores, strict=True):
                head = normality_head(without_part(bank, int(parts[number])))
                found.append(float(top_mean(head(patches), recipe.top_k)))
    return scores


def statistics(patches: Tensor, fine_channels: int, recipe: TrainConfig) -> tuple[Tensor, Tensor]:
    """(C,) mean and (C,) standard deviation of (N, C) patches; the fine stage's is enlarged to weigh it less.

    The stride-8 stage sees texture more than form: at full weight it drowns what the stride-16 stage knows
    (docs/decisions/0004).
    """
    std = patches.std(dim=0).clamp_min(1e-6)
    std[:fine_channels] /= recipe.fine_weight
    return patches.mean(dim=0), std


def k_centre_greedy(rows: Tensor, size: int, seed: int) -> Tensor:
    """Indices of the (N, C) rows that cover the rest best: each next one is the farthest from those chosen.

    A 2-approximation of the minimax facility location problem (Gonzalez 1985), as in PatchCore; likewise on a random
    projection, which keeps distances (Johnson and Lindenstrauss 1984). Of 152 features, 96 dimensions cost nothing that
    two seeds could tell; 48 cost .01 of the image AUROC on magnetic_tile, for half of the time.
    """
    generator = torch.Generator().manual_seed(seed)
    start = int(torch.randint(len(rows), (1,), generator=generator))
    rows = _projected(rows, generator)
    square = (rows * rows).sum(dim=1)
    nearest = torch.full((len(rows),), torch.inf)
    chosen = [start]
    for _ in progress(range(size - 1), "memory bank"):
        last = chosen[-1]
        torch.minimum(nearest, square - 2.0 * (rows @ rows[last]) + square[last], out=nearest)
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def _projected(rows: Tensor, generator: torch.Generator) -> Tensor:
    """(N, C) rows -> at most PROJECTED columns, about as far apart as before."""
    if rows.shape[1] <= PROJECTED:
        return rows
    return rows @ (torch.randn(rows.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5)
