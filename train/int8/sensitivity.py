"""The change of the float network's answers by each convolution's rounding alone, measured operator by operator."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge.core.types import Image
from edge.inference import runtimes
from edge.inference.preprocess import InputSpec
from train.int8.graph import finish, fold_weights, operators
from train.run import progress

Block = tuple[str, ...]


def blocks(names: Iterable[str]) -> list[Block]:
    """Operators that stay or go together: the parts of the memory bank are one, every other convolution its own."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition(".")[0] if name.rpartition(".")[2].isdigit() else name, []).append(name)
    return [tuple(group) for group in found.values()]


def most_sensitive(model: ModelProto, tensors: Sequence[Image], spec: InputSpec) -> list[tuple[Block, float]]:
    """Blocks of an exported Q/DQ graph, the one that INT8 hurts most first, with the damage.

    Damage: root mean square change of the anomaly map, as a share of its own root mean square, when the block alone
    is INT8 and every other convolution float.
    """
    names = operators(model)
    expected = _maps(model, names, tensors, spec)
    damage = []
    for block in progress(blocks(names), "sensitivity"):
        found = _maps(model, [name for name in names if name not in block], tensors, spec)
        damage.append((block, float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))))
    return sorted(damage, key=lambda pair: -pair[1])


def _maps(
    model: ModelProto, kept_float: Sequence[str], tensors: Sequence[Image], spec: InputSpec
) -> NDArray[np.float32]:
    variant = copy.deepcopy(model)
    fold_weights(variant, kept_float)
    finish(variant, spec.height, spec.width)
    run = _loaded(variant)
    return np.stack([run(tensor)["anomaly_map"] for tensor in tensors])


def input_means(model: ModelProto, tensors: Sequence[Image], spec: InputSpec) -> dict[str, NDArray[np.float32]]:
    """Return each convolution's mean input, (C,), over prepared images; the Q/DQ graph is run without rounding."""
    variant = copy.deepcopy(model)
    names = operators(variant)
    fold_weights(variant, names)
    finish(variant, spec.height, spec.width)
    graph = variant.graph
    graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3], np.int64), "over_places"))
    wanted = [f"input_mean:{name}" for name in names]  # no exporter calls a value so
    for node, mean in zip([node for node in graph.node if node.op_type == "Conv"], wanted, strict=True):
        graph.node.append(helper.make_node("ReduceMean", [node.input[0], "over_places"], [mean], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, None))
    run = _loaded(variant)
    found = [run(tensor) for tensor in tensors]
    return {name: np.mean([means[value] for means in found], axis=0) for name, value in zip(names, wanted, strict=True)}


def _loaded(model: ModelProto) -> runtimes.Run:
    """Return a function that runs a graph in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "variant.onnx"
        onnx.save(model, path)
        return runtimes.load(path, "onnxruntime", runtimes.Settings()).run
