"""Small, exact changes to exported ONNX graphs: u8 input, weights stored as int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from train.errors import TrainError

OPSET = 21


class GraphError(TrainError):
    """An exported graph that is not of the expected shape."""


def take_bytes(model: ModelProto, height: int, width: int) -> None:
    """Make the graph take `image` (1, height, width, 3) uint8 RGB instead of (1, 3, height, width) float 0..255.

    The device then hands over the camera's bytes as they are: a quarter of the memory traffic, no scaling to get wrong.
    In a quantised graph they are the first convolution's INT8 input: image - zero -> QuantizeLinear ->
    DequantizeLinear becomes one DequantizeLinear with a step of 1, and nothing is rounded.
    """
    graph = model.graph
    old = graph.input[0].name
    if [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] != [1, 3, height, width]:
        raise GraphError(f"the exported graph does not take (1, 3, {height}, {width}); export it again")
    del graph.input[0]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3]))
    chain = _chain(graph, old, ("Sub", "QuantizeLinear", "DequantizeLinear"))
    if chain:
        zero = _byte(graph, chain[0].input[1])
        graph.initializer.append(numpy_helper.from_array(np.array(1.0, np.float32), "image_step"))
        graph.initializer.append(numpy_helper.from_array(zero, "image_zero"))
        first = helper.make_node("DequantizeLinear", ["image", "image_step", "image_zero"], ["image_float"])
        # In this order: with the Transpose before it OpenVINO computes the first convolution in float.
        second = helper.make_node("Transpose", ["image_float"], [chain[-1].output[0]], perm=[0, 3, 1, 2])
        for node in chain:
            graph.node.remove(node)
    else:
        first = helper.make_node("Transpose", ["image"], ["image_bytes"], perm=[0, 3, 1, 2])
        second = helper.make_node("Cast", ["image_bytes"], ["image_chw"], to=TensorProto.FLOAT)
        for node in graph.node:
            node.input[:] = ["image_chw" if name == old else name for name in node.input]
    graph.node.insert(0, first)
    graph.node.insert(1, second)


def _chain(graph: onnx.GraphProto, start: str, kinds: tuple[str, ...]) -> list[NodeProto]:
    """The nodes of these kinds that follow each other from a value on, each the only user of its input; or none."""
    found: list[NodeProto] = []
    for kind in kinds:
        users = [node for node in graph.node if start in node.input]
        if [node.op_type for node in users] != [kind]:
            return []
        found.append(users[0])
        start = users[0].output[0]
    return found


def _byte(graph: onnx.GraphProto, name: str) -> NDArray[np.uint8]:
    """A scalar constant of the graph that is a whole number from 0 to 255."""
    (value,) = (numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == name)
    if value.size != 1 or float(value.item()) not in range(256):
        raise GraphError(f"the image is shifted by {value.tolist()}, which is no byte; export it again")
    return np.array(value.item(), np.uint8)


def fold_weights(model: ModelProto) -> int:
    """Replace every weight -> QuantizeLinear -> Clip -> DequantizeLinear by int8 weight -> DequantizeLinear.

    With the weights left float, OpenVINO runs the convolutions in float. Dense convolutions are stored in 7 bits
    (-64..63): CPUs without VNNI add pairs of u8 x s8 products in 16 bits, and 2 x 255 x 64 still fits there, so
    every CPU computes the same scores (docs/decisions/0003). Depthwise kernels do not use that instruction and keep
    8 bits. Returns how many were folded.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    weights = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants]
    for node in weights:
        dequantize = _follow(node, users, graph)
        weight, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        stored, step = _quantised(weight, scale, coarse=weight.shape[1] > 1)
        name = f"{node.input[0]}_int8"
        graph.initializer.append(numpy_helper.from_array(stored, name))
        graph.initializer.append(numpy_helper.from_array(step, f"{name}_scale"))
        dequantize.input[0], dequantize.input[1] = name, f"{name}_scale"
        graph.node.remove(node)
    _drop_unused(model)
    return len(weights)


def _quantised(weight: NDArray[Any], scale: NDArray[Any], coarse: bool) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Symmetric per-output-channel rounding of an (O, I, kh, kw) weight; coarse: twice the step, 7 bits."""
    step = 2 * scale if coarse else scale
    limit = 63 if coarse else 127
    stored = np.rint(weight / step.reshape(-1, 1, 1, 1))
    return np.clip(stored, -limit - 1, limit).astype(np.int8), step


def _follow(quantize: NodeProto, users: dict[str, list[NodeProto]], graph: onnx.GraphProto) -> NodeProto:
    """The DequantizeLinear behind a weight's QuantizeLinear; a full-range Clip between them is removed."""
    (following,) = users[quantize.output[0]]
    if following.op_type == "Clip":
        (dequantize,) = users[following.output[0]]
        graph.node.remove(following)
        following = dequantize
    if following.op_type != "DequantizeLinear":
        raise GraphError(
            f"{quantize.input[0]}: QuantizeLinear is followed by {following.op_type}, not DequantizeLinear"
        )
    return following


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)


def finish(model: ModelProto, height: int, width: int) -> None:
    """Give the graph its byte input, check it, and drop what only a debugger would read."""
    take_bytes(model, height, width)
    _drop_unused(model)
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
