"""Small, exact changes to exported ONNX graphs: u8 input, weights stored as int8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from train.int8 import Int8Error

OPSET = 21
INT8_ENDING = "_int8"
FINE, COARSE = 127, 63  # largest stored weight of depthwise and of dense convolutions (docs/decisions/0003)


def take_bytes(model: ModelProto, height: int, width: int) -> None:
    """Make the graph take `image` (1, height, width, 3) uint8 RGB instead of (1, 3, height, width) float 0..255.

    The device then hands over the camera's bytes as they are: a quarter of the memory traffic, no scaling to get wrong.
    In a quantised graph they are the first convolution's INT8 input: image - zero -> QuantizeLinear ->
    DequantizeLinear becomes one DequantizeLinear with a step of 1, and nothing is rounded.
    """
    graph = model.graph
    old = graph.input[0].name
    if [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] != [1, 3, height, width]:
        raise Int8Error(f"the exported graph does not take (1, 3, {height}, {width}); export it again")
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
    """Return the nodes of these kinds in a row from a value on, each the only user of its input; or none."""
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
        raise Int8Error(f"the image is shifted by {value.tolist()}, which is no byte; export it again")
    return np.array(value.item(), np.uint8)


def operators(model: ModelProto) -> list[str]:
    """Return the convolutions of a graph in its order, each by the module its weight comes from."""
    makers = {output: node for node in model.graph.node for output in node.output}
    names = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = node.input[1]
            while weight in makers:  # DequantizeLinear, Clip, QuantizeLinear
                weight = makers[weight].input[0]
            names.append(_operator(weight))
    return names


def _operator(weight: str) -> str:
    return weight.removesuffix(INT8_ENDING).removesuffix(".weight")


def fold_weights(
    model: ModelProto, kept_float: Collection[str] = (), means: Mapping[str, NDArray[Any]] | None = None
) -> int:
    """Replace every weight -> QuantizeLinear -> Clip -> DequantizeLinear by int8 weight -> DequantizeLinear.

    With the weights left float, OpenVINO runs the convolutions in float. Dense convolutions are stored in 7 bits
    (-64..63): CPUs without VNNI add pairs of u8 x s8 products in 16 bits, and 2 x 255 x 64 still fits there, so
    every CPU computes the same scores (docs/decisions/0003). Depthwise kernels do not use that instruction and keep
    8 bits. Operators in kept_float get their float weight and an input that is not rounded. means: each operator's mean
    input, (C,); what rounding the weights takes from it is given back by the bias (Nagel et al. 2019, equation 17).
    Returns how many were folded.
    """
    unknown = set(kept_float) - set(operators(model))
    if unknown:
        raise Int8Error(f"no convolution is called {', '.join(sorted(unknown))}")
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users = _users(graph)
    weights = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants]
    folded = 0
    for node in weights:
        dequantize = _follow(node, users, graph)
        operator = _operator(node.input[0])
        if operator in kept_float:
            _keep_float(graph, dequantize, node.input[0], users)
            continue
        weight, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        stored, step = _quantised(weight, scale, coarse=weight.shape[1] > 1)
        name = f"{node.input[0]}{INT8_ENDING}"
        graph.initializer.append(numpy_helper.from_array(stored, name))
        graph.initializer.append(numpy_helper.from_array(step, f"{name}_scale"))
        dequantize.input[0], dequantize.input[1] = name, f"{name}_scale"
        if means is not None:
            (convolution,) = users[dequantize.output[0]]
            lost = weight - stored * step.reshape(-1, 1, 1, 1)
            _raise_bias(constants[convolution.input[2]], lost, means[operator])
        folded += 1
    _drop_dead(graph)
    _drop_unused(model)
    return folded


def _users(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _keep_float(graph: onnx.GraphProto, weight_back: NodeProto, weight: str, users: dict[str, list[NodeProto]]) -> None:
    """Give a convolution its float weight, and its input as it is before QuantizeLinear -> DequantizeLinear."""
    makers = {output: node for node in graph.node for output in node.output}
    (convolution,) = users[weight_back.output[0]]
    convolution.input[1] = weight
    back = makers.get(convolution.input[0])
    if back is not None and back.op_type == "DequantizeLinear":
        convolution.input[0] = makers[back.input[0]].input[0]


def _raise_bias(bias: TensorProto, lost: NDArray[Any], mean: NDArray[Any]) -> None:
    """Add what an (O, I, kh, kw) weight error takes from the mean input (C,), C = groups x I, to the bias (O,)."""
    groups = len(mean) // lost.shape[1]
    by_group = lost.sum(axis=(2, 3)).reshape(groups, -1, lost.shape[1])
    more = np.einsum("goi,gi->go", by_group, mean.reshape(groups, -1)).reshape(-1)
    bias.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(bias) + more).astype(np.float32), bias.name))


def _quantised(weight: NDArray[Any], scale: NDArray[Any], coarse: bool) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Symmetric per-output-channel rounding of an (O, I, kh, kw) weight; coarse: twice the step, 7 bits."""
    step = 2 * scale if coarse else scale
    limit = COARSE if coarse else FINE
    stored = np.rint(weight / step.reshape(-1, 1, 1, 1))
    return np.clip(stored, -limit - 1, limit).astype(np.int8), step


def _follow(quantize: NodeProto, users: dict[str, list[NodeProto]], graph: onnx.GraphProto) -> NodeProto:
    """Return the DequantizeLinear behind a weight's QuantizeLinear; a full-range Clip between them is removed."""
    (following,) = users[quantize.output[0]]
    if following.op_type == "Clip":
        (dequantize,) = users[following.output[0]]
        graph.node.remove(following)
        following = dequantize
    if following.op_type != "DequantizeLinear":
        raise Int8Error(f"{quantize.input[0]}: QuantizeLinear is followed by {following.op_type}, not DequantizeLinear")
    return following


def _drop_dead(graph: onnx.GraphProto) -> None:
    """Remove nodes whose output nobody reads, and then those that only they read."""
    while True:
        read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        dead = [node for node in graph.node if not read.intersection(node.output)]
        if not dead:
            return
        for node in dead:
            graph.node.remove(node)


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)


def finish(model: ModelProto, height: int, width: int) -> None:
    """Give the graph its byte input, check it, and drop what only a debugger would read."""
    names = operators(model)
    for node, name in zip((n for n in model.graph.node if n.op_type == "Conv"), names, strict=True):
        node.name = name  # the compiled graph and its profile then speak of the network's modules
    take_bytes(model, height, width)
    _drop_unused(model)
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
