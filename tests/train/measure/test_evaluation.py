"""What is measured on, what is refused, and that every figure has its interval."""

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import openvino
import pytest

from edge.inference.bundle import FP32_ONNX, INT8_IR, Bundle
from edge.inference.preprocess import ImageError
from tests.train.conftest import write_image
from train import TrainError
from train.measure import MeasureError
from train.measure.results import table
from train.run import Run
from train.stages.calibrate import calibrate
from train.stages.evaluate import can_be_measured, evaluate_bundle, evaluate_work
from train.stages.pack import pack


def data_of(work: Run) -> Path:
    return work.fit_report().data


def refused(work: Run) -> str:
    """The one line that evaluating this run ends in."""
    with pytest.raises(TrainError) as found:
        evaluate_work(work)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_every_measure_has_an_interval_that_holds_it(tiny_run: Run, tmp_path: Path) -> None:
    found = evaluate_work(tiny_run, json_path=tmp_path / "new/evaluate.json")
    assert json.loads((tmp_path / "new/evaluate.json").read_text()) == found
    for name in ("int8", "fp32"):
        for kind in ("image", "pixel"):
            limits = found[name]["intervals"][kind]
            assert limits
            for key, interval in limits.items():
                assert interval["value"] == found[name][kind][key]
                assert interval["low"] <= interval["value"] <= interval["high"]
    assert found["int8"]["per_type"]["spot"]["intervals"]["found"]["value"] == 1.0
    assert found["int8"]["pixel"]["iou_marked"] > 0.3
    places = found["int8"]["places"]
    assert 0 < places["hottest_on_mask"] <= places["found"]
    assert places["median_area_ratio"] > 0
    assert found["reliability"]["n"] == found["n_good"] + found["n_defective"]


def test_the_table_names_every_measure_the_field_asks_for(tiny_run: Run) -> None:
    text = table(evaluate_work(tiny_run))
    for words in ("image AUROC", "F1-max", "FPR at 95 % recall", "AU-PRO", "best Dice", "sensitivity", "ECE", "[0."):
        assert words in text


def test_defects_that_training_used_are_left_out(tiny_run: Run) -> None:
    found = evaluate_work(tiny_run)
    assert found["left_out"] == [f"test/dark/{index:02d}.png" for index in range(6)]
    assert (found["n_good"], found["n_defective"]) == (8, 10)
    assert not {image["file"] for image in found["images"]} & set(found["left_out"])


def test_a_bundle_leaves_out_what_it_was_trained_on_under_any_name(tiny_run: Run, tmp_path: Path) -> None:
    data = data_of(tiny_run)
    bundle = pack(tiny_run, tmp_path / "models/tiny")
    (data / "test/good/copy.png").write_bytes((data / "train/good/00.png").read_bytes())
    found = evaluate_bundle(bundle.path, data.rename(data.with_name("elsewhere")), None)
    assert found["left_out"] == ["test/good/copy.png", *(f"test/dark/{index:02d}.png" for index in range(6))]


def test_a_bundle_that_names_no_image_says_so(
    tiny_run: Run, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_bundle(tiny_bundle.path, data_of(tiny_run), None)["left_out"] == []
    assert "does not say what it was trained on" in capsys.readouterr().out


def test_photographs_of_one_part_are_counted_as_one(tiny_run: Run) -> None:
    root = data_of(tiny_run)
    alone = evaluate_work(tiny_run)
    goods = [path.relative_to(root).as_posix() for path in sorted((root / "test/good").iterdir())]
    rows = [f"{name},{number // 4}" for number, name in enumerate(goods)]
    (root / "groups.csv").write_text("\n".join(["file,group", *rows]) + "\n")
    found = evaluate_work(tiny_run)
    assert (alone["parts_good"], found["parts_good"], found["n_good"]) == (8, 2, 8)
    assert found["parts_defective"] == found["n_defective"]
    low = [facts["int8"]["intervals"]["specificity"]["low"] for facts in (alone, found)]
    assert low[1] < low[0]
    assert "of 2 good and 10 defective parts" in table(found)


def test_a_set_of_which_one_kind_is_left_is_refused(tiny_run: Run) -> None:
    assert can_be_measured(tiny_run)
    report = tiny_run.fit_report()
    everything = [f"test/{kind}" for kind in ("dark", "spot")]
    names = [f"{kind}/{path.name}" for kind in everything for path in sorted((report.data / kind).iterdir())]
    trained = report.model_copy(update={"defect_images": tuple(names)})
    tiny_run.file("fit.json").write_text(trained.model_dump_json())
    assert not can_be_measured(tiny_run)
    assert "8 good and 0 defective images to measure on, after 16 that the model was trained on" in refused(tiny_run)


def test_an_image_that_was_trained_on_and_is_gone_is_named(tiny_run: Run) -> None:
    (data_of(tiny_run) / "train/good/03.png").unlink()
    assert "train/good/03.png: was trained on and is gone" in refused(tiny_run)


def test_an_empty_mask_is_counted_and_left_out_of_pixel_figures(tiny_run: Run) -> None:
    write_image(data_of(tiny_run) / "ground_truth/spot/03_mask.png", np.zeros((96, 128), np.uint8))
    found = evaluate_work(tiny_run)
    assert found["empty_masks"] == ["test/spot/03.png"]
    assert found["n_defective"] == 10
    assert found["int8"]["pixel"]["with_defects"] == 9


def test_without_any_mask_there_are_image_figures_only(tiny_run: Run) -> None:
    for path in (data_of(tiny_run) / "ground_truth").rglob("*.png"):
        path.unlink()
    found = evaluate_work(tiny_run)
    assert found["int8"]["pixel"] is None
    assert "AU-PRO" not in table(found)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("ground_truth/spot/03_mask.png", "03_mask.png: the mask is 8x8, but its image is 128x96"),
        ("ground_truth/spto/00_mask.png", "ground_truth/spto: no such type of defect: "),
        ("ground_truth/spot/77_mask.png", "77_mask.png: there is no image "),
    ],
)
def test_masks_that_fit_nothing_are_refused_before_anything_is_measured(tiny_run: Run, damage: str, said: str) -> None:
    write_image(data_of(tiny_run) / damage, np.full((8, 8), 255, np.uint8))
    assert said in refused(tiny_run)
    assert not tiny_run.file("evaluate.json").exists()


def test_a_model_that_answers_no_number_is_refused(tiny_run: Run) -> None:
    model = onnx.load(tiny_run.file(FP32_ONNX))
    (mid,) = (t for t in model.graph.initializer if t.name == "mid")
    mid.CopyFrom(onnx.numpy_helper.from_array(np.array(np.nan, np.float32), "mid"))
    onnx.save(model, tiny_run.file(FP32_ONNX))
    openvino.save_model(openvino.convert_model(str(tiny_run.file(FP32_ONNX))), tiny_run.file(INT8_IR))
    with pytest.raises(MeasureError, match=r"00\.png: the int8 model answers .*not finite"):
        evaluate_work(tiny_run)


def test_the_hashes_in_a_bundle_are_those_of_the_files(tiny_run: Run, tmp_path: Path) -> None:
    training = pack(tiny_run, tmp_path / "models/tiny").manifest.training
    files = [data_of(tiny_run) / name for name in tiny_run.fit_report().seen_images]
    assert training["image_sha256"] == sorted(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files)
    assert (training["fit_images"], training["holdout_images"], training["validation_images"]) == (20, 10, 6)


def test_a_picture_that_the_line_refuses_is_no_found_defect(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Black, and of one colour: neither found nor missed, and said apart."""
    before = evaluate_work(tiny_run)
    for name, colour in (("spot/black.png", (0, 0, 0)), ("spot/red.png", (0, 0, 200)), ("good/white.png", (255,) * 3)):
        write_image(data_of(tiny_run) / "test" / name, np.full((64, 64, 3), colour, np.uint8))
    after = evaluate_work(tiny_run)
    assert after["refused"] == ["test/good/white.png", "test/spot/black.png", "test/spot/red.png"]
    assert (after["n_good"], after["n_defective"]) == (before["n_good"], before["n_defective"])
    assert after["int8"]["image"] == before["int8"]["image"]
    assert "3 test images refused as on the line" in capsys.readouterr().out


def test_a_held_out_good_that_shows_nothing_sets_no_threshold(tiny_run: Run) -> None:
    name = tiny_run.fit_report().holdout_images[0]
    write_image(data_of(tiny_run) / name, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ImageError, match=rf"{name}: the frame is black"):
        calibrate(tiny_run)


def test_an_inverted_mask_and_missing_masks_are_said_with_the_figures(
    tiny_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """AU-PRO fell from .98 to .30, and nobody was told why."""
    masks = sorted((data_of(tiny_run) / "ground_truth/spot").iterdir())
    write_image(masks[0], 255 - cv2.imread(str(masks[0]), cv2.IMREAD_GRAYSCALE))
    evaluate_work(tiny_run)
    assert f"warning: {masks[0]}: marks 94% of the picture; is it inverted?" in capsys.readouterr().out
    shutil.rmtree(data_of(tiny_run) / "ground_truth")
    evaluate_work(tiny_run)
    assert "where the map points was not measured" in capsys.readouterr().out
