"""Training in INT8: nearer to the float network, the same network otherwise, and the file that ships is built of it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from edge.inference.bundle import INT8_IR
from tests.train.data.pictures import write_product
from train.config import TrainConfig
from train.int8.aware import Rounded, adapt, feature_distance, image_batch, restore, round_convolutions
from train.int8.build import build
from train.int8.parity import int8_convolutions
from train.int8.trials import Settings
from train.network.model import InspectionNet
from train.network.saved import load_network
from train.run import Run
from train.stages.fit import fit

SMALL = {"side": 64, "bank": 50, "candidates": 1000, "epochs": 1, "steps": 2, "batch": 4}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("aware")
    work = Run(folder / "run")
    fit(write_product(folder / "data"), TrainConfig.model_validate(SMALL), work)
    return work


def rounding(network: InspectionNet, teacher: InspectionNet, images: torch.Tensor) -> float:
    """How far a network is from the teacher when it is rounded to 8 bits, with ranges of these images."""
    rounded = round_convolutions(network)
    with torch.inference_mode():
        feature_distance(network, teacher, images)
        for layer in rounded:
            layer.observing = False
        found = float(feature_distance(network, teacher, images))
    restore(network)
    return found


def test_rounded_it_comes_nearer_to_the_float_network(work: Run) -> None:
    report, teacher = work.fit_report(), load_network(work)
    files = [report.data / name for name in report.fit_images]
    images = image_batch([report.data / name for name in report.holdout_images], report.input)
    before = rounding(load_network(work), teacher, images)
    assert rounding(adapt(teacher, files, report.input, 0, steps=30), teacher, images) < 0.8 * before


def test_what_is_trained_are_convolutions_and_not_the_first(work: Run) -> None:
    report, network = work.fit_report(), load_network(work)
    found = adapt(network, [report.data / name for name in report.fit_images], report.input, 0, steps=2)
    assert not any(isinstance(module, Rounded) for module in found.modules())
    old, new = network.state_dict(), found.state_dict()
    assert list(old) == list(new)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    layers = dict(network.named_modules())
    assert all(isinstance(layers[name.rpartition(".")[0]], nn.Conv2d) for name in changed)
    first = next(name for name, module in layers.items() if isinstance(module, nn.Conv2d))
    assert changed
    assert f"{first}.weight" not in changed


@pytest.mark.parametrize(
    "settings", [Settings("trained", images=4, aware=True), Settings("corrected", images=4, correct_bias=True)]
)
def test_the_int8_file_of_a_network_with_heads_is_built(work: Run, tmp_path: Path, settings: Settings) -> None:
    build(work, work.fit_report(), settings, tmp_path)
    assert all(int8_convolutions(tmp_path / INT8_IR).values())
