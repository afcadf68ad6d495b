"""train.network.boxes.assignment: no box is lost, and no cell answers for two."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from train.network.boxes.assignment import IGNORED, NONE, RADIUS, assign, centres

STRIDE, ROWS, COLUMNS = 8, 6, 9
CELLS = centres(ROWS, COLUMNS, STRIDE)
FEW = settings(max_examples=40)


@st.composite
def boxes(draw: st.DrawFn, most: int = 6) -> Tensor:
    """Boxes inside the grid, (N, 4), at least a pixel large."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        x, y = draw(st.floats(0, 60)), draw(st.floats(0, 38))
        found.append([x, y, x + draw(st.floats(1, 71 - x)), y + draw(st.floats(1, 47 - y))])
    return torch.tensor(found)


def known(found: Tensor) -> Tensor:
    return torch.ones(len(found), dtype=torch.bool)


@FEW
@given(boxes())
def test_every_box_has_a_cell(found: Tensor) -> None:
    assert set(range(len(found))) <= set(assign(CELLS, found, known(found), STRIDE).tolist())


@FEW
@given(boxes(1))
def test_a_cell_answers_for_a_box_round_whose_middle_it_lies(found: Tensor) -> None:
    numbers = assign(CELLS, found, known(found), STRIDE)
    middle = (found[0, :2] + found[0, 2:]) / 2
    away = (CELLS - middle).abs().amax(dim=1)
    own = numbers == 0
    assert bool((away[own] <= max(RADIUS * STRIDE, float(away.min()))).all())
    inside = ((found[0, :2] < CELLS) & (found[0, 2:] > CELLS)).all(dim=1)
    assert bool((numbers[~own & inside] == IGNORED).all())
    assert bool((numbers[~own & ~inside] == NONE).all())


@FEW
@given(boxes(), st.permutations(range(6)))
def test_the_order_of_the_labels_does_not_matter(found: Tensor, order: list[int]) -> None:
    area = (found[:, 2:] - found[:, :2]).prod(dim=1)
    if len(area.unique()) < len(area) or len(found.unique(dim=0)) < len(found):
        return
    shuffled = torch.tensor([one for one in order if one < len(found)])
    first = assign(CELLS, found, known(found), STRIDE)
    second = assign(CELLS, found[shuffled], known(found), STRIDE)
    taken = first >= 0
    assert bool((taken == (second >= 0)).all())
    alone = bool((torch.bincount(first[taken]) > 1).all())  # where one cell is left, who takes it follows the order
    if alone:
        assert bool((found[first[taken]] == found[shuffled][second[taken]]).all())


@FEW
@given(boxes())
def test_a_box_that_only_hints_is_asked_nothing_and_is_no_background(found: Tensor) -> None:
    numbers = assign(CELLS, found, ~known(found), STRIDE)
    inside = ((CELLS[:, None] > found[None, :, :2]) & (CELLS[:, None] < found[None, :, 2:])).all(dim=2).any(dim=1)
    assert bool((numbers[inside] == IGNORED).all())
    assert bool((numbers[~inside] == NONE).all())


def test_a_photo_without_a_defect_is_background() -> None:
    nothing = torch.zeros((0, 4))
    assert bool((assign(CELLS, nothing, known(nothing), STRIDE) == NONE).all())


def test_of_two_boxes_the_smaller_one_gets_the_cell() -> None:
    found = torch.tensor([[0.0, 0.0, 64.0, 48.0], [24.0, 16.0, 40.0, 32.0]])
    numbers = assign(CELLS, found, known(found), STRIDE)
    middle = int((CELLS - torch.tensor([28.0, 20.0])).abs().sum(dim=1).argmin())
    assert numbers[middle] == 1
