"""The chain with profile nano: a student judges, and nothing else of the bundle's contract changes."""

import json
import shutil
from pathlib import Path

import pytest

from edge.inference.bundle import INT8_IR, open_bundle
from edge.inference.detector import Detector, check_references
from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.int8.parity import int8_convolutions
from train.network.saved import load_network
from train.network.trunk import distil
from train.network.trunk.student import parameters
from train.run import Run
from train.stages import StageError, synth
from train.stages.budget import _untrained
from train.stages.calibrate import calibrate
from train.stages.export import export
from train.stages.fit import fit
from train.stages.pack import pack
from train.stages.quantize import quantize


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of every stage that a bundle needs, on flanges of 96 x 96 pixels."""
    folder = tmp_path_factory.mktemp("nano")
    counts = ["--train-good", "24", "--test-good", "2", "--test-bad-per-type", "1", "--size", "96x96"]
    synth.main(["--out", str(folder / "photos"), *counts])
    work = Run(folder / "runs/flange")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distil, "MOST", 16)  # photographs: enough to see that it works
        lesson = {"epochs": 1, "steps": 2}
        fit(folder / "photos", TrainConfig(profile="nano", side=96, bank=100, calibration_images=16, **lesson), work)
    export(work)
    quantize(work)
    calibrate(work)
    pack(work, folder / "models/flange")
    return work


def test_a_student_becomes_a_bundle_that_reproduces_its_references(run: Run) -> None:
    bundle = open_bundle(run.folder.parents[1] / "models/flange")
    checks = check_references(Detector.from_bundle(bundle), bundle)
    assert len(checks) == 3
    assert all(check.passed for check in checks)
    assert bundle.manifest.training["recipe"]["profile"] == "nano"
    scores = {reference.file: reference.score for reference in bundle.manifest.references}
    assert max(scores, key=scores.__getitem__) == "references/marked.png"


def test_the_student_is_int8_throughout_and_smaller_than_it_was(run: Run) -> None:
    facts, student = run.read_report("quantize.json", "quantize"), run.read_report("student.json", "fit")
    assert int8_convolutions(run.file(INT8_IR)) == facts["convolutions"]["int8"]
    assert parameters(load_network(run).normality.features) == student["parameters"] < student["teacher_parameters"]


def test_artificial_defects_taught_the_teacher_first(run: Run) -> None:
    assert len(run.read_report("heads.json", "fit")["epochs"]) == 1


def test_the_limit_is_set_by_goods_that_the_student_never_saw(run: Run) -> None:
    report = run.fit_report()
    assert not report.cross
    assert report.holdout_images
    assert set(run.read_report("calibration.json", "calibrate")["holdout"]) == set(report.holdout_images)


def test_the_latency_budget_measures_a_network_of_the_students_shape(run: Run) -> None:

    report = run.fit_report()
    roles = split(read_dataset(report.data), report.recipe)
    network, _ = _untrained(report.input, report.recipe, roles, report.data)
    assert parameters(network.normality.features) == run.read_report("student.json", "fit")["parameters"]


def test_labelled_defects_and_a_student_do_not_go_together(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    shutil.copytree(run.fit_report().data, data)
    shutil.move(data / "test/dent", data / "train/dent")
    with pytest.raises(
        StageError, match="holds labelled defects in train/, and profile = nano learns from good photos"
    ):
        fit(data, TrainConfig(profile="nano", side=96), Run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"boxes": True}, "leave boxes out"),
        ({"labelled": 5}, "leave labelled out"),
        ({"place": "on"}, "leave place = on out"),
        ({"scales": 2}, "leave scales = 2 out"),
    ],
)
def test_what_a_student_cannot_do_is_one_clear_line(asked: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"profile = nano learns from good photos and judges once; {said}"):
        TrainConfig.model_validate({"profile": "nano", **asked})


def test_a_students_settings_are_read_back_as_they_were() -> None:
    recipe = TrainConfig.model_validate({"profile": "nano", "place": "auto", "limit": "auto", "scales": 0, "bank": 400})
    assert (recipe.place, recipe.limit, recipe.scales, recipe.bank) == ("off", "split", 1, 400)
    assert TrainConfig.model_validate(json.loads(recipe.model_dump_json())) == recipe
