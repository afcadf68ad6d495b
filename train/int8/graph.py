"""Small, exact changes to exported ONNX graphs: u8 input, weights stored as int8."""

from __future__ import annotations

from collections.abc import Mapping
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
    _pool_what_was_rounded(graph, old)
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


def _pool_what_was_rounded(graph: onnx.GraphProto, image: str) -> None:
    """Let the average of the second scale read the first convolution's input, which holds the same whole numbers."""
    users = _users(graph)
    shifted = [node.output[0] for node in users.get(image, []) if node.op_type == "Sub"]
    for name in shifted:
        quantized = [node for node in users[name] if node.op_type == "QuantizeLinear"]
        for node in users[name]:
            if node.op_type == "AveragePool" and quantized:
                (back,) = users[quantized[0].output[0]]
                node.input[0] = back.output[0]
                _after(graph, back, node)


def _after(graph: onnx.GraphProto, first: NodeProto, second: NodeProto) -> None:
    """Keep the graph's nodes in an order in which each value is made before it is read."""
    nodes = list(graph.node)
    if nodes.index(second) < nodes.index(first):
        graph.node.remove(second)
        nodes = list(graph.node)
        graph.node.insert(nodes.index(first) + 1, second)


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


def fold_weights(model: ModelProto, means: Mapping[str, NDArray[Any]] | None = None) -> int:
    """Replace every weight -> QuantizeLinear -> Clip -> DequantizeLinear by int8 weight -> DequantizeLinear.

    With the weights left float, OpenVINO runs the convolutions in float. Dense convolutions are stored in 7 bits
    (-64..63): CPUs without VNNI add pairs of u8 x s8 products in 16 bits, and 2 x 255 x 64 still fits there, so
    every CPU computes the same scores (docs/decisions/0003). Depthwise kernels do not use that instruction and keep
    8 bits. means: each convolution's mean input (C,), by the name of its output; what rounding the weights takes from
    it is given back by the bias (Nagel et al. 2019, equation 17). Returns how many were folded.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users = _users(graph)
    weights = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants]
    for node in weights:
        dequantize = _follow(node, users, graph)
        weight, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        stored, step = quantised(weight, scale, coarse=weight.shape[1] > 1)
        name = f"{node.input[0]}{INT8_ENDING}"
        graph.initializer.append(numpy_helper.from_array(stored, name))
        graph.initializer.append(numpy_helper.from_array(step, f"{name}_scale"))
        dequantize.input[0], dequantize.input[1] = name, f"{name}_scale"
        lost = weight - stored * step.reshape(-1, 1, 1, 1)
        for convolution in users[dequantize.output[0]] if means is not None else ():
            _raise_bias(graph, convolution, _bias(convolution, constants), lost, means[convolution.output[0]])
    _drop_dead(graph)
    _drop_unused(model)
    return len(weights)


def _users(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _bias(convolution: NodeProto, constants: Mapping[str, TensorProto]) -> TensorProto:
    """Return a convolution's bias; the exporter drops one that is 0 everywhere, and its sum with anything is that."""
    if len(convolution.input) > 2:
        return constants[convolution.input[2]]
    return numpy_helper.from_array(np.zeros((), np.float32), f"{convolution.output[0]}_bias")


def _raise_bias(
    graph: onnx.GraphProto, convolution: NodeProto, bias: TensorProto, lost: NDArray[Any], mean: NDArray[Any]
) -> None:
    """Give a convolution a bias of its own: (O,) plus what an (O, I, kh, kw) weight error takes from the mean input."""
    groups = len(mean) // lost.shape[1]  # the mean input is (C,), C = groups x I
    by_group = lost.sum(axis=(2, 3)).reshape(groups, -1, lost.shape[1])
    more = np.einsum("goi,gi->go", by_group, mean.reshape(groups, -1)).reshape(-1)
    name = f"{bias.name}:{convolution.output[0]}"
    graph.initializer.append(numpy_helper.from_array((numpy_helper.to_array(bias) + more).astype(np.float32), name))
    convolution.input[:] = [*convolution.input[:2], name]


def quantised(weight: NDArray[Any], scale: NDArray[Any], coarse: bool) -> tuple[NDArray[np.int8], NDArray[Any]]:
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
    seen: set[str] = set()
    for node, name in zip((n for n in model.graph.node if n.op_type == "Conv"), operators(model), strict=True):
        # The compiled graph and its profile then speak of the network's modules; two scales share one's weights.
        node.name = f"{name}@half" if name in seen else name
        seen.add(name)
    take_bytes(model, height, width)
    _drop_unused(model)
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
