"""What good parts show at each place: the parts left out leave no trace, and a trial tells where places help."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.anomalies import displaced
from train.data.dataset import GOOD, Sample
from train.network.backbones import Backbone
from train.network.model import PatchFeatures, Place
from train.network.second.place import FEWEST, Places, gain_by_places

SIDE = 128
SPEC = InputSpec(width=SIDE, height=SIDE)
RECIPE = TrainConfig(candidates=2000)


def places(parts: list[int], seed: int) -> Places:
    generator = torch.Generator().manual_seed(seed)
    fine, coarse = (torch.randn(len(parts), *shape, generator=generator).half() for shape in ((3, 4, 6), (5, 2, 3)))
    return Places((fine, coarse), torch.tensor(parts))


@given(parts=st.lists(st.integers(0, 3), min_size=4, max_size=9).filter(lambda parts: len(set(parts)) > 1))
def test_a_part_that_is_left_out_leaves_no_trace(parts: list[int]) -> None:
    known = places(parts, 1)
    left = known.part != parts[0]
    if int(left.sum()) < 2:
        return
    fine, coarse = known.stages
    expected = Places((fine[left], coarse[left]), known.part[left]).statistics()
    for ours, others in zip(known.statistics(parts[0]), expected, strict=True):
        for one, other in zip(ours, others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_channels_that_vary_together_are_one_deviation_and_not_two() -> None:
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(400, 1, 2, 2, generator=generator)
    fine = torch.cat([first, first + 0.3 * torch.randn(400, 1, 2, 2, generator=generator)], dim=1).half()
    known = Places((fine, torch.randn(400, 1, 1, 1, generator=generator).half()), torch.arange(400)).known()
    place, mean, spread = Place(known, share=1.0), known[0][0], known[0][1]
    nothing = known[1][0]
    alike, against = (mean + spread * torch.tensor([1.0, sign]).view(1, 2, 1, 1) for sign in (1.0, -1.0))
    assert float(place([against, nothing])[0].mean()) > 1.3 * float(place([alike, nothing])[0].mean())


def test_a_place_where_good_parts_vary_says_less() -> None:
    fine = torch.zeros(20, 1, 1, 2)
    fine[:, 0, 0, 0] = torch.linspace(-1, 1, 20)
    (_, spread), _ = Places((fine.half(), torch.zeros(20, 1, 1, 1)), torch.arange(20)).statistics()
    assert spread[0, 0, 0, 0] > spread[0, 0, 0, 1]


@given(st.integers(0, 50))
def test_a_displaced_piece_is_small_and_changes_nothing_else(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    before = image.copy()
    changed = np.argwhere((displaced(image, np.random.default_rng(seed)) != image).any(axis=2))
    assert (image == before).all()
    assert (np.ptp(changed, axis=0) < 12).all()
    assert len(changed) > 0


def photos(folder: Path, moves: bool) -> list[Sample]:
    """Boards with parts at the same places, or with the same parts anywhere."""
    design = np.random.default_rng(5)
    parts = [(*design.integers(6, SIDE - 20, 2).tolist(), design.integers(0, 255, 3).tolist()) for _ in range(25)]
    found = []
    for number in range(2 * FEWEST):
        rng = np.random.default_rng(number)
        image = np.full((SIDE, SIDE, 3), 90, np.uint8)
        for x, y, colour in parts:
            x, y = rng.integers(6, SIDE - 20, 2).tolist() if moves else (x, y)
            cv2.rectangle(image, (x, y), (x + 12, y + 8), tuple(colour), cv2.FILLED)
        noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        found.append(Sample(folder / f"{number}.png", GOOD, None, str(number)))
        assert cv2.imwrite(str(found[-1].path), noisy)
    return found


@pytest.mark.parametrize(("moves", "sure"), [(False, True), (True, False)], ids=["a design", "anywhere"])
def test_a_trial_wants_places_where_parts_lie_alike(tmp_path: Path, moves: bool, sure: bool) -> None:
    features = PatchFeatures(Backbone.pretrained("tf_efficientnet_lite0"), 16).eval()
    gain = gain_by_places(features, photos(tmp_path, moves), SPEC, RECIPE)
    assert gain is not None
    assert (gain.displaced >= 0.95) == sure
    assert (gain.weight > 1.0) == sure


def test_too_few_photographs_tell_nothing() -> None:
    features = PatchFeatures(Backbone("tf_efficientnet_lite0"), 16)
    goods = [Sample(Path(f"{number}.png"), GOOD, None, str(number)) for number in range(2 * FEWEST - 1)]
    assert gain_by_places(features, goods, SPEC, RECIPE) is None
