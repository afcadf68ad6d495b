"""Every code inside a quantised ONNX file, as ONNX Runtime and OpenVINO compute it on a picture."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Known = dict[str, NDArray[np.generic]]


def quantised_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the outputs of all QuantizeLinear operators, in the order in which they are computed."""
    return [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]


def with_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that also answers with each quantised tensor's real values: OpenVINO has no output for codes."""
    told = copy.deepcopy(model)
    for node in _readers(model).values():
        told.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
    return told


def run_onnxruntime(model: onnx.ModelProto, image: NDArray[np.uint8]) -> Known:
    """Return all quantised tensors (name -> codes) and the model's outputs for image (1, H, W, 3) uint8."""
    session = onnxruntime.InferenceSession(with_outputs(model).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return _codes(model, dict(zip(names, session.run(None, {"image": image}), strict=True))) | {"image": image}


def run_openvino(model: onnx.ModelProto, image: NDArray[np.uint8], folder: Path) -> Known:
    """Return the same as run_onnxruntime does, with the options of the engine."""
    path = folder / "told.onnx"
    onnx.save(with_outputs(model), path)
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    answers = {port.get_any_name(): np.array(values) for port, values in compiled({"image": image}).items()}
    return _codes(model, answers) | {"image": image}


def _readers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return for each quantised tensor one DequantizeLinear that reads it."""
    wanted = set(quantised_tensors(model))
    return {n.input[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in wanted}


def _codes(model: onnx.ModelProto, answers: Mapping[str, NDArray[np.generic]]) -> Known:
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    found: Known = {output.name: answers[output.name] for output in model.graph.output}
    for name, node in _readers(model).items():
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        real = answers[node.output[0]].astype(np.float64)
        found[name] = (np.rint(real / scale) + int(zero)).astype(zero.dtype)
    return found
