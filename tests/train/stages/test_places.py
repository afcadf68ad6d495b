"""The chain with places: what good parts show at each place is part of the INT8 file, and of each good's own score."""

import numpy as np
import pytest
import torch

from edge.inference.bundle import FP32_ONNX, INT8_IR
from edge.inference.detector import Detector
from edge.inference.usable import load_photo
from tests.train.stages.test_all import train_flange
from train.int8.parity import int8_convolutions
from train.int8.switched import FP32_SWITCHED, Switched, bank_goods, parts_in_bank
from train.network.bank import image_tensor, normality_head, without_part
from train.network.model import Place
from train.network.saved import load_network, saved_banks
from train.network.second.place import collect_places, place_stages
from train.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("places")
    return train_flange(folder, 20, 4, 1, 128, "--place", "on", "--bank", "100")


def test_a_bundle_with_places_is_int8_throughout_and_answers_as_float_does(run: Run) -> None:
    facts = run.read_report("quantize.json", "quantize")
    assert int8_convolutions(run.file(INT8_IR)) == facts["convolutions"]["int8"] > 30
    assert facts["parity"]["int8_against_fp32"] < 0.1


def test_the_report_says_that_places_are_judged(run: Run) -> None:
    words = run.read_report("region.json", "fit")["words"]
    assert "what good parts show at each place is judged, too" in words
    assert words in run.file("report.html").read_text(encoding="utf-8")


def test_the_sum_of_bank_and_places_lies_where_dots_are(run: Run) -> None:
    assert run.read_report("export.json", "export")["dots_off_px"] <= 1.0


def test_a_good_scores_as_with_places_and_a_bank_that_never_saw_it(run: Run) -> None:
    """The float file with a part left out, against a network around the bank and the places without that part."""
    report = run.fit_report()
    (bank,), network = saved_banks(run), load_network(run)
    normality = network.normality
    assert isinstance(normality.second, Place)
    places = collect_places(place_stages(normality.features, report.input), bank_goods(report), report.recipe)
    share, shift = normality.second.share, normality.second.shift
    switched = Switched(run.file(FP32_SWITCHED), run.file(FP32_ONNX), report.input)
    for name, part in list(parts_in_bank(report).items())[:3]:
        normality.head = normality_head(without_part(bank, part))
        normality.second = Place(places.known(part), share, shift)
        with torch.inference_mode():
            expected = float(network.eval()(image_tensor(report.data / name, report.input))[0])
        switched.without(part)
        found = switched.detector.predict(load_photo(report.data / name, report.input)).score
        assert found == pytest.approx(expected, rel=2e-3)


def test_every_good_sets_the_limit_and_scores_higher_than_what_the_model_knows(run: Run) -> None:
    report, calibration = run.fit_report(), run.read_report("calibration.json", "calibrate")
    assert set(calibration["holdout"]) == set(report.fit_images)
    detector = Detector(run.file(INT8_IR), report.input)
    known = {name: detector.predict(load_photo(report.data / name, report.input)).score for name in report.fit_images}
    assert np.mean([calibration["holdout"][name] - known[name] for name in known]) > 0
