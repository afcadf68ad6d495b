"""The whole chain on a small synthetic product: real stages, real files, one bundle at the end."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_ONNX, Bundle, open_bundle
from edge.inference.detector import RUNTIMES, Detector, check_references
from edge.inference.preprocess import load_image
from train.__main__ import main
from train.config import TrainConfig
from train.int8 import Int8Error
from train.int8.compiled import runtime_nodes
from train.int8.parity import int8_convolutions, parity
from train.measure import MeasureError
from train.run import Run
from train.stages import synth
from train.stages.evaluate import evaluate_bundle

ROOT = Path(__file__).parents[3]
Refusal = Callable[..., tuple[int, str]]


def train(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "train", *arguments],
        cwd=cwd,
        # One thread: torch's threads wait for each other by spinning, and the tests share two cores.
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def train_flange(folder: Path, goods: int, test_good: int, bad_of_type: int, side: int, *options: str) -> Run:
    """Make photos of the flange, side x side pixels, and train on them by one command: runs/flange, models/flange."""
    counts = ("--train-good", goods, "--test-good", test_good, "--test-bad-per-type", bad_of_type)
    size = ("--size", f"{side}x{side}")
    synth.main(["--out", str(folder / "data/flange"), *map(str, counts), *size])
    taught = ("--epochs", "1", "--steps", "2")  # enough to have the backbone taught, and no more
    done = train(folder, "all", "--data", "data/flange", "--name", "flange", "--side", str(side), *taught, *options)
    assert done.returncode == 0, done.stderr
    return Run(folder / "runs/flange")


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Call `train ARGUMENTS` in a folder, in this process: the exit status and what it says on stderr."""

    def call(cwd: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(cwd)
        try:
            status = main(list(arguments))
        except SystemExit as ended:  # argparse
            status = int(ended.code or 0)
        return status, capsys.readouterr().err

    return call


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/flange and, made from it by one command, runs/flange and models/flange."""
    folder = tmp_path_factory.mktemp("chain")
    train_flange(folder, 24, 6, 2, 256, "--bank", "500", "--limit", "split")
    return folder


@pytest.fixture(scope="module")
def work(station: Path) -> Run:
    return Run(station / "runs/flange")


@pytest.fixture(scope="module")
def bundle(station: Path) -> Bundle:
    return open_bundle(station / "models/flange")


def test_the_bundle_is_verified_and_reproduces_its_references(bundle: Bundle) -> None:
    for runtime in RUNTIMES:
        checks = check_references(Detector.from_bundle(bundle, runtime), bundle)
        assert len(checks) == 3
        assert all(check.passed for check in checks)


def test_the_marked_reference_is_the_most_anomalous(bundle: Bundle) -> None:
    scores = {reference.file: reference.score for reference in bundle.manifest.references}
    assert max(scores, key=scores.__getitem__) == "references/marked.png"


def test_held_out_goods_were_not_fitted(work: Run) -> None:
    report = work.fit_report()
    assert report.fit_images
    assert report.holdout_images
    assert not set(report.fit_images) & set(report.holdout_images)
    assert not any(name.startswith("test/") for name in (*report.fit_images, *report.holdout_images))


def test_the_threshold_was_set_by_the_shipped_file_on_held_out_goods(work: Run, bundle: Bundle) -> None:
    scores = work.read_report("calibration.json", "calibrate")["holdout"]
    detector = Detector.from_bundle(bundle)
    data = work.fit_report().data
    assert all(detector.predict(load_image(data / name)).score == score for name, score in scores.items())
    assert bundle.manifest.threshold.n == len(scores)
    assert bundle.manifest.holdout_scores == tuple(sorted(scores.values()))


def test_every_convolution_is_int8(work: Run) -> None:
    assert int8_convolutions(work.file(INT8_IR)) > 30


def test_between_the_convolutions_there_is_only_what_has_to_be(work: Run) -> None:
    """Every other kind of node of the compiled graph, with its number where more would be a step back."""
    nodes = runtime_nodes(work.file(INT8_IR))
    kinds = Counter(node.kind for node in nodes)
    # Reorder: the image's bytes side by side for each pixel already, and the map on its way out, twice.
    assert kinds.pop("Reorder") <= 3
    assert kinds.pop("FakeQuantize", 0) <= 2  # each of the two stages standardised, in one step for both
    assert set(kinds) <= {"Convolution", "Concatenation", "Pooling", "Subgraph", "Reduce", "TopK"}
    # Subgraph: residual sums and the distance; none of them goes over the whole image.
    assert all(node.elements < 256 * 256 * 3 for node in nodes if node.kind == "Subgraph")
    # FakeQuantize and Subgraph aside, what is computed in float is on the way from the bank to the score.
    assert {node.kind for node in nodes if node.precision == "f32"} <= {"Reduce", "Reorder", "Subgraph", "TopK"}


def test_a_float_model_does_not_pass_as_int8(work: Run) -> None:
    with pytest.raises(Int8Error, match="run in float: "):
        int8_convolutions(work.file(FP32_ONNX))


def test_parity_refuses_a_model_that_scores_otherwise(work: Run, tmp_path: Path) -> None:
    from train.network.saved import load_network

    copy = Run(tmp_path / "run")
    shutil.copytree(work.folder, copy.folder)
    model = onnx.load(copy.file(INT8_ONNX))
    (bias,) = (t for t in model.graph.initializer if t.name.startswith("normality.head.bank.0.bias"))
    values = onnx.numpy_helper.to_array(bias) * 1.3
    bias.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), bias.name))
    onnx.save(model, copy.file(INT8_ONNX))
    with pytest.raises(Int8Error, match=r"INT8 in ONNX Runtime: scores are .* off"):
        parity(copy, load_network(copy), copy.fit_report())


def test_the_report_names_every_test_image(work: Run) -> None:
    report = work.read_report("evaluate.json", "evaluate")
    assert (report["n_good"], report["n_defective"]) == (6, 8)
    assert len(report["images"]) == 14
    assert report["int8"]["image"]["auroc"] > 0.8


def test_evaluate_measures_a_packed_bundle(station: Path, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "reports" / "report.json"
    facts = evaluate_bundle(bundle.path, station / "data/flange", path)
    assert json.loads(path.read_text())["threshold"] == bundle.manifest.threshold.value
    assert facts["int8"]["image"] == bundle.manifest.metrics["int8"]["image"]


def test_a_test_set_of_one_kind_is_refused(station: Path, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(station / "data/flange/train", tmp_path / "set/train")
    shutil.copytree(station / "data/flange/test/good", tmp_path / "set/test/good")
    with pytest.raises(MeasureError, match="needs good images and at least one type of defect"):
        evaluate_bundle(bundle.path, tmp_path / "set", None)


@pytest.mark.parametrize(
    ("stage", "needed"), [("export", "fit"), ("quantize", "fit"), ("calibrate", "fit"), ("pack", "fit")]
)
def test_a_stage_called_too_early_names_the_one_it_needs(
    refusal: Refusal, tmp_path: Path, stage: str, needed: str
) -> None:
    status, said = refusal(tmp_path, stage, "--work", "runs/none")
    assert status == 1
    assert said.startswith("linewatch: ")
    assert f"python -m train {needed}" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bank", "5"], "recipe: bank:"),
        (["--backbone", "no_such_net"], "no_such_net: timm has no such model"),
        (["--config", "missing.toml"], "missing.toml: cannot be read"),
        (["--side", "192", "--bank", "19999"], "needs more; add good images or ask for a smaller --bank"),
    ],
)
def test_a_bad_recipe_is_one_line(refusal: Refusal, station: Path, options: list[str], said: str) -> None:
    status, stderr = refusal(station, "fit", "--data", "data/flange", "--work", "runs/bad", *options)
    assert status == 1
    assert said in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("file", "stage", "said"),
    [
        ("model.pt", "export", "model.pt: is damaged"),
        ("fit.json", "export", "run `python -m train fit` again"),
        ("calibration.json", "pack", "calibration.json: is damaged"),
    ],
)
def test_a_damaged_artefact_is_one_line(
    refusal: Refusal, work: Run, tmp_path: Path, file: str, stage: str, said: str
) -> None:
    shutil.copytree(work.folder, tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(b"{ \x00damaged")
    status, stderr = refusal(tmp_path, stage, "--work", "run")
    assert status == 1
    assert said in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", ""])
def test_a_name_is_no_path(refusal: Refusal, tmp_path: Path, name: str) -> None:
    status, said = refusal(tmp_path, "all", "--name", name)
    assert status == 2
    assert "is no name" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_unknown_stage_is_one_line(tmp_path: Path) -> None:
    done = train(tmp_path, "fly")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_process_that_refuses_says_one_line_whatever_it_imports(tmp_path: Path) -> None:
    done = train(tmp_path, "export", "--work", "runs/none")
    assert done.returncode == 1
    assert done.stderr.startswith("linewatch: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stage", ["profile", "yardstick"])
def test_a_stage_that_was_removed_says_what_to_do_instead(refusal: Refusal, tmp_path: Path, stage: str) -> None:
    status, said = refusal(tmp_path, stage, "--work", "runs/none")
    assert status == 2
    instead = r"`python -m (edge|train) \w+`"
    assert re.fullmatch(rf"linewatch: `train {stage}` was removed; .*{instead}; see .*\n", said)


def test_a_config_is_taken_only_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of the name of one of train/configs is trained with the defaults."""
    from train.stages import all as stage

    fitted: list[TrainConfig] = []
    monkeypatch.setattr(stage.check, "main", lambda argv: None)
    monkeypatch.setattr(stage, "fit", lambda data, config, *_: fitted.append(config))  # as a torchrun's second process
    options = ["--data", str(tmp_path), "--name", "synthetic"]
    stage.main(options)
    stage.main([*options, "--config", str(ROOT / "train/configs/synthetic.toml")])
    assert fitted == [TrainConfig(), TrainConfig(side=384)]


def test_processes_of_a_torchrun_measure_no_budget_each_for_itself(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    status, said = refusal(tmp_path, "all", "--data", "photos", "--name", "part", "--latency-budget-ms", "40")
    assert status == 2
    assert "measures in one process; run `train budget` first, then torchrun with its --side" in said
    assert said.count("\n") == 1


def test_torchscript_on_request_scores_the_same(work: Run, tmp_path: Path) -> None:
    import torch

    from train.network.bank import image_tensor
    from train.network.saved import load_network
    from train.stages.export import TORCHSCRIPT, export

    copy = Run(tmp_path / "run")
    shutil.copytree(work.folder, copy.folder)
    export(copy, torchscript=True)
    report = copy.fit_report()
    image = image_tensor(report.data / report.holdout_images[0], report.input)
    with torch.inference_mode():
        assert torch.allclose(
            torch.jit.load(str(copy.file(TORCHSCRIPT)))(image)[0], load_network(copy)(image)[0], rtol=1e-5
        )


def test_the_report_is_one_file_with_plots_and_the_data_hash(work: Run, tmp_path: Path) -> None:
    from train.stages.report import report

    page = report(work, tmp_path / "page.html").read_text(encoding="utf-8")
    assert work.fit_report().dataset_sha256 in page
    assert "<svg" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
