"""The chain with two scales: one graph with one input, all of it in INT8, whose map lies where its cells look."""

import pytest

from edge.inference.bundle import INT8_IR
from tests.train.stages.test_all import train
from train.int8.parity import int8_convolutions
from train.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("two")
    counts = ("--train-good", "24", "--test-good", "4", "--test-bad-per-type", "2", "--size", "256x256")
    assert train(folder, "synth", "--out", "data/flange", *counts).returncode == 0
    options = ("--side", "256", "--scales", "2", "--bank", "300")
    done = train(folder, "all", "--data", "data/flange", "--name", "flange", *options)
    assert done.returncode == 0, done.stderr
    return Run(folder / "runs/flange")


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
