"""A finished run around the tiny model, for the stages that come after training: real files, no torch."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_ONNX
from edge.inference.preprocess import InputSpec
from tests.tiny import SIZE, bad_image, good_image, write_tiny_model
from train.config import TrainConfig
from train.data.dataset import dataset_sha256, read_dataset
from train.run import FitReport, Run
from train.stages.calibrate import calibrate

KINDS = {"train/good": 30, "test/good": 8, "test/spot": 6, "test/dark": 10}
FITTED, VALIDATED = 20, 6


def photos(folder: str) -> Iterator[NDArray[np.uint8]]:
    """Images of one kind, no two alike: white or black squares on those that are defective."""
    rng = np.random.default_rng(len(folder))
    for _ in range(KINDS[folder]):
        image = good_image() if folder.endswith("good") else bad_image()
        if folder.endswith("dark"):
            image = 255 - image
        yield np.clip(image.astype(np.int16) + rng.integers(-4, 5, image.shape), 0, 255).astype(np.uint8)


def write_image(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture(scope="session")
def _tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    data = folder / "photos"
    for kind in KINDS:
        for index, image in enumerate(photos(kind)):
            write_image(data / kind / f"{index:02d}.png", image)
    mask = np.zeros((96, 128), np.uint8)
    mask[24:48, 32:64] = 255
    for kind in ("spot", "dark"):
        for path in (data / "test" / kind).iterdir():
            write_image(data / "ground_truth" / kind / f"{path.stem}_mask.png", mask)
    run = folder / "runs/tiny"
    run.mkdir(parents=True)
    write_tiny_model(run / FP32_ONNX)
    shutil.copy(run / FP32_ONNX, run / INT8_ONNX)
    openvino.save_model(openvino.convert_model(str(run / FP32_ONNX)), run / INT8_IR, compress_to_fp16=False)
    facts = {"convolutions": {"all": 1, "int8": 1}, "parity": {"int8_tolerance": 0.03}}
    (run / "quantize.json").write_text(json.dumps(facts))
    place = {"columns": SIZE // 8, "rows": SIZE // 8, "stride": 8.0, "offset": (3.5, 3.5)}
    (run / "export.json").write_text(json.dumps({"map": place}))
    return folder


@pytest.fixture
def tiny_run(_tiny_run: Path, tmp_path: Path) -> Run:
    """A run with its own data, calibrated: 20 goods fitted, 10 held out, 6 defects for validation; may be damaged."""
    root = tmp_path / "work"
    shutil.copytree(_tiny_run, root)
    goods = [f"train/good/{index:02d}.png" for index in range(KINDS["train/good"])]
    data = root / "photos"
    work = Run(root / "runs/tiny")
    report = FitReport(
        recipe=TrainConfig(alpha=0.1, outliers=0),
        data=data,
        dataset_sha256=dataset_sha256(read_dataset(data)),
        input=InputSpec(width=SIZE, height=SIZE),
        fit_images=tuple(goods[:FITTED]),
        holdout_images=tuple(goods[FITTED:]),
        validation_images=tuple(f"test/dark/{index:02d}.png" for index in range(VALIDATED)),
        feature_channels=1,
        bank_rows=1,
        seconds=1.0,
        git_commit="0" * 40,
        versions={"numpy": np.__version__},
    )
    work.file("fit.json").write_text(report.model_dump_json())
    calibrate(work)
    return work
