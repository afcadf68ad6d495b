from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import torch

from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.dataset import GOOD, Sample
from train.network import NetworkError
from train.network.bank import Candidates, collect_patches, second_share
from train.network.model import PatchFeatures

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


def test_a_bank_that_one_scale_cannot_fill_is_refused() -> None:
    with pytest.raises(NetworkError, match="1 good images give 16 patches, a bank of 16 needs more"):
        drawn(1, CONFIG)


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
        photo = torch.arange(len(greys))
        banks.append({"patches": rows, "photo": photo, "mean": torch.zeros(2), "std": torch.ones(2)})
    features = cast("PatchFeatures", Brightness())
    assert second_share(features, banks, goods, SPEC, CONFIG) == pytest.approx(10 / 11, rel=1e-2)
