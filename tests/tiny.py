"""A real bundle around the smallest possible model, so that device tests need neither torch nor training.

The model calls anything anomalous that is far from mid grey: anomaly = |mean of RGB - 128| averaged over
8x8 blocks, score = its maximum, threshold 50. A grey image is OK, a white or black spot is NG. With boxes the
map is divided by 50, each block answers with itself and 4 pixels more on each side, of type "bright" or "dark".
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
BOX_TYPES = ("bright", "dark")  # with limits of 1 and 2
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


def write_tiny_model(path: Path, boxed: bool = False) -> None:
    cells = SIZE // 8
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["chw", "axis_c"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["grey", "mid"], ["centred"]),
        helper.make_node("Abs", ["centred"], ["away"]),
        helper.make_node("AveragePool", ["away"], ["mean_away"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Div", ["mean_away", "one"], ["anomaly_map"]),
        helper.make_node("ReduceMax", ["anomaly_map", "axes_all"], ["score"], keepdims=0),
    ]
    constants = [
        helper.make_tensor("axis_c", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axes_all", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("mid", TensorProto.FLOAT, [], [128.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [THRESHOLD if boxed else 1.0]),
    ]
    answers = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, 1, cells, cells]),
    ]
    if boxed:
        nodes += [
            helper.make_node("Mul", ["anomaly_map", "nought"], ["nothing"]),
            helper.make_node("Add", ["nothing", "sides"], ["boxes"]),
            helper.make_node("AveragePool", ["centred"], ["mean_centred"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Sigmoid", ["mean_centred"], ["bright"]),
            helper.make_node("Neg", ["mean_centred"], ["inverted"]),
            helper.make_node("Sigmoid", ["inverted"], ["dark"]),
            helper.make_node("Concat", ["bright", "dark"], ["box_types"], axis=1),
        ]
        y, x = np.mgrid[:cells, :cells] * 8.0
        sides = np.stack([x - 4, y - 4, x + 12, y + 12])[np.newaxis]
        constants += [
            helper.make_tensor("nought", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("sides", TensorProto.FLOAT, sides.shape, sides.ravel()),
        ]
        answers += [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4, cells, cells]),
            helper.make_tensor_value_info("box_types", TensorProto.FLOAT, [1, len(BOX_TYPES), cells, cells]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        answers,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_tiny_bundle(target: Path, work: Path, boxed: bool = False) -> Bundle:
    """Write the bundle to target; work is scratch space; boxed: the model locates by boxes, and 1 is the threshold."""
    work.mkdir(parents=True, exist_ok=True)
    write_tiny_model(work / FP32_ONNX, boxed)
    one = 1.0 if boxed else THRESHOLD
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
        "marking": {"value": one, "share": 1e-4, "n": 99},
        "threshold": {"value": one, "method": "conformal", "n": 99, "alpha": 0.01, "bound": 0.01},
        "calibration": {"method": "goods_logistic", "midpoint": one, "scale": 8.0 * one / THRESHOLD, "n": 99},
        "metrics": {},
        "training": {},
        "references": [
            {"file": "references/good.png", "score": 2.0 * one / THRESHOLD, "tolerance": 2.0 * one / THRESHOLD},
            {"file": "references/bad.png", "score": 127.0 * one / THRESHOLD, "tolerance": 2.0 * one / THRESHOLD},
        ],
    }
    if boxed:
        facts["boxes"] = {"types": BOX_TYPES, "limits": (1.0, 2.0)}
    files = {
        INT8_IR: work / INT8_IR,
        INT8_IR_WEIGHTS: work / INT8_IR_WEIGHTS,
        INT8_ONNX: work / FP32_ONNX,
        FP32_ONNX: work / FP32_ONNX,
        "references/good.png": work / "good.png",
        "references/bad.png": work / "bad.png",
    }
    return write_bundle(target, facts, files)
