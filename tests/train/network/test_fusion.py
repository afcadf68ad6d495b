from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.network.backbones import Backbone
from train.network.fusion import EXPECTED, LEAST, PART_LIMIT, Fusion, fit_fusion
from train.network.model import InspectionNet, Normality, NormalityHead, PatchFeatures, top_mean

numbers = st.floats(-30, 30)
weights = st.floats(0, 10)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), goods=st.integers(2, 40), bads=st.integers(1, 40), sign=st.sampled_from([-3, 0, 3]))
def test_every_opinion_keeps_a_say_and_all_are_finite(seed: int, goods: int, bads: int, sign: int) -> None:
    """Also where an opinion speaks against the truth, or parts the two kinds without an error."""
    rng = np.random.default_rng(seed)
    bad = np.arange(goods + bads) >= goods
    opinions = rng.normal(size=(3, goods + bads)) + sign * bad
    found = fit_fusion(*opinions, bad)
    assert min(found.normality, found.segmentation, found.classification) > 0
    assert np.isfinite([found.bias, found.normality, found.segmentation, found.classification]).all()


def test_validation_defects_that_look_normal_do_not_switch_the_distance_off() -> None:
    """What they say of the distance holds for their kinds; another kind may show in nothing else."""
    rng = np.random.default_rng(0)
    bad = np.arange(60) >= 50
    distance, logit = rng.normal(size=60) - 5 * bad, rng.normal(size=60) + bad
    found = fit_fusion(distance, logit, logit, bad)
    low, high = np.quantile(distance[~bad], [0.16, 0.84])
    assert found.normality * (high - low) / 2 == pytest.approx(LEAST * EXPECTED[0])


def test_identical_goods_are_finite() -> None:
    found = fit_fusion([1.0] * 5 + [2.0], [-4.0] * 6, [-4.0] * 6, [False] * 5 + [True])
    assert np.isfinite([found.bias, found.normality, found.segmentation, found.classification]).all()


def test_an_opinion_that_tells_more_weighs_more() -> None:
    rng = np.random.default_rng(0)
    bad = np.arange(200) >= 100
    useful, noise = rng.normal(size=200) + 4 * bad, rng.normal(size=200)
    found = fit_fusion(noise, useful, noise, bad)
    assert found.segmentation > 2 * found.classification


@cache
def net() -> InspectionNet:
    head = NormalityHead(torch.zeros(152), torch.ones(152), torch.zeros(2, 152))
    return InspectionNet(Normality(PatchFeatures(Backbone("tf_efficientnet_lite0"), 16), head, 5))


def score(normality: torch.Tensor, logits: torch.Tensor, part: torch.Tensor, fusion: Fusion) -> float:
    return float(top_mean(net()._fused(normality, logits, part, fusion), 5))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    fusion=st.builds(Fusion, numbers, weights, weights, weights),
    opinion=st.integers(0, 2),
    step=st.floats(0.01, 20),
)
def test_more_of_any_opinion_never_lowers_the_score(seed: int, fusion: Fusion, opinion: int, step: float) -> None:
    """Raised everywhere, or in one cell only."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, 1, 4, 6), (1, 1, 16, 24), (1, 1))
    before = [torch.randn(shape, generator=generator) * 4 for shape in shapes]
    everywhere, once = ([value.clone() for value in before] for _ in range(2))
    everywhere[opinion] += step
    once[opinion].view(-1)[seed % once[opinion].numel()] += step
    low = score(*before, fusion)
    slack = 1e-5 * (1 + abs(low))
    assert score(*everywhere, fusion) >= low - slack
    assert score(*once, fusion) >= low - slack


def test_the_parts_logit_moves_the_map_within_limits() -> None:
    places = torch.zeros(1, 1, 4, 6), torch.randn(1, 1, 16, 24)
    fusion = Fusion(0.0, 1.0, 1.0, 1.0)
    sure, surer = (score(*places, torch.tensor([[logit]]), fusion) for logit in (PART_LIMIT, 100.0))
    assert sure == surer


def test_even_odds_score_one() -> None:
    flat = torch.zeros(1, 1, 4, 6), torch.zeros(1, 1, 16, 24), torch.zeros(1, 1)
    assert score(*flat, Fusion(0.0, 1.0, 1.0, 1.0)) == pytest.approx(1.0)
