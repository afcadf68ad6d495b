import shutil
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.dataset import GOOD, Sample
from train.network import NetworkError
from train.network.bank import (
    Candidates,
    collect_patches,
    find_stand_ins,
    k_centre_greedy,
    memory_banks,
    normality_head,
    part_numbers,
    refuse_few,
    scores_of_goods,
    second_share,
    without_part,
)
from train.network.model import NormalityHead, PatchFeatures

SPEC = InputSpec(width=128, height=128)
CONFIG = TrainConfig(bank=32, scales=2, candidates=1000)


def drawn(goods: int, config: TrainConfig) -> list[Candidates]:
    """Candidates of features that say which photograph they are of."""

    def extract(path: Path) -> list[torch.Tensor]:
        return [torch.full((2, side, side), float(path.name)) for side in (8, 4)[: max(1, config.scales)]]

    return collect_patches(extract, [Path(str(number)) for number in range(goods)], config)


def test_each_candidate_knows_its_photograph() -> None:
    for scale in drawn(5, CONFIG):
        assert torch.equal(scale.rows[:, 0], scale.photo.float())


def test_the_candidates_of_both_scales_together_are_as_many_as_asked_for() -> None:
    fine, coarse = drawn(40, CONFIG)
    assert len(fine.rows) == len(coarse.rows) == 40 * (1000 // 2 // 40)


def test_a_bank_that_the_first_scale_cannot_fill_is_refused() -> None:
    spec, asked = InputSpec(width=320, height=320), TrainConfig(scales=2, bank=4000)
    refuse_few(20, spec, asked)
    refuse_few(4, spec, TrainConfig(scales=2))  # nobody asked for so many
    with pytest.raises(NetworkError, match="4 good images give 1600 patches, a bank of 2000 needs more"):
        refuse_few(4, spec, asked)


class Noise:
    """Features of two scales, the second with a quarter of the cells, that differ in each cell."""

    fine_channels = 1

    def scales(self, image: torch.Tensor, _count: int) -> list[torch.Tensor]:
        grey = torch.nn.functional.avg_pool2d(image[:, :2], 16)
        return [grey, torch.nn.functional.avg_pool2d(grey, 2)]


def test_a_second_scale_with_too_few_patches_keeps_all_of_them(tmp_path: Path) -> None:
    """Twenty goods, the least that are asked for, fill the first scale of the default bank and not the second."""
    config = TrainConfig(bank=1000, scales=2)
    banks, _ = memory_banks(cast("PatchFeatures", Noise()), grey_goods(tmp_path, 120), SPEC, config)
    assert [len(bank["patches"]) for bank in banks] == [500, 12 * 16]


class Brightness:
    """Features whose fine scale follows an image's brightness ten times as far as its coarse one."""

    def scales(self, image: torch.Tensor, _count: int) -> list[torch.Tensor]:
        return [torch.full((1, 2, side, side), float(image.mean()) * step) for side, step in ((4, 1.0), (3, 0.1))]


def test_the_scale_at_which_good_parts_differ_less_weighs_more(tmp_path: Path) -> None:
    goods, banks = [], []
    rng = np.random.default_rng(0)
    images = [rng.integers(0, top, (128, 128, 3), dtype=np.uint8) for top in (60, 90, 120, 160, 200, 255)]
    greys = [float(image.mean()) for image in images]
    for number, image in enumerate(images):
        goods.append(Sample(tmp_path / f"{number}.png", GOOD, None))
        assert cv2.imwrite(str(goods[-1].path), image)
    for step in (1.0, 0.1):
        rows = torch.tensor([[grey * step] * 2 for grey in greys])
        none = torch.zeros(0, dtype=torch.long)
        bank = {"patches": rows, "part": torch.arange(len(greys)), "mean": torch.zeros(2), "std": torch.ones(2)}
        banks.append({**bank, "spare": torch.zeros(0, 2), "spare_part": none})
    features = cast("PatchFeatures", Brightness())
    assert second_share(*scores_of_goods(features, banks, goods, SPEC, CONFIG)) == pytest.approx(10 / 11, rel=1e-2)


def cloud(seed: int, parts: int, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates of some parts, and the part of each."""
    rows = torch.randn(parts * each, 6, generator=torch.Generator().manual_seed(seed))
    return rows, torch.arange(parts).repeat_interleave(each)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), parts=st.integers(2, 8), each=st.integers(4, 30))
def test_no_part_stands_in_for_itself_and_none_is_replaced_by_more_than_it_gave(
    seed: int, parts: int, each: int
) -> None:
    rows, part = cloud(seed, parts, each)
    chosen = k_centre_greedy(rows, len(rows) // 3, seed)
    spare, place = find_stand_ins(rows, part, chosen, seed)
    assert (part[spare] != place).all()
    for number in range(parts):
        assert int((place == number).sum()) <= int((part[chosen] == number).sum())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 20), more=st.integers(1, 20))
def test_more_rows_never_raise_a_distance(seed: int, rows: int, more: int) -> None:
    """The step from the jackknife+ to one threshold for all parts (docs/decisions/0016)."""
    generator = torch.Generator().manual_seed(seed)
    image, bank = torch.randn(1, 4, 3, 3, generator=generator), torch.randn(rows + more, 4, generator=generator)
    few, many = (NormalityHead(torch.zeros(4), torch.ones(4), bank[:count]) for count in (rows, rows + more))
    with torch.inference_mode():
        assert (many(image) <= few(image) + 1e-4).all()


class Greys:
    """Features that are the grey of each 16 x 16 block."""

    fine_channels = 1

    def scales(self, image: torch.Tensor, _count: int) -> list[torch.Tensor]:
        grey = torch.nn.functional.avg_pool2d(image[:, :2], 16)
        return [grey]


def grey_goods(folder: Path, last: int) -> list[Sample]:
    """Twelve photographs of six parts, around mid grey; the last one has a square of another grey."""
    rng, goods = np.random.default_rng(0), []
    for number in range(12):
        image = rng.integers(100, 140, (8, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        if number == 11:
            image[:64, :64] = last
        goods.append(Sample(folder / f"{number}.png", GOOD, None, str(number // 2)))
        assert cv2.imwrite(str(goods[-1].path), image)
    return goods


GREY_CONFIG = TrainConfig(bank=64, candidates=1000)


def test_a_good_is_never_measured_against_patches_of_its_own_part(tmp_path: Path) -> None:
    goods = grey_goods(tmp_path, 120)
    (bank,), odd = memory_banks(cast("PatchFeatures", Greys()), goods, SPEC, GREY_CONFIG)
    assert odd == []
    assert part_numbers(goods, GREY_CONFIG).tolist() == [number // 2 for number in range(12)]
    pictures = [cv2.imread(str(sample.path))[::16, ::16, ::-1].reshape(-1, 3)[:, :2].astype(float) for sample in goods]
    for number in range(6):
        own = {tuple(row) for picture in pictures[2 * number : 2 * number + 2] for row in picture}
        left = without_part(bank, number)["patches"]
        assert len(left) >= 48
        assert not own & {tuple(row) for row in left.tolist()} - {
            tuple(row) for index, picture in enumerate(pictures) if index // 2 != number for row in picture
        }


def test_what_only_one_part_far_beyond_the_rest_shows_is_not_normal(tmp_path: Path) -> None:
    goods = grey_goods(tmp_path, 255)
    image = torch.full((1, 2, 1, 1), 255.0)
    (kept,), odd = memory_banks(cast("PatchFeatures", Greys()), goods, SPEC, GREY_CONFIG)
    (taken,), none = memory_banks(
        cast("PatchFeatures", Greys()), goods, SPEC, GREY_CONFIG.model_copy(update={"outliers": 0})
    )
    assert (odd, none) == (goods[10:], [])
    with torch.inference_mode():
        assert float(normality_head(taken)(image)) < 1e-2 < 0.5 < float(normality_head(kept)(image))


def test_goods_that_the_network_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    """The bank is then filled by one part, without which nothing is left to measure that part against."""
    goods = grey_goods(tmp_path, 120)
    for sample in goods[1:]:
        shutil.copy(goods[0].path, sample.path)
    with pytest.raises(NetworkError, match="filled by one part alone: to the network all good images look alike"):
        memory_banks(cast("PatchFeatures", Greys()), goods, SPEC, GREY_CONFIG.model_copy(update={"seed": 1}))
