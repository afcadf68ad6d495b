"""A student of the backbone: it learns on good photographs, and on artificial defects, to see what the teacher sees.

Block by block, the student's last convolution is a least-squares fit of what it has left to what the teacher's block
answers (after ThiNet, Luo et al. 2017); the inner channels that leave are those that the fit misses least (optimal
brain surgeon, Hassibi and Stork 1993). No step of gradient descent is taken, so that there is no rate and no
temperature to set. What the memory bank needs is small beside what good parts vary by: the difference that a defect
makes to the teacher's answer is fitted as well, and weighs more than the answer itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge.core.types import Image
from train.config import TrainConfig
from train.data.anomalies import add_anomaly
from train.data.batches import Photos
from train.data.dataset import Sample
from train.network.backbones import Backbone
from train.network.trunk.student import (
    groups_of,
    narrowed,
    parameters,
    replace_group,
    wanted_blocks,
    wanted_channels,
)
from train.run import progress

PIXELS = 6_000_000  # of all good photographs together that the student learns on, at the input's size
FEWEST, MOST = 8, 64  # of them
DEFECTS = 4  # at most, drawn on the second picture of a pair
CELLS = 12_000  # of each block's map that it is fitted on, and as many differences
DIFFERENCE = 100.0  # times as much as the answers weigh the differences that defects make (docs/decisions/0034)
RIDGE = 1e-2  # of the channels' mean sum of squares: how strongly weights are drawn to the teacher's
SHRINK = 0.85  # of the channels are left at a time, before those that are left are weighed anew


@dataclass(frozen=True)
class Equations:
    """Least squares of O answers on C inner channels, drawn a little to the weights that the teacher has, in float64.

    Where the rows are too few to tell, the teacher's weights stay.
    """

    inner: Tensor  # (C, C) H'H of rows H (n, C), centred
    both: Tensor  # (C, O) H'Y with answers Y (n, O), centred
    answers: Tensor  # (O,) Y'Y
    known: Tensor  # (C, O) the teacher's weights

    @classmethod
    def of(cls, inner: Tensor, answers: Tensor, known: Tensor) -> Equations:
        """inner (n, C), answers (n, O), known (C, O)."""
        h, y = inner.double(), answers.double()
        return cls(h.T @ h, h.T @ y, (y * y).sum(dim=0), known.double())

    def plus(self, other: Equations, times: float) -> Equations:
        """Return both sets of rows, the others so weighed that the sum of their answers' squares is `times` ours."""
        weight = times * float(self.answers.sum() / other.answers.sum().clamp_min(1e-12))
        return Equations(
            inner=self.inner + weight * other.inner,
            both=self.both + weight * other.both,
            answers=self.answers + weight * other.answers,
            known=self.known,
        )

    def weights(self, kept: Tensor) -> Tensor:
        """(k, O): the answers from the channels kept (k,)."""
        return torch.linalg.solve(self._curvature(kept), self._pull(kept))

    def missed(self, kept: Tensor) -> float:
        """Return the share of the answers' squares, 0..1, that the channels kept leave unexplained, on average."""
        weights = self.weights(kept)
        explained = (weights * (2.0 * self.both[kept] - self.inner[kept][:, kept] @ weights)).sum(dim=0)
        return float((1.0 - explained / self.answers.clamp_min(1e-12)).clamp(0.0, 1.0).mean())

    def costs(self, kept: Tensor) -> Tensor:
        """(k,): by how much the squared error, in units of each answer's square, grows without a channel."""
        inverse = torch.linalg.inv(self._curvature(kept))
        weights = inverse @ self._pull(kept) / self.answers.clamp_min(1e-12).sqrt()
        return weights.square().sum(dim=1) / inverse.diagonal()

    def chosen(self, count: int) -> Tensor:
        """(count,): numbers of the channels that explain the answers best, those that cost least leaving first."""
        kept = torch.arange(len(self.inner))
        while len(kept) > count:
            left = max(count, int(len(kept) * SHRINK))
            kept = kept[self.costs(kept).topk(left).indices.sort().values]
        return kept

    def _curvature(self, kept: Tensor) -> Tensor:
        return self.inner[kept][:, kept] + self._ridge * torch.eye(len(kept), dtype=torch.float64)

    def _pull(self, kept: Tensor) -> Tensor:
        return self.both[kept] + self._ridge * self.known[kept]

    @property
    def _ridge(self) -> float:
        return RIDGE * float(self.inner.diagonal().mean()) + 1e-12


@torch.inference_mode()
def distil(
    teacher: Backbone, photos: Photos, goods: Sequence[Sample], recipe: TrainConfig
) -> tuple[Backbone, dict[str, Any]]:
    """Return a student that answers with the teacher's stages, and what is known of it.

    Raises NetworkError where the backbone's blocks cannot lose channels.
    """
    student = Backbone.from_state(teacher.name, teacher.state_dict()).eval()
    teacher = teacher.eval()
    pairs = [_floats(pair) for pair in _pairs(photos, goods, recipe)]
    generator = torch.Generator().manual_seed(recipe.seed)
    seen = known = [_first(student, pair) for pair in progress(pairs, "student, photos")]
    missed: list[float] = []
    for number, group in enumerate(progress(groups_of(teacher.stages, teacher.name), "student, blocks"), 1):
        count = wanted_blocks(len(group), number)
        blocks: list[nn.Module] = []
        for index in range(count):
            stands_for = group[index : index + 1] if index < count - 1 else group[index:]
            known = [stands_for(maps) for maps in known]
            block, error = _fitted(group[index], seen, known, number, generator)
            seen = [block(maps) for maps in seen]
            blocks.append(block)
            missed.append(error)
        replace_group(student.stages, number, blocks)
    facts = {
        "parameters": parameters(student),
        "teacher_parameters": parameters(teacher),
        "pairs": len(pairs),
        "missed_by_block": [round(one, 4) for one in missed],
    }
    return student, facts


def _pairs(photos: Photos, goods: Sequence[Sample], recipe: TrainConfig) -> Iterator[tuple[Image, Image]]:
    """Give good photographs, and each with artificial defects, at the input's size."""
    rng = np.random.default_rng([recipe.seed, 34])
    pixels = photos.load(goods[0])[0].shape[0] * photos.load(goods[0])[0].shape[1]
    for _ in range(int(np.clip(PIXELS // pixels, FEWEST, MOST))):
        good, other = (photos.load(goods[int(rng.integers(len(goods)))])[0] for _ in range(2))
        changed = good
        for _ in range(int(rng.integers(1, DEFECTS + 1))):
            changed, _ = add_anomaly(changed, other, rng)
        yield good, changed


def _floats(pair: tuple[Image, Image]) -> Tensor:
    return torch.from_numpy(np.stack(pair)).permute(0, 3, 1, 2).float()


def _first(backbone: Backbone, pair: Tensor) -> Tensor:
    """Return what the first group of blocks sees, which a student keeps."""
    stages: Any = backbone.stages
    found: Tensor = stages.blocks[0](stages.bn1(stages.conv_stem(pair - backbone.zero)))
    return found


def _fitted(
    block: Any, seen: Sequence[Tensor], known: Sequence[Tensor], group: int, generator: torch.Generator
) -> tuple[nn.Module, float]:
    """Return a block with fewer channels, fitted to the teacher's answers, and the share of them that it misses.

    seen: (2, C, h, w) of each pair, from the student's blocks so far; known: (2, O, h', w'), the teacher's answers.
    """
    rows, differences = [], []
    each = max(1, CELLS // len(seen))
    for maps, answer in zip(seen, known, strict=True):
        inner = _inner_maps(block, maps).flatten(2)
        wanted = (answer - maps if block.has_skip else answer).flatten(2)
        cells = torch.randperm(inner.shape[2], generator=generator)[: max(1, each // 2)]
        rows += [(inner[which][:, cells].T, wanted[which][:, cells].T) for which in range(2)]
        changed = (wanted[1] - wanted[0]).square().sum(dim=0)
        likely = torch.multinomial(changed + 1e-12, min(each, len(changed)), generator=generator)
        differences.append(tuple((maps_[1] - maps_[0])[:, likely].T for maps_ in (inner, wanted)))
    inner, wanted = (torch.cat(column) for column in zip(*rows, strict=True))
    means = inner.mean(dim=0), wanted.mean(dim=0)
    equations = Equations.of(inner - means[0], wanted - means[1], _weights_of(block))
    changes = [torch.cat(column) for column in zip(*differences, strict=True)]
    equations = equations.plus(Equations.of(changes[0], changes[1], equations.known), DIFFERENCE)
    kept = equations.chosen(wanted_channels(inner.shape[1], group))
    weights = equations.weights(kept).float()
    return _with(narrowed(block, kept), weights, means[1] - means[0][kept] @ weights), equations.missed(kept)


def _inner_maps(block: Any, maps: Tensor) -> Tensor:
    """Return what a block's last convolution sees."""
    found: Tensor = block.bn2(block.conv_dw(block.bn1(block.conv_pw(maps))))
    return found


def _weights_of(block: Any) -> Tensor:
    """Return the weights (C, O) of a block's last convolution and its batch norm."""
    gain = block.bn3.weight / (block.bn3.running_var + block.bn3.eps).sqrt()
    weights: Tensor = (block.conv_pwl.weight[:, :, 0, 0] * gain[:, None]).T
    return weights


def _with(block: Any, weights: Tensor, bias: Tensor) -> nn.Module:
    """Give a block's last convolution weights (k, O) and a bias (O,), which its batch norm holds, and return it."""
    block.conv_pwl.weight = nn.Parameter(weights.T[:, :, None, None].contiguous())
    norm = block.bn3
    norm.weight, norm.bias = nn.Parameter(torch.ones_like(bias)), nn.Parameter(bias.clone())
    norm.running_mean, norm.running_var = torch.zeros_like(bias), torch.full_like(bias, 1.0 - norm.eps)
    return nn.Module.requires_grad_(block)
