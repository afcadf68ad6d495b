import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from train.config import TrainConfig
from train.data.augment import Augment, _cut_out, mix

seeds = st.integers(0, 100_000)


class _Always(np.random.Generator):
    """A generator that answers `random()` with one value, so that a branch is taken for certain."""

    def __init__(self, answer: float, seed: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self._answer = answer

    def random(self, *args: object, **kwargs: object) -> float:  # type: ignore[override]
        return self._answer


def square() -> tuple[np.ndarray, np.ndarray]:
    """A black image with a white square, and the square's mask."""
    image, mask = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.float32)
    image[20:44, 30:60] = 255
    mask[20:44, 30:60] = 1.0
    return image, mask


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_the_mask_goes_where_its_pixels_go(seed: int) -> None:
    augment = Augment(TrainConfig(light=0.0))
    rng = _Always(0.5, seed)  # moved: yes (< 0.6); noise and cutout: no
    pixels, mask = augment(*square(), rng)
    bright = pixels.mean(dim=0, keepdim=True) > 127
    both, either = (bright & (mask > 0.5)).sum(), (bright | (mask > 0.5)).sum()
    assert both / either > 0.85


def test_geometry_is_applied_at_all() -> None:
    augment = Augment(TrainConfig())
    found = [augment(*square(), np.random.default_rng(seed))[1] for seed in range(8)]
    assert any(not torch.equal(found[0], other) for other in found[1:])


def test_without_flips_no_part_is_mirrored() -> None:
    """Brighter to the right, wherever it is moved to."""
    image = np.repeat(np.linspace(0, 255, 96)[None, :, None], 64, axis=0).repeat(3, axis=2).astype(np.uint8)
    augment = Augment(TrainConfig(flips=False))
    for seed in range(20):
        pixels, _ = augment(image, np.zeros((64, 96), np.float32), np.random.default_rng(seed))
        assert pixels[..., 64:].mean() > pixels[..., :32].mean()


@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_a_grey_part_stays_grey_under_every_light(seed: int) -> None:
    image, _ = square()
    pixels = Augment(TrainConfig(light=1.0))._light(image, np.random.default_rng(seed))
    assert np.ptp(pixels, axis=2).max() < 0.01
    assert pixels.min() >= 0
    assert pixels.max() <= 255


def test_a_part_that_may_not_turn_does_not() -> None:
    """A bright line stays as level as the shear leaves it; free to turn, it does not."""
    image, mask = np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.float32)
    mask[46:50, 8:88] = 1.0

    def steepest(turn: float) -> float:
        augment = Augment(TrainConfig(turn=turn))
        slopes = []
        for seed in range(20):
            ys, xs = np.nonzero(augment.moved(image, mask, np.random.default_rng(seed))[1][8:-8, 16:80] > 0.5)
            slopes.append(abs(float(np.polyfit(xs, ys, 1)[0])))
        return max(slopes)

    assert steepest(0.0) < 0.02
    assert steepest(20.0) > 0.1


@settings(deadline=None, max_examples=60)
@given(seed=seeds)
def test_cutout_never_hides_a_marked_pixel(seed: int) -> None:
    image, mask = torch.full((3, 64, 96), 7.0), torch.zeros(1, 64, 96)
    image[:, 0, 0] = 200.0  # so that the mean is no value of the image
    mask[:, 16:48, 16:80] = 1.0
    before = image.clone()
    _cut_out(image, mask, np.random.default_rng(seed))
    assert torch.equal(image[:, 16:48, 16:80], before[:, 16:48, 16:80])


def test_cutout_hides_something_where_nothing_is_marked() -> None:
    image = torch.rand(3, 64, 96)
    before = image.clone()
    _cut_out(image, torch.zeros(1, 64, 96), np.random.default_rng(0))
    assert not torch.equal(image, before)


def pair() -> tuple[Tensor, Tensor, Tensor]:
    """A good black part and a defective white one whose left half is marked."""
    images = torch.stack([torch.zeros(3, 16, 16), torch.full((3, 16, 16), 255.0)])
    masks = torch.zeros(2, 1, 16, 16)
    masks[1, :, :, :8] = 1.0
    return images, masks, torch.tensor([0.0, 1.0])


@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_mixup_is_convex(seed: int) -> None:
    """The white part's share of the pixels, of the mask and of the label is one and the same."""
    images, masks, defective = mix(*pair(), _Always(0.1, seed))
    share = images[0].mean() / 255
    assert 0 <= share <= 1
    assert torch.allclose(defective, torch.stack([share, 1 - share]), atol=1e-5)
    assert torch.allclose(masks[0, 0, 0, 0], share, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_cutmix_is_as_defective_as_what_is_marked_and_can_be_seen(seed: int) -> None:
    images, masks, defective = mix(*pair(), _Always(0.9, seed))
    for i in range(2):
        white = images[i, 0] == 255
        assert torch.equal(masks[i, 0, :, :8], white[:, :8].float())
        assert defective[i] == pytest.approx(float(white[:, :8].float().mean()), abs=1e-5)


@pytest.mark.parametrize("marked", [True, False])
def test_a_part_wholly_pasted_over_takes_the_others_label(monkeypatch: pytest.MonkeyPatch, marked: bool) -> None:
    images, masks, defective = pair()
    rng = _Always(0.9)
    monkeypatch.setattr(_Always, "beta", lambda *_: 0.0, raising=False)
    mixed, _, label = mix(images, masks if marked else torch.zeros_like(masks), defective, rng)
    assert torch.equal(mixed, images.roll(1, 0))
    assert torch.equal(label, defective.roll(1, 0))


@pytest.mark.parametrize("marked", [True, False])
def test_where_nothing_is_pasted_every_label_stays(monkeypatch: pytest.MonkeyPatch, marked: bool) -> None:
    images, masks, defective = pair()
    monkeypatch.setattr(_Always, "beta", lambda *_: 1.0, raising=False)
    mixed, _, label = mix(images, masks if marked else torch.zeros_like(masks), defective, _Always(0.9))
    assert torch.equal(mixed, images)
    assert torch.equal(label, defective)


@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_a_defect_that_nobody_marked_stays_a_defect_while_any_of_it_is_seen(seed: int) -> None:
    images, _, defective = pair()
    mixed, _, label = mix(images, torch.zeros(2, 1, 16, 16), defective, _Always(0.9, seed))
    assert torch.equal(label, (mixed == 255).flatten(1).any(dim=1).float())
