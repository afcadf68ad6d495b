"""A real bundle around the smallest possible model, so that device tests need neither torch nor training.

The model calls anything anomalous that is far from mid grey: anomaly = |mean of RGB - 128| averaged over
8x8 blocks, score = its maximum, threshold 50. A grey image is OK, a white or black spot is NG.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper

from edge.core.types import Image, Limits
from edge.inference.bundle import FP32_ONNX, INT8_IR, INT8_IR_WEIGHTS, INT8_ONNX, Bundle, write_bundle

SIZE = 64
THRESHOLD = 50.0
LIMITS = Limits(threshold=THRESHOLD, marking=THRESHOLD)


def good_image(width: int = 128, height: int = 96) -> Image:
    """(H, W, 3) uint8 BGR around mid grey with faint texture: the tiny model calls it OK."""
    rng = np.random.default_rng(0)
    return rng.integers(118, 139, (height, width, 3)).astype(np.uint8)


def bad_image(width: int = 128, height: int = 96) -> Image:
    """The good image with a white square from a quarter to half of each side: NG, one region there."""
    image = good_image(width, height)
    image[height // 4 : height // 2, width // 4 : width // 2] = 255
    return image


def write_tiny_model(path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["chw", "axis_c"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["grey", "mid"], ["centred"]),
        helper.make_node("Abs", ["centred"], ["away"]),
        helper.make_node("AveragePool", ["away"], ["anomaly_map"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("ReduceMax", ["anomaly_map", "axes_all"], ["score"], keepdims=0),
    ]
    constants = [
        helper.make_tensor("axis_c", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axes_all", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("mid", TensorProto.FLOAT, [], [128.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, 1, SIZE // 8, SIZE // 8]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_tiny_bundle(target: Path, work: Path) -> Bundle:
    """Write the bundle to target; work is scratch space."""
    work.mkdir(parents=True, exist_ok=True)
    write_tiny_model(work / FP32_ONNX)
    openvino.save_model(openvino.convert_model(str(work / FP32_ONNX)), work / INT8_IR, compress_to_fp16=False)
    cv2.imwrite(str(work / "good.png"), good_image())
    cv2.imwrite(str(work / "bad.png"), bad_image())
    facts = {
        "name": "tiny",
        "version": "1",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "git_commit": "0" * 40,
        "dataset_sha256": "0" * 64,
        "input": {"width": SIZE, "height": SIZE},
        "map": {"columns": SIZE // 8, "rows": SIZE // 8, "stride": 8.0, "offset": (3.5, 3.5)},
        "marking": {"value": THRESHOLD, "share": 1e-4, "n": 99},
        "threshold": {"value": THRESHOLD, "method": "conformal", "n": 99, "alpha": 0.01, "bound": 0.01},
        "calibration": {"method": "goods_logistic", "midpoint": THRESHOLD, "scale": 8.0, "n": 99},
        "metrics": {},
        "training": {},
        "references": [
            {"file": "references/good.png", "score": 2.0, "tolerance": 2.0},
            {"file": "references/bad.png", "score": 127.0, "tolerance": 2.0},
        ],
    }
    files = {
        INT8_IR: work / INT8_IR,
        INT8_IR_WEIGHTS: work / INT8_IR_WEIGHTS,
        INT8_ONNX: work / FP32_ONNX,
        FP32_ONNX: work / FP32_ONNX,
        "references/good.png": work / "good.png",
        "references/bad.png": work / "bad.png",
    }
    return write_bundle(target, facts, files)
