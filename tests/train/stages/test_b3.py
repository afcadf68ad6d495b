"""The chain on EfficientNet-B3, with weights from a file and the configuration that the project ships for it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from edge.inference.bundle import INT8_IR, Bundle, open_bundle
from edge.inference.detector import RUNTIMES, Detector, check_references
from edge.inference.preprocess import load_image
from train.__main__ import main
from train.int8.parity import int8_convolutions
from train.network.saved import load_network
from train.network.trunk.student import parameters
from train.run import Run
from train.stages import synth

CONFIG = Path(__file__).parents[3] / "train/configs/efficientnet_b3.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/b3 and models/b3: `train all` on 20 good flanges of 96 x 96 pixels and 5 dents, from a file of weights."""
    folder = tmp_path_factory.mktemp("b3")
    counts = ["--train-good", "20", "--test-good", "2", "--test-bad-per-type", "5", "--size", "96x96"]
    synth.main(["--out", str(folder / "photos"), *counts])
    shutil.move(folder / "photos/test/dent", folder / "photos/train/dent")
    shutil.rmtree(folder / "photos/test")  # nothing is measured: random weights find nothing
    for masks in set((folder / "photos/ground_truth").iterdir()) - {folder / "photos/ground_truth/dent"}:
        shutil.rmtree(masks)
    torch.save(random_weights(sorted((folder / "photos/train/good").iterdir())[:8]), folder / "b3.pt")
    given = ["--config", str(CONFIG), "--weights", "b3.pt", "--side", "96", "--scales", "1", "--place", "off"]
    brief = ["--bank", "50", "--epochs", "1", "--steps", "1", "--batch", "2", "--although-blind"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["all", "--data", "photos", "--name", "b3", *given, *brief]) == 0
    return folder


def random_weights(photos: list[Path]) -> dict[str, Tensor]:
    """Random weights with the batch norm statistics of these photos: without them INT8 has ranges that mean nothing."""
    torch.manual_seed(0)
    network = timm.create_model("efficientnet_b3").train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the mean of all batches, which is one
    images = np.stack([load_image(photo)[..., ::-1] for photo in photos]).transpose(0, 3, 1, 2) / 255
    mean, std = (
        np.reshape(timm.get_pretrained_cfg("efficientnet_b3").to_dict()[key], (3, 1, 1)) for key in ("mean", "std")
    )
    with torch.no_grad():
        network(torch.from_numpy((images - mean) / std).float())
    return network.state_dict()


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return Run(folder / "runs/b3")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return open_bundle(folder / "models/b3")


def test_one_configuration_and_a_file_of_weights_give_a_bundle_that_reproduces_its_references(bundle: Bundle) -> None:
    for runtime in RUNTIMES:
        checks = check_references(Detector.from_bundle(bundle, runtime), bundle)
        assert len(checks) == 3
        assert all(check.passed for check in checks)
    assert bundle.manifest.training["recipe"]["backbone"] == "efficientnet_b3"


def test_all_of_the_network_is_int8_squeeze_and_excitation_too(run: Run) -> None:
    """18 blocks of 3 to 5 convolutions each, and the heads: none is left in float."""
    facts = run.read_report("quantize.json", "quantize")
    assert int8_convolutions(run.file(INT8_IR)) == facts["convolutions"]["int8"] > 90


def test_the_heads_learned_and_the_network_is_cut_behind_stride_16(run: Run) -> None:
    network = load_network(run)
    backbone = network.normality.features.backbone
    assert backbone.channels == (32, 48, 136)
    assert parameters(backbone) == 2_190_194
    assert network.heads is not None
