"""edge.inference.detector: both runtimes run what the bundle says, or refuse it in one line."""

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge.core.types import AnomalyMap
from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_IR_WEIGHTS, INT8_ONNX, Bundle, Calibration, open_bundle
from edge.inference.cpu import CpuError
from edge.inference.detector import RUNTIMES, Detector, DetectorError, Runtime, check_references, probability
from edge.inference.placement import GRID, MapGeometry
from edge.inference.preprocess import ImageError, InputSpec, prepare
from edge.inference.runtimes import RuntimeLoadError
from tests.tiny import SIZE, THRESHOLD, bad_image, good_image

CALIBRATION = Calibration(method="goods_logistic", midpoint=50.0, scale=8.0, n=99)


@pytest.fixture(scope="module", params=RUNTIMES)
def detector(request: pytest.FixtureRequest, tiny_bundle: Bundle) -> Detector:
    return Detector.from_bundle(tiny_bundle, request.param)


def test_a_good_and_a_bad_part_lie_on_their_sides_of_the_threshold(detector: Detector) -> None:
    assert detector.predict(good_image()).score < THRESHOLD < detector.predict(bad_image()).score


def test_the_map_is_hottest_where_the_spot_is(detector: Detector) -> None:
    prediction = detector.predict(bad_image())
    row, column = np.unravel_index(prediction.anomaly_map.argmax(), prediction.anomaly_map.shape)
    assert prediction.anomaly_map.dtype == np.float32
    assert prediction.anomaly_map.shape == (SIZE // GRID, SIZE // GRID)
    assert 4 <= row <= 7
    assert 4 <= column <= 7
    assert prediction.anomaly_map.max() == pytest.approx(prediction.score, rel=0.2)


def test_the_map_of_a_bundle_of_format_1_lies_where_its_backbone_looked(tiny_bundle: Bundle) -> None:
    """The tiny model looks straight; a bundle that says of itself that it looks aside is believed."""
    manifest = tiny_bundle.manifest
    old = {"format": 1, "map": None, "marking": None, "training": {"recipe": {"backbone": "tf_efficientnet_lite0"}}}
    aside = Detector.from_bundle(replace(tiny_bundle, manifest=manifest.model_copy(update=old)))
    straight = Detector.from_bundle(tiny_bundle)
    seen = [centre(detector.predict(bad_image()).anomaly_map) for detector in (aside, straight)]
    moved = np.subtract(*seen) * GRID
    assert moved == pytest.approx([-12.5, -12.5], abs=1.5)


def centre(anomaly_map: AnomalyMap) -> NDArray[np.float64]:
    """The centre of mass, row and column, of what lies above half of the peak."""
    return np.argwhere(anomaly_map > anomaly_map.max() / 2).mean(axis=0)


def test_a_map_of_another_size_than_the_manifest_says_is_refused(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    place = MapGeometry(columns=4, rows=4, stride=16.0, offset=(7.5, 7.5))
    other = replace(tiny_bundle, manifest=manifest.model_copy(update={"map": place}))
    with pytest.raises(DetectorError, match="answers a map of 8x8 cells, the manifest says 4x4; pack the bundle again"):
        Detector.from_bundle(other)


def test_each_answer_keeps_its_own_memory(detector: Detector) -> None:
    first = detector.predict(bad_image())
    kept = first.anomaly_map.copy()
    detector.predict(good_image())
    assert np.array_equal(first.anomaly_map, kept)


def test_the_same_frame_always_scores_the_same(detector: Detector) -> None:
    assert len({detector.predict(bad_image()).score for _ in range(5)}) == 1


def test_a_prepared_image_scores_as_its_frame_does(detector: Detector) -> None:
    prepared = detector.predict_prepared(prepare(bad_image(), detector.spec))
    assert prepared.score == detector.predict(bad_image()).score


@pytest.mark.parametrize(
    "tensor", [np.zeros((1, SIZE, SIZE, 1), np.uint8), np.zeros((1, SIZE, SIZE, 3), np.float32), np.zeros(3, np.uint8)]
)
def test_a_tensor_that_does_not_fit_is_refused(detector: Detector, tensor: np.ndarray) -> None:
    with pytest.raises(DetectorError, match="does not fit"):
        detector.predict_prepared(tensor)


def test_a_frame_that_does_not_fit_is_refused(detector: Detector) -> None:
    with pytest.raises(ImageError):
        detector.predict(np.zeros((SIZE, SIZE), np.uint8))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_shipped_and_the_yardstick_model_both_run(tiny_bundle: Bundle, runtime: Runtime) -> None:
    scores = [
        Detector.from_bundle(tiny_bundle, runtime, precision).predict(bad_image()).score
        for precision in ("int8", "fp32")
    ]
    assert scores[0] == pytest.approx(scores[1])  # the tiny bundle ships the same graph twice


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_of_another_size_than_the_manifest_is_refused(tiny_bundle: Bundle, runtime: Runtime) -> None:
    with pytest.raises(DetectorError, match="the manifest says 32x32"):
        Detector(tiny_bundle.file(FP32_ONNX), InputSpec(width=32, height=32), None, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_model_is_refused_in_one_line(tmp_path: Path, runtime: Runtime) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not a model")
    with pytest.raises(RuntimeLoadError, match=r"model\.onnx: \w+ [\d.]+.* cannot load it") as refused:
        Detector(model, InputSpec(width=SIZE, height=SIZE), None, runtime)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("keep", [0, 3])
def test_weights_that_are_cut_off_are_refused_in_one_line(tiny_bundle: Bundle, tmp_path: Path, keep: int) -> None:
    shutil.copy(tiny_bundle.file(INT8_IR), tmp_path / INT8_IR)
    (tmp_path / INT8_IR_WEIGHTS).write_bytes(tiny_bundle.file(INT8_IR_WEIGHTS).read_bytes()[:keep])
    with pytest.raises(RuntimeLoadError) as refused:
        Detector(tmp_path / INT8_IR, InputSpec(width=SIZE, height=SIZE))
    assert "\n" not in str(refused.value)


def rewritten(model: Path, target: Path, shape: list[int | str], outputs: slice) -> Path:
    """The tiny model with another input shape, or with fewer outputs."""
    graph = onnx.load(model)
    graph.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, shape))
    del graph.graph.output[outputs]
    onnx.save(graph, target)
    return target


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("shape", [["n", SIZE, SIZE, 3], [1, "h", "w", 3]])
def test_a_model_with_a_dynamic_shape_is_refused_in_one_line(
    tiny_bundle: Bundle, tmp_path: Path, runtime: Runtime, shape: list[int | str]
) -> None:
    model = rewritten(tiny_bundle.file(FP32_ONNX), tmp_path / "model.onnx", shape, slice(0, 0))
    with pytest.raises(RuntimeLoadError, match=r"dynamic shape .* export it with a fixed one") as refused:
        Detector(model, InputSpec(width=SIZE, height=SIZE), None, runtime)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_without_a_map_is_refused_when_it_is_loaded(
    tiny_bundle: Bundle, tmp_path: Path, runtime: Runtime
) -> None:
    model = rewritten(tiny_bundle.file(FP32_ONNX), tmp_path / "model.onnx", [1, SIZE, SIZE, 3], slice(1, 2))
    with pytest.raises(DetectorError, match="answers score and no 'anomaly_map'"):
        Detector(model, InputSpec(width=SIZE, height=SIZE), None, runtime)


def test_an_ir_of_a_newer_openvino_is_refused_in_one_line_that_names_the_version(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    text = tiny_bundle.file(INT8_IR).read_text()
    assert 'version="11"' in text
    (tmp_path / INT8_IR).write_text(text.replace('version="11"', 'version="99"', 1))
    shutil.copy(tiny_bundle.file(INT8_IR_WEIGHTS), tmp_path / INT8_IR_WEIGHTS)
    with pytest.raises(RuntimeLoadError, match=r"openvino \d{4}\..*install the version it was packed with") as refused:
        Detector(tmp_path / INT8_IR, InputSpec(width=SIZE, height=SIZE))
    assert "\n" not in str(refused.value)


def test_no_detector_is_made_on_a_cpu_that_is_not_fit(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfit() -> None:
        raise CpuError("no AVX2")

    monkeypatch.setattr("edge.inference.detector.require_cpu", unfit)
    with pytest.raises(CpuError):
        Detector.from_bundle(tiny_bundle)


def test_onnxruntime_is_not_loaded_where_openvino_judges(tiny_bundle: Bundle) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from edge.inference.bundle import open_bundle; from edge.inference.detector import Detector\n"
        f"Detector.from_bundle(open_bundle(Path({str(tiny_bundle.path)!r}))); sys.exit('onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], timeout=120).returncode == 0


@given(scores=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)))
def test_probability_rises_with_the_score_and_stays_between_0_and_1(scores: tuple[float, float]) -> None:
    lower, higher = (probability(score, CALIBRATION) for score in sorted(scores))
    assert 0.0 <= lower <= higher <= 1.0


def test_probability_is_one_half_at_the_midpoint_and_logistic_around_it() -> None:
    assert probability(50.0, CALIBRATION) == 0.5
    assert probability(58.0, CALIBRATION) == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_a_number_has_no_probability(score: float) -> None:
    assert math.isnan(probability(score, CALIBRATION))
    assert math.isnan(probability(1.0, None))


def test_references_are_scored_through_the_path_of_parts(detector: Detector, tiny_bundle: Bundle) -> None:
    check, *_ = check_references(detector, tiny_bundle)
    assert check.passed
    assert check.score == detector.predict(good_image()).score


@pytest.mark.parametrize("score", [4.1, -0.1, math.nan, math.inf])
def test_a_reference_off_its_tolerance_or_not_a_number_does_not_pass(
    detector: Detector, tiny_bundle: Bundle, score: float
) -> None:
    check, *_ = check_references(detector, tiny_bundle)
    moved = type(check)(check.file, 2.0, score, 2.0, check.infer_ms)
    assert not moved.passed


def test_the_runtimes_leave_nothing_in_the_home_folder(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Their use statistics would: identifiers and a database, to be sent when there is a network."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", "check", str(tiny_bundle.path)],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_weights_that_are_overwritten_on_the_disk_do_not_change_what_judges(tmp_path: Path, runtime: Runtime) -> None:
    shipped = Path(__file__).parents[3] / "models" / "default"
    shutil.copytree(shipped, tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    detector = Detector.from_bundle(bundle, runtime)
    before = check_references(detector, bundle)[0]
    for name in (INT8_IR_WEIGHTS, INT8_ONNX):
        with bundle.file(name).open("r+b") as stream:
            stream.write(bytes(bundle.file(name).stat().st_size))
    after = check_references(detector, bundle)[0]
    assert after.score == before.score
    assert after.passed


def with_class_map(source: Path, target: Path, cells: str) -> Path:
    """Write the tiny model with a `class_map` of these cells: how much brighter than mid grey each is."""
    model = onnx.load(source)
    model.graph.node.append(
        helper.make_node("AveragePool", ["centred"], ["class_map"], kernel_shape=[8, 8], strides=[8, 8])
        if cells == "8x8"
        else helper.make_node("AveragePool", ["centred"], ["class_map"], kernel_shape=[16, 16], strides=[16, 16])
    )
    side = 8 if cells == "8x8" else 4
    model.graph.output.append(helper.make_tensor_value_info("class_map", TensorProto.FLOAT, [1, 1, side, side]))
    onnx.save(model, target)
    return target


def test_a_class_map_lies_where_the_map_lies_and_changes_nothing_else(tiny_bundle: Bundle, tmp_path: Path) -> None:
    manifest, plain = tiny_bundle.manifest, Detector.from_bundle(tiny_bundle, precision="fp32")
    model = with_class_map(tiny_bundle.file(FP32_ONNX), tmp_path / "model.onnx", "8x8")
    detector = Detector(model, manifest.input, manifest.calibration, geometry=manifest.map)
    bright = good_image()
    bright[:48] = 255  # so bright that the part's log odds are far above 0
    found, without = detector.predict(bright), plain.predict(bright)
    assert without.class_map is None
    assert found.class_map is not None
    assert (found.score, found.box) == (without.score, without.box)
    assert np.array_equal(found.anomaly_map, without.anomaly_map)
    assert found.class_map.shape == found.anomaly_map.shape
    assert found.class_map[: len(found.class_map) // 3].min() > 0.9
    assert found.class_map[-len(found.class_map) // 3 :].max() < 0.1
    assert np.corrcoef(found.class_map.ravel(), found.anomaly_map.ravel())[0, 1] > 0.99


def test_a_class_map_of_other_cells_is_refused_when_it_is_loaded(tiny_bundle: Bundle, tmp_path: Path) -> None:
    model = with_class_map(tiny_bundle.file(FP32_ONNX), tmp_path / "model.onnx", "4x4")
    with pytest.raises(DetectorError, match=r"answers 'class_map' of \(1, 1, 4, 4\), the manifest says \(1, 1, 8, 8\)"):
        Detector(model, tiny_bundle.manifest.input, geometry=tiny_bundle.manifest.map)
