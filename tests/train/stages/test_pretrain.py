from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from tests.train.data.pictures import HEIGHT, WIDTH, write, write_product
from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.trunk.pretraining import COLLAPSED, SimSiam
from train.run import Run
from train.stages import StageError
from train.stages.pretrain import pretrain

LITE0 = "tf_efficientnet_lite0"
SMALL = TrainConfig(side=64, epochs=2, steps=2, batch=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """backbone.pt of a data set whose defective images cannot be decoded, and one of whose goods is black."""
    folder = tmp_path_factory.mktemp("pretrain")
    data = read_dataset(write_product(folder / "data"))
    for sample in data.train_defects:
        sample.path.write_bytes(b"not for the eyes of pretraining")
    write(folder / "data/train/good/black.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return pretrain(folder / "data", SMALL, Run(folder / "run"))


def test_the_file_is_weights_that_differ_in_the_upper_blocks_alone(made: Path) -> None:
    before, after = (Backbone.pretrained(LITE0, weights).stages.state_dict() for weights in (None, made))
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert {key.split(".")[1] for key in changed} == {"2", "3", "4"}
    assert all(key.startswith("blocks.") and "running" not in key for key in changed)


def test_the_file_is_of_the_whole_network(made: Path) -> None:
    timm.create_model(LITE0).load_state_dict(torch.load(made, weights_only=True))


def test_the_report_names_what_was_seen_which_is_what_fit_fits_to(made: Path) -> None:
    """No held-out good, and no photo that the station would refuse."""
    facts = Run(made.parent).read_report("pretrain.json", "pretrain")
    data = read_dataset(made.parents[1] / "data")
    goods = tuple(sample for sample in data.train_good if sample.path.stem != "black")
    assert facts["images"] == list(data.names(split(replace(data, train_good=goods), SMALL).fit))
    assert len(facts["epochs"]) == 2
    assert all(epoch["spread"] >= COLLAPSED for epoch in facts["epochs"])


def test_the_spread_tells_a_collapse() -> None:
    net = SimSiam(Backbone.pretrained(LITE0)).eval()
    torch.manual_seed(0)
    different, alike = torch.rand(8, 3, 64, 64) * 255, torch.full((8, 3, 64, 64), 100.0)
    different *= torch.linspace(0.2, 1, 8)[:, None, None, None]
    with torch.inference_mode():
        for part in net.new.values():
            part.train()
        spreads = [float(net(batch, batch)[1]) for batch in (different, alike)]
    assert spreads[0] > 0.5
    assert spreads[1] < COLLAPSED


def test_a_collapse_is_one_line_and_leaves_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two views of the very same part, over and over."""
    data = write_product(tmp_path / "data", goods=4, defects=0)
    monkeypatch.setattr("train.network.trunk.pretraining.COLLAPSED", 2.0)  # more than any network reaches
    with pytest.raises(NetworkError, match=r"have collapsed .* lower `rate` \(now 0\.002\) or raise --batch \(now 4\)"):
        pretrain(data, SMALL, Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_two_processes_would_write_one_file_and_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(StageError, match="pretraining runs in one process; start it without torchrun"):
        pretrain(tmp_path, SMALL, Run(tmp_path / "run"))


def test_a_backbone_that_may_not_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the backbone would learn nothing; give --unfreeze upper"):
        pretrain(tmp_path, TrainConfig(unfreeze="none"), Run(tmp_path / "run"))
