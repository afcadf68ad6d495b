"""The stages after training with boxes, on real files of the tiny model: limits, average precision, a bundle."""

import json
import shutil
from pathlib import Path

import openvino
import pytest

from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_ONNX
from edge.inference.detector import RUNTIMES, Detector, check_references
from tests.tiny import BOX_TYPES, SIZE, write_tiny_model
from train.__main__ import main
from train.network.boxes import BoxesError
from train.network.boxes.fit import fit_boxes
from train.network.boxes.labels import FOLDER
from train.run import Run
from train.stages import StageError
from train.stages.budget import budget
from train.stages.calibrate import calibrate
from train.stages.evaluate import evaluate_bundle, evaluate_work
from train.stages.pack import pack
from train.stages.report import report

SPOT = (32, 24, 64, 48)  # of the tiny photos, in their pixels


@pytest.fixture
def boxed_run(tiny_run: Run) -> Run:
    """The tiny run, with a model that locates by boxes and with labels of its defects."""
    report = tiny_run.fit_report()
    model = tiny_run.file(FP32_ONNX)
    write_tiny_model(model, boxed=True)
    shutil.copy(model, tiny_run.file(INT8_ONNX))
    openvino.save_model(openvino.convert_model(str(model)), tiny_run.file(INT8_IR), compress_to_fp16=False)
    folder = report.data / FOLDER
    folder.mkdir()
    for path in [*(report.data / "test" / "spot").iterdir(), *(report.data / "ground_truth" / "spot").iterdir()]:
        path.rename(path.with_name(f"s{path.name}"))  # of two photos of one name nobody knows whose the boxes are
    for kind, number in (("spot", 1), ("dark", 2)):
        for photo in (report.data / "test" / kind).iterdir():
            (folder / f"{photo.stem}.txt").write_text(f"{SPOT[0]} {SPOT[1]} {SPOT[2]} {SPOT[3]} {number}\n")
    recipe = report.recipe.model_copy(update={"boxes": True, "box_types": BOX_TYPES})
    taught = {"recipe": recipe, "boxes": BOX_TYPES, "defect_images": report.validation_images, "validation_images": ()}
    tiny_run.file("fit.json").write_text(report.model_copy(update=taught).model_dump_json())
    calibrate(tiny_run)
    return tiny_run


def test_no_held_out_good_reaches_the_limits(boxed_run: Run) -> None:
    facts = boxed_run.read_report("calibration.json", "calibrate")
    assert facts["threshold"]["value"] == 1.0
    assert facts["threshold"]["bound"] is None
    assert max(facts["holdout"].values()) < 1.0
    assert boxed_run.box_facts() is not None
    assert len(facts["boxes"]["limits"]) == len(BOX_TYPES)


def test_a_bundle_of_boxes_is_one_that_a_station_takes_and_is_measured_as_it_ships(
    boxed_run: Run, tmp_path: Path
) -> None:
    bundle = pack(boxed_run, tmp_path / "boards")
    assert bundle.manifest.format == 3
    assert bundle.manifest.boxes == boxed_run.box_facts()
    for runtime in RUNTIMES:
        assert all(check.passed for check in check_references(Detector.from_bundle(bundle, runtime), bundle))
    scores = [reference.score for reference in bundle.manifest.references]
    assert min(scores) < 1.0 <= max(scores)
    facts = evaluate_bundle(bundle.path, boxed_run.fit_report().data, tmp_path / "measured.json")
    assert facts["boxes"] == json.loads((tmp_path / "measured.json").read_text())["boxes"]
    assert set(facts["boxes"]) == {"int8", "fp32"}
    measured = facts["boxes"]["int8"]
    assert measured["photos"] == facts["n_good"] + facts["n_defective"]
    assert measured["boxes"] == facts["n_defective"]
    assert facts["int8"]["at_threshold"]["escapes"] == 0


def test_a_run_of_boxes_has_a_report_without_opinions(boxed_run: Run) -> None:
    evaluate_work(boxed_run)
    page = report(boxed_run).read_text(encoding="utf-8")
    assert "Grad-CAM" not in page
    assert all(name in page for name in BOX_TYPES)


QUANTIZED = {
    "tool": "a quantiser",
    "calibration_images": 20,
    "measured_on": "10 goods",
    "trials": [],
    "within_limits": True,
}


def test_the_technical_report_of_boxes_tells_of_boxes_and_how_precise_they_are(boxed_run: Run, tmp_path: Path) -> None:
    boxed_run.write_report("quantize.json", boxed_run.read_report("quantize.json", "quantize") | QUANTIZED)
    boxed_run.write_report("heads.json", {"epochs": [{"epoch": 1, "box_loss": 2.5}], "kept_epoch": 1})
    bundle, data = pack(boxed_run, tmp_path / "boards").path, boxed_run.fit_report().data
    facts = evaluate_bundle(bundle, data, tmp_path / "measured.json")
    facts["boxes"]["int8"] |= {"map_50": 0.875, "map_50_95": 0.5}
    (tmp_path / "measured.json").write_text(json.dumps(facts))
    page = tmp_path / "page.html"
    command = [
        "--bundle",
        bundle,
        "--evaluation",
        tmp_path / "measured.json",
        "--work",
        boxed_run.folder,
        "--out",
        page,
    ]
    assert main(["report", *map(str, command)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "memory bank" not in text
    assert "heads learned" not in text
    assert "The detector learned for 1 epochs; the moving average" in text
    assert "<b>0.875</b><span>mAP of the boxes at overlap .5</span>" in text
    assert "<td>all types (mAP)</td><td>10</td><td>0.875</td><td>0.000</td><td>0.500</td><td>0.000</td>" in text
    limits = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["method"]["limits"]
    assert list(limits) == list(BOX_TYPES)
    for name, limit in limits.items():
        assert f"<td>limit of {name}</td><td>{limit:.4g}</td>" in text
        assert f"<tr><td>{name}</td><td>{facts['boxes']['int8']['per_type'][name]['boxes']}</td>" in text


def test_boxes_of_an_unknown_type_are_not_measured(boxed_run: Run) -> None:
    fitted = boxed_run.fit_report()
    recipe = fitted.recipe.model_copy(update={"box_types": ()})
    boxed_run.file("fit.json").write_text(fitted.model_copy(update={"recipe": recipe}).model_dump_json())
    with pytest.raises(StageError, match=r"holds boxes of the type '[12]', which this model was not taught"):
        evaluate_work(boxed_run)


def test_boxes_without_labels_are_refused_before_anything_is_trained(tiny_run: Run, tmp_path: Path) -> None:
    fitted = tiny_run.fit_report()
    with pytest.raises(BoxesError, match="boxes: is missing; it holds the boxes"):
        fit_boxes(fitted.data, fitted.recipe.model_copy(update={"boxes": True}), Run(tmp_path / "run"))


def test_a_latency_budget_is_refused_with_boxes(tiny_run: Run, tmp_path: Path) -> None:
    fitted = tiny_run.fit_report()
    recipe = fitted.recipe.model_copy(update={"boxes": True})
    with pytest.raises(StageError, match="the largest input of a detector of boxes is not looked for"):
        budget(fitted.data, recipe, 20.0, None, Run(tmp_path / "run"))
    assert fitted.input.width == SIZE
