"""The chain with two scales: one graph with one input, all of it in INT8, whose map lies where its cells look."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge.inference import runtimes
from edge.inference.bundle import FP32_ONNX, INT8_IR
from edge.inference.detector import Detector
from edge.inference.preprocess import prepare
from edge.inference.usable import load_photo
from tests.train.stages.test_all import train_flange
from train.int8 import Int8Error
from train.int8.build import write_untrained
from train.int8.parity import int8_convolutions
from train.int8.switched import FP32_SWITCHED, INT8_SWITCHED, Switched, parts_in_bank
from train.network.bank import as_floats, image_tensor, normality_head, without_part
from train.network.fusion import Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, SecondScale
from train.network.saved import load_network, saved_banks
from train.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("two")
    return train_flange(folder, 24, 4, 2, 256, "--scales", "2", "--bank", "300")


def test_every_convolution_of_both_scales_is_int8(run: Run) -> None:
    facts = run.read_report("quantize.json", "quantize")
    assert int8_convolutions(run.file(INT8_IR)) == facts["convolutions"]["int8"] > 60


def test_the_banks_share_the_rows_that_were_asked_for(run: Run) -> None:
    assert run.fit_report().bank_rows == 300


def test_the_sum_of_both_maps_places_dots_where_they_are(run: Run) -> None:
    assert run.read_report("export.json", "export")["dots_off_px"] <= 1.0


def test_the_larger_input_is_the_one_that_the_device_prepares(run: Run) -> None:
    spec = run.fit_report().input
    assert (spec.width, spec.height) == (256, 256)


def test_int8_answers_as_float_does_with_weights_that_two_scales_share(run: Run) -> None:
    assert run.read_report("quantize.json", "quantize")["parity"]["int8_against_fp32"] < 0.1


def test_every_good_sets_the_limit_and_scores_higher_than_what_the_bank_knows(run: Run) -> None:
    report, calibration = run.fit_report(), run.read_report("calibration.json", "calibrate")
    assert report.cross
    assert set(calibration["holdout"]) == set(report.fit_images)
    assert calibration["threshold"]["n"] == len(report.fit_images) == 24
    detector = Detector(run.file(INT8_IR), report.input)
    known = {name: detector.predict(load_photo(report.data / name, report.input)).score for name in report.fit_images}
    higher = [calibration["holdout"][name] - known[name] for name in known]
    assert np.mean(higher) > 0
    assert np.median(higher) > 0


def test_a_good_scores_as_with_a_bank_that_never_saw_it(run: Run) -> None:
    """The float file with the rows of a part switched off, against a network around the bank without that part."""
    report = run.fit_report()
    banks, network = saved_banks(run), load_network(run)
    switched = Switched(run.file(FP32_SWITCHED), run.file(FP32_ONNX), report.input)
    for name, part in list(parts_in_bank(report).items())[:3]:
        first, second = (normality_head(without_part(bank, part)) for bank in banks)
        assert isinstance(network.normality.second, SecondScale)
        network.normality.head, network.normality.second.head = first, second
        with torch.inference_mode():
            expected = float(network.eval()(image_tensor(report.data / name, report.input))[0])
        switched.without(part)
        assert switched.detector.predict(load_photo(report.data / name, report.input)).score == pytest.approx(
            expected, rel=1e-3
        )


def test_the_shipped_file_is_refused_with_the_switches_of_another(run: Run, tmp_path: Path) -> None:
    shutil.copy(run.file(INT8_SWITCHED), tmp_path / "other.onnx")
    shutil.copy(run.file(INT8_SWITCHED).with_suffix(".npz"), tmp_path / "other.npz")
    model = onnx.load(tmp_path / "other.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("normality.head.bank.0.bias"):
            values = onnx.numpy_helper.to_array(tensor) + np.float32(30.0)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(Int8Error, match=r"other.onnx scores .* where model_int8.xml scores .*; quantize again"):
        Switched(tmp_path / "other.onnx", run.file(INT8_IR), run.fit_report().input)


def test_heads_at_two_scales_are_all_in_int8_and_answer_as_float_does(run: Run, tmp_path: Path) -> None:
    report = run.fit_report().model_copy(update={"types": ("dent", "scratch")})
    torch.manual_seed(0)
    heads = DefectHeads(load_network(run).normality.features.backbone.channels, 2).eval()
    network = InspectionNet(load_network(run).normality, heads, Fusion(-3.0, 3.0, 1.0, 0.5), (1, 1)).eval()
    shipped = write_untrained(network, report, tmp_path)
    assert int8_convolutions(shipped) > 60 + 2 * 8, "both scales, and the heads of both"
    tensor = prepare(load_photo(report.data / report.fit_images[0], report.input), report.input)
    found = runtimes.load(shipped, "openvino", runtimes.Settings()).run(tensor)
    with torch.inference_mode():
        score, anomaly_map, shares, class_map = network(as_floats(tensor))
    assert set(found) == {"score", "anomaly_map", "defect_types", "class_map"}
    assert float(found["score"][0]) == pytest.approx(float(score), rel=0.1)
    assert np.corrcoef(found["anomaly_map"].ravel(), anomaly_map.numpy().ravel())[0, 1] > 0.95
    assert found["defect_types"] == pytest.approx(shares.numpy(), abs=0.1)
    assert class_map.shape == found["class_map"].shape == (1, 1, 64, 64)
