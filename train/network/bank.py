"""The memory bank: patches of the good photographs, and those of them that are kept as normal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from train.network import NetworkError
from train.network.model import NormalityHead, PatchFeatures, top_mean
from train.run import progress

SPREAD_PHOTOS = 60  # good photos that tell how the scores of a scale spread
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
) -> list[dict[str, Tensor]]:
    """Choose the normal patches that are kept, one bank for each scale.

    Each is a dictionary: `patches` (N, C), `chosen` (N,) their numbers among the candidates, `photo` (N,) the number
    of the photograph that each is from, and `mean` and `std` (C,) of all candidates.
    """
    files = [sample.path for sample in goods]
    with torch.inference_mode():
        drawn = collect_patches(
            lambda path: [one[0] for one in features.scales(image_tensor(path, spec), _scales(recipe))], files, recipe
        )
    banks = []
    for one in drawn:
        mean, std = statistics(one.rows, features.fine_channels, recipe)
        chosen = k_centre_greedy((one.rows - mean) / std, recipe.bank // _scales(recipe), recipe.seed)
        kept = {"patches": one.rows[chosen], "chosen": chosen, "photo": one.photo[chosen]}
        banks.append({**kept, "mean": mean, "std": std})
    return banks


def normality_head(state: Mapping[str, Tensor]) -> NormalityHead:
    """The head around a memory bank."""
    return NormalityHead(state["mean"], state["std"], (state["patches"] - state["mean"]) / state["std"])


def collect_patches(
    extract: Callable[[Path], Sequence[Tensor]], files: Sequence[Path], recipe: TrainConfig
) -> list[Candidates]:
    """Draw the candidates of each scale evenly from each image's (C, h, w) features, recipe.candidates in all.

    The same files and recipe draw the same places, whatever network extracts them. Raises NetworkError when they are
    too few to fill a bank.
    """
    generators = [torch.Generator().manual_seed(recipe.seed + scale) for scale in range(_scales(recipe))]
    per_image = max(1, recipe.candidates // _scales(recipe) // len(files))
    drawn: list[list[Tensor]] = [[] for _ in generators]
    for path in progress(files, "features"):
        for one, generator, kept in zip(extract(path), generators, drawn, strict=True):
            rows = one.flatten(1).T
            kept.append(rows[torch.randperm(len(rows), generator=generator)[:per_image]].clone())
    found = [_candidates(kept) for kept in drawn]
    fewest = min(len(one.rows) for one in found)
    if fewest <= recipe.bank // _scales(recipe):
        raise NetworkError(
            f"{len(files)} good images give {fewest} patches, a bank of {recipe.bank // _scales(recipe)} needs more; "
            f"add good images or ask for a smaller --bank"
        )
    return found


def _scales(recipe: TrainConfig) -> int:
    return max(1, recipe.scales)  # runs of before there were two say nothing


def _candidates(by_photo: Sequence[Tensor]) -> Candidates:
    photo = torch.cat([torch.full((len(rows),), number) for number, rows in enumerate(by_photo)])
    return Candidates(torch.cat(list(by_photo)), photo)


def second_share(
    features: PatchFeatures,
    banks: Sequence[Mapping[str, Tensor]],
    goods: Sequence[Sample],
    spec: InputSpec,
    recipe: TrainConfig,
) -> float:
    """Return the weight of the second scale's map, 0..1: both weigh inversely to the spread of the good photos' scores.

    A photograph's score at one scale is measured against the patches of all other photographs, so that no held-out
    part has a say.
    """
    numbers = range(0, len(goods), max(1, len(goods) // SPREAD_PHOTOS))
    scores: list[list[float]] = [[] for _ in banks]
    with torch.inference_mode():
        for number in progress(numbers, "scales"):
            scales = features.scales(image_tensor(goods[number].path, spec), 2)
            for patches, bank, found in zip(scales, banks, scores, strict=True):
                others = bank["photo"] != number
                head = normality_head({**bank, "patches": bank["patches"][others]})
                found.append(float(top_mean(head(patches), recipe.top_k)))
    first, second = (float(np.std(found)) + 1e-6 for found in scores)
    return first / (first + second)


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
    if rows.shape[1] > PROJECTED:
        rows = rows @ (torch.randn(rows.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5)
    square = (rows * rows).sum(dim=1)
    nearest = torch.full((len(rows),), torch.inf)
    chosen = [start]
    for _ in progress(range(size - 1), "memory bank"):
        last = chosen[-1]
        torch.minimum(nearest, square - 2.0 * (rows @ rows[last]) + square[last], out=nearest)
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)
