import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from train.config import TrainConfig
from train.network.heads import dice_loss, focal_loss
from train.network.train_heads import _loss

losses = pytest.mark.parametrize("loss", [focal_loss, dice_loss])


def target(seed: int) -> Tensor:
    marked = torch.zeros(3, 1, 16, 16)
    generator = torch.Generator().manual_seed(seed)
    for i in range(2):  # the third holds no defect
        y, x = (int(torch.randint(0, 10, (), generator=generator)) for _ in range(2))
        marked[i, :, y : y + 5, x : x + 5] = 1.0
    return marked


@losses
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), worse=st.floats(0.1, 1.0))
def test_what_is_right_costs_less_than_what_is_wrong(loss, seed: int, worse: float) -> None:  # type: ignore[no-untyped-def]
    wanted = target(seed)
    right = 12.0 * (2 * wanted - 1)
    assert float(loss(right, wanted)) < 0.05
    assert float(loss(right, wanted)) < float(loss((1 - 2 * worse) * right, wanted))


@losses
def test_a_batch_without_defects_is_finite_and_so_is_its_gradient(loss) -> None:  # type: ignore[no-untyped-def]
    logits = torch.zeros(2, 1, 16, 16, requires_grad=True)
    value = loss(logits, torch.zeros(2, 1, 16, 16))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_dice_is_of_the_images_that_hold_a_defect() -> None:
    wanted = target(0)
    logits = 12.0 * (2 * wanted - 1)
    shouting = logits.clone()
    shouting[2] = 12.0
    assert torch.equal(dice_loss(logits, wanted), dice_loss(shouting, wanted))


class _Given(nn.Module):
    """A network that answers what it was given."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits, torch.zeros(len(image), 1)


def test_an_image_nobody_marked_says_nothing_about_pixels() -> None:
    """Its highest logits alone, which its label speaks about, get a gradient; all of the marked image's get one."""
    logits = torch.randn(2, 1, 16, 16, requires_grad=True)
    masks = torch.zeros(2, 1, 64, 64)
    batch = [
        torch.zeros(2, 3, 64, 64),
        masks,
        torch.tensor([1.0, 0.0]),
        torch.tensor([-1, -1]),
        torch.tensor([0.0, 1.0]),
    ]
    _loss(_Given(logits), batch, TrainConfig(top_k=5)).backward()
    assert int((logits.grad[0] != 0).sum()) == 5
    assert int((logits.grad[1] != 0).sum()) == 256
