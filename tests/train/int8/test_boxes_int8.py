"""A grid detector as an INT8 file: what the network answers is what the device's detector reads, in 8 bits."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from edge.inference.bundle import INT8_IR
from edge.inference.detector import Detector
from edge.inference.placement.boxes import BoxFacts
from edge.inference.preprocess import InputSpec, prepare
from train.config import TrainConfig
from train.int8.build import write_untrained
from train.int8.graph import finish
from train.int8.onnx_export import outputs, to_onnx
from train.int8.parity import int8_convolutions
from train.network.backbones import Backbone
from train.network.bank import as_floats
from train.network.boxes.network import BoxInspectionNet, BoxNet
from train.run import FitReport

SIDE, TYPES = 96, ("a", "b", "c")
SPEC = InputSpec(width=SIDE, height=SIDE)


@pytest.fixture(scope="module")
def network() -> BoxInspectionNet:
    """Random weights: what a runtime makes of them does not depend on what they mean."""
    torch.manual_seed(0)
    net = BoxNet(Backbone("tf_efficientnet_lite0"), len(TYPES), 9.0).eval()
    with torch.no_grad():
        net.head.out.weight *= 20
    return BoxInspectionNet(net).eval()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> FitReport:
    data = tmp_path_factory.mktemp("photos")
    photo = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    cv2.imwrite(str(data / "one.png"), cv2.GaussianBlur(photo, (9, 9), 3))
    facts = {"dataset_sha256": "0", "feature_channels": 0, "bank_rows": 0, "seconds": 0.0, "git_commit": "0"}
    names = {"fit_images": ("one.png",), "holdout_images": (), "boxes": TYPES, "versions": {}}
    return FitReport(recipe=TrainConfig(boxes=True), data=data, input=SPEC, **facts, **names)


def image(report: FitReport) -> np.ndarray:
    return prepare(cv2.imread(str(report.data / "one.png")), SPEC)


def test_the_float_file_answers_what_the_network_does(
    network: BoxInspectionNet, report: FitReport, tmp_path: Path
) -> None:
    model = to_onnx(network, SPEC, outputs(report, network))
    finish(model, SIDE, SIDE)
    onnx.save(model, tmp_path / "model.onnx")
    found = Detector(tmp_path / "model.onnx", SPEC, boxes=BoxFacts.unlimited(TYPES)).run(image(report))
    with torch.inference_mode():
        expected = network(as_floats(image(report)))
    for name, value in zip(outputs(report, network), expected, strict=True):
        assert found[name] == pytest.approx(value.numpy(), rel=1e-3, abs=1e-3), name


def test_the_int8_file_is_all_int8_and_has_the_same_boxes(
    network: BoxInspectionNet, report: FitReport, tmp_path: Path
) -> None:
    path = write_untrained(network, report, tmp_path)
    assert path.name == INT8_IR
    assert int8_convolutions(path) > 30
    found = Detector(path, SPEC, boxes=BoxFacts.unlimited(TYPES)).predict_prepared(image(report))
    with torch.inference_mode():
        score, cells, *_ = network(as_floats(image(report)))
    assert found.boxes
    assert found.score == pytest.approx(float(score), rel=0.1)
    assert np.corrcoef(found.anomaly_map.ravel(), cells.numpy().ravel())[0, 1] > 0.9
