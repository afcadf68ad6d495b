"""Grad-CAM of the classification head: what it is by its equation, and that it depends on what was learned."""

import pytest
import torch
from torch import nn

from train.network.heads import DefectHeads
from train.report.opinions import grad_cam, painted, randomised, rank_correlation


class MeanOfChannels(nn.Module):
    """Part logit 0 = sum over channels of weight x mean of the coarse map; logit 1 = minus that."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, stages: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        part = (stages[-1].mean(dim=(2, 3)) * self.weights).sum(dim=1, keepdim=True)
        return stages[0][:, :1], torch.cat([part, -part], dim=1)


def stages(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, channels, side, side, generator=generator) for channels, side in ((4, 24), (6, 12), (8, 6))]


@pytest.fixture(scope="module")
def heads() -> DefectHeads:
    torch.manual_seed(0)
    return DefectHeads((4, 6, 8), 2).eval()


@pytest.mark.parametrize("output", [0, 1])
def test_the_map_of_a_linear_head_is_the_part_of_its_sum_that_is_positive(output: int) -> None:
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, -1.0, 0.25, 1.5])
    found, sign = stages(3), 1.0 if output == 0 else -1.0
    expected = (sign * weights.view(1, 8, 1, 1) * found[-1] / 36).sum(dim=1, keepdim=True).clamp_min(0.0)
    assert torch.allclose(grad_cam(MeanOfChannels(weights), found, output), expected, atol=1e-6)  # type: ignore[arg-type]


def test_the_same_weights_give_the_same_map_and_random_ones_another(heads: DefectHeads) -> None:
    """The sanity check of Adebayo et al. 2018: a map that random weights give as well would explain nothing."""
    for seed in range(4):
        own = grad_cam(heads, stages(seed))[0, 0].numpy()
        assert rank_correlation(own, grad_cam(heads, stages(seed))[0, 0].numpy()) == pytest.approx(1.0)
        assert abs(rank_correlation(own, grad_cam(randomised(heads, seed + 100), stages(seed))[0, 0].numpy())) < 0.7
        assert own.max() > 0


def test_randomising_leaves_the_heads_and_the_draw_of_random_numbers_as_they_are(heads: DefectHeads) -> None:
    before, state = {key: value.clone() for key, value in heads.state_dict().items()}, torch.get_rng_state()
    randomised(heads, 5)
    assert all(torch.equal(value, before[key]) for key, value in heads.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_paint_lies_where_the_map_is_high_and_nowhere_else() -> None:
    import numpy as np

    picture = np.full((40, 60, 3), 90, np.uint8)
    cells = np.zeros((4, 6), np.float32)
    cells[1, 4] = 2.0
    changed = (painted(picture, cells) != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed[15, 45]
    assert 0 <= rows.min() < rows.max() <= 25
    assert columns.min() >= 30
    assert not (painted(picture, np.zeros((4, 6), np.float32)) != picture).any()
