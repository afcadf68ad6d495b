"""train.network.boxes.losses: the values that the papers define, by laws and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou

from train.network.boxes.losses import ciou, objectness_loss, overlap
from train.network.boxes.network import both

FEW = settings(max_examples=60)


@st.composite
def box(draw: st.DrawFn) -> Tensor:
    x, y = draw(st.floats(0, 100)), draw(st.floats(0, 100))
    return torch.tensor([[x, y, x + draw(st.floats(0.5, 100)), y + draw(st.floats(0.5, 100))]])


@FEW
@given(box(), box())
def test_both_overlaps_are_those_of_a_library(first: Tensor, second: Tensor) -> None:
    assert float(overlap(first, second)) == pytest.approx(float(box_iou(first, second)), abs=1e-5)
    assert float(ciou(first, second)) == pytest.approx(float(complete_box_iou(first, second)), abs=1e-4)


@FEW
@given(box(), box(), st.floats(0.1, 10), st.floats(-50, 50))
def test_scale_and_place_do_not_matter(first: Tensor, second: Tensor, scale: float, shift: float) -> None:
    there = [one * scale + shift for one in (first, second)]
    assert float(ciou(*there)) == pytest.approx(float(ciou(first, second)), abs=1e-3)


@FEW
@given(box())
def test_a_box_overlaps_itself_wholly(one: Tensor) -> None:
    assert float(overlap(one, one)) == pytest.approx(1.0, abs=1e-5)
    assert float(ciou(one, one)) == pytest.approx(1.0, abs=1e-5)


@FEW
@given(box(), box())
def test_the_complete_overlap_is_never_above_the_plain_one(first: Tensor, second: Tensor) -> None:
    assert float(ciou(first, second)) <= float(overlap(first, second)) + 1e-6


def test_boxes_that_do_not_touch_still_draw_each_other() -> None:
    found = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    (1 - ciou(found, torch.tensor([[50.0, 0.0, 60.0, 10.0]]))).sum().backward()
    assert found.grad is not None
    assert float(found.grad[0, 0] + found.grad[0, 2]) < 0, "moving right makes the loss smaller"


def test_the_loss_of_objectness_by_hand() -> None:
    """Quality 1 at even odds: |1 - 1/2|^2 x ln 2; background at even odds the same."""
    wanted = 0.25 * math.log(2)
    for quality in (0.0, 1.0):
        assert float(objectness_loss(torch.zeros(1), torch.tensor([quality]))) == pytest.approx(wanted)


@FEW
@given(st.floats(0.05, 0.95), st.floats(-6, 6))
def test_the_loss_of_objectness_is_least_where_the_answer_is_the_quality(quality: float, logit: float) -> None:
    wanted = torch.tensor([quality])
    best = objectness_loss(torch.logit(wanted), wanted)
    assert float(objectness_loss(torch.tensor([logit]), wanted)) >= float(best) - 1e-6
    assert float(best) == pytest.approx(0.0, abs=1e-6)


@FEW
@given(st.floats(-8, 0))
def test_what_is_easily_background_costs_little(logit: float) -> None:
    """The focal factor: beside plain cross entropy an easy cell weighs its own chance squared."""
    plain = math.log1p(math.exp(logit))
    chance = 1 / (1 + math.exp(-logit))
    assert float(objectness_loss(torch.tensor([logit]), torch.zeros(1))) == pytest.approx(plain * chance**2, rel=1e-3)


@settings(deadline=None)
@given(st.floats(-25, 25), st.floats(-25, 25))
def test_both_of_two_log_odds_are_those_of_the_product_of_the_probabilities(first: float, second: float) -> None:
    one, other = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    wanted = torch.sigmoid(one) * torch.sigmoid(other)
    assert torch.allclose(torch.sigmoid(both(one, other)), wanted, rtol=1e-9)
    assert float(both(one, other)) <= min(first, second) + 1e-9


def test_both_stays_finite_however_sure_the_answers_are() -> None:
    assert torch.isfinite(both(torch.tensor([-1e4, 1e4, 1e4]), torch.tensor([-1e4, 1e4, -1e4]))).all()
