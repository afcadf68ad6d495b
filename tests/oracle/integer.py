"""A small executor of quantised graphs (ONNX Q/DQ pairs) in NumPy: it recomputes a layer from the codes that enter it.

QuantizeLinear and DequantizeLinear are as in the ONNX operator set: code = saturate(round_half_even(x / scale) + zero
point). Both operands of a convolution stay integers, so that its sum is exact and only the final rounding can differ
between runtimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.oracle.conv2d_numpy import average_pool2d, conv2d

Real = NDArray[np.float64]
Codes = NDArray[np.integer]
SIMPLE = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Min": np.minimum,
    "Sqrt": np.sqrt,
    "Clip": lambda x, low=-np.inf, high=np.inf: x.clip(low, high),
    "ReduceMin": lambda x, axes: x.min(axis=tuple(axes.astype(int)), keepdims=True),
    "ReduceSum": lambda x, axes: x.sum(axis=tuple(axes.astype(int)), keepdims=True),
}


@dataclass(frozen=True)
class Quantised:
    """Integer codes with their scale; weights have one scale for each output channel."""

    codes: Codes
    scale: NDArray[np.float64]
    zero: NDArray[np.int64]

    def centred(self) -> NDArray[np.int64]:
        return self.codes.astype(np.int64) - self.zero

    def real(self) -> Real:
        scale = self.scale.reshape(-1, *[1] * (self.codes.ndim - 1)) if self.scale.size > 1 else self.scale
        return self.centred() * scale


class Graph:
    """An ONNX graph whose tensors can be asked for by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = {output: node for node in model.graph.node for output in node.output}
        self.constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}

    def codes(self, target: str, known: Mapping[str, NDArray[np.generic]]) -> Codes:
        """Return the codes of a QuantizeLinear's output, computed from the known tensors (name -> array)."""
        node = self.nodes[target]
        assert node.op_type == "QuantizeLinear", target
        scale, zero = self.constants[node.input[1]].astype(np.float64), self.constants[node.input[2]]
        limits = np.iinfo(zero.dtype)
        rounded = np.rint(self.real(node.input[0], known) / scale) + zero.astype(np.int64)
        return rounded.clip(limits.min, limits.max).astype(zero.dtype)

    def real(self, name: str, known: Mapping[str, NDArray[np.generic]]) -> Real:
        """Return a tensor's real values; raises KeyError for an operator that the executor does not know."""
        if name in known:
            return known[name].astype(np.float64)
        if name in self.constants:
            return self.constants[name].astype(np.float64)
        node = self.nodes[name]
        if node.op_type == "DequantizeLinear":
            return self._quantised(name, known).real()
        if node.op_type == "Conv":
            return self._convolution(node, known)
        inputs = [self.real(one, known) for one in node.input if one]
        if node.op_type == "AveragePool":
            facts = _attributes(node)
            counted = bool(facts.get("count_include_pad", 0))
            return average_pool2d(inputs[0], facts["kernel_shape"], facts["strides"], facts["pads"], counted)
        if node.op_type == "Transpose":
            return inputs[0].transpose(_attributes(node)["perm"])
        if node.op_type == "Concat":
            return np.concatenate(inputs, axis=_attributes(node)["axis"])
        return SIMPLE[node.op_type](*inputs)

    def _quantised(self, name: str, known: Mapping[str, NDArray[np.generic]]) -> Quantised:
        node = self.nodes[name]
        source, scale, zero = node.input
        codes = known[source] if source in known else self.constants.get(source)
        if codes is None:
            codes = self.codes(source, known)
        centre = np.asarray(self.constants[zero], np.int64)
        assert not centre.any() or centre.size == 1
        centre = centre.reshape(-1)[0]
        return Quantised(codes, self.constants[scale].astype(np.float64), centre)

    def _convolution(self, node: onnx.NodeProto, known: Mapping[str, NDArray[np.generic]]) -> Real:
        facts = _attributes(node)
        shape = facts["strides"], facts["pads"], facts["group"]
        bias = self.real(node.input[2], known)[:, None, None] if len(node.input) > 2 else 0.0
        weight = self._quantised(node.input[1], known)
        if self.nodes[node.input[0]].op_type != "DequantizeLinear":  # the image goes through a Transpose first
            return conv2d(self.real(node.input[0], known), weight.real(), None, *shape) + bias
        x = self._quantised(node.input[0], known)
        return conv2d(x.centred(), weight.centred(), None, *shape) * (x.scale * weight.scale).reshape(-1, 1, 1) + bias


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
