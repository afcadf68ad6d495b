"""Grad-CAM of the classification head: what it is by its equation, and that it depends on what was learned."""

import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from edge.inference.preprocess import InputSpec, load_image, prepare
from tests.tiny import bad_image, good_image
from train.network.backbones import Backbone
from train.network.bank import as_floats
from train.network.fusion import SOFTNESS, Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, Normality, NormalityHead, PatchFeatures, SecondScale
from train.report.opinions import (
    grad_cam,
    of_scales,
    opinion_panels,
    opinions_of,
    painted,
    randomised,
    rank_correlation,
)

SPEC = InputSpec(width=96, height=64)


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


def a_network(scales: int) -> InspectionNet:
    """A network with random heads, banks of noise and a shift."""
    torch.manual_seed(3)
    features = PatchFeatures(Backbone("tf_efficientnet_lite0"), 16).eval()
    channels = sum(features.backbone.channels[-2:])
    first, second = (
        NormalityHead(torch.zeros(channels), torch.ones(channels), torch.randn(30, channels)) for _ in "12"
    )
    normality = Normality(features, first, 3, SecondScale(second, 0.4) if scales == 2 else None)
    heads = DefectHeads(features.backbone.channels, 2)
    return InspectionNet(normality, heads, Fusion(-3.0, 2.0, 1.0, 0.5), (-1, 1)).eval()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, image in (("good", good_image()), ("bad", bad_image())):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    return tmp_path


@pytest.mark.parametrize("scales", [1, 2])
def test_the_opinions_are_those_of_all_scales_and_their_terms_add_up_to_the_score(scales: int, photos: Path) -> None:
    network = a_network(scales)
    found = opinions_of(network, SPEC, photos / "bad.png")
    assert found is not None
    assert network.fusion is not None
    with torch.no_grad():
        image = as_floats(prepare(load_image(photos / "bad.png"), SPEC))
        score, stages_of_scales = float(network(image)[0]), network.normality(image)[0]
    odds = sum(found.terms) + network.fusion.bias
    assert math.log1p(math.exp(odds / SOFTNESS)) / math.log(2.0) == pytest.approx(score, rel=1e-3)
    assert network.heads is not None
    seen = of_scales(network.heads, stages_of_scales, network.shift)[0, 0]
    assert found.class_map == pytest.approx(seen.numpy(), abs=1e-5)
    assert found.picture.shape == (64, 96, 3)
    assert found.distance.shape == found.segmentation.shape == found.class_map.shape == (16, 24)


def test_grad_cam_of_two_scales_is_the_mean_of_both_with_the_second_turned_back(heads: DefectHeads) -> None:
    alone, other = of_scales(heads, [stages(5)], (1, 0)), of_scales(heads, [stages(6)], (1, 0))
    assert alone.shape == (1, 1, 24, 24)
    assert torch.allclose(of_scales(heads, [stages(5), stages(6)], (1, 0)), (alone + other.flip(2, 3)) / 2, atol=1e-6)
    assert not torch.allclose(other, other.flip(2, 3))


def test_the_report_shows_catches_escapes_and_a_typical_good_part(photos: Path) -> None:
    images = [
        {"file": "good.png", "label": "good", "score": 1.0},
        {"file": "bad.png", "label": "spot", "score": 3.0},
        {"file": "bad.png", "label": "spot", "score": 1.5},
    ]
    caught, escaped, good = opinion_panels(a_network(2), SPEC, photos, images, 2.0)
    assert (caught.file, escaped.file, good.file) == ("bad.png", "bad.png", "good.png")
    assert re.match(r"log odds beyond those of the typical good part: distance [+-]\d", caught.words)
    assert good.words.startswith("a typical good part, which the others are compared with")
    for panel in (caught, escaped, good):
        assert [what for what, _ in panel.pictures] == ["photo", "distance", "segmentation", "classification, Grad-CAM"]
        assert all(picture.startswith("data:image/jpeg;base64,") for _, picture in panel.pictures)


def test_a_network_without_heads_has_no_opinions_to_show(photos: Path) -> None:
    network = InspectionNet(a_network(1).normality).eval()
    assert opinions_of(network, SPEC, photos / "bad.png") is None
    assert opinion_panels(network, SPEC, photos, [{"file": "good.png", "label": "good", "score": 1.0}], 2.0) == []


def test_randomising_leaves_the_heads_and_the_draw_of_random_numbers_as_they_are(heads: DefectHeads) -> None:
    before, state = {key: value.clone() for key, value in heads.state_dict().items()}, torch.get_rng_state()
    randomised(heads, 5)
    assert all(torch.equal(value, before[key]) for key, value in heads.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_paint_lies_where_the_map_is_high_and_nowhere_else() -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    cells = np.zeros((4, 6), np.float32)
    cells[1, 4] = 2.0
    changed = (painted(picture, cells) != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed[15, 45]
    assert 0 <= rows.min() < rows.max() <= 25
    assert columns.min() >= 30
    assert not (painted(picture, np.zeros((4, 6), np.float32)) != picture).any()
