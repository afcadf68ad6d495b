"""What rounding the weights takes from each convolution's mean output, to be given back by its bias."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge.core.types import Image
from edge.inference import runtimes
from edge.inference.preprocess import InputSpec
from train.int8.graph import finish

IMAGES = 16  # prepared good images whose mean is taken


def input_means(model: ModelProto, tensors: Sequence[Image], spec: InputSpec) -> dict[str, NDArray[np.float32]]:
    """Return the mean input (C,) of each convolution of an exported Q/DQ graph, by the name of its output.

    tensors: prepared images, (1, height, width, 3) uint8 RGB.
    """
    variant = copy.deepcopy(model)
    finish(variant, spec.height, spec.width)
    graph = variant.graph
    graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3], np.int64), "over_places"))
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    wanted = {node.output[0]: f"input_mean:{node.output[0]}" for node in convolutions}  # no exporter calls a value so
    for node in convolutions:
        mean = wanted[node.output[0]]
        graph.node.append(helper.make_node("ReduceMean", [node.input[0], "over_places"], [mean], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, None))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "means.onnx"
        onnx.save(variant, path)
        run = runtimes.load(path, "onnxruntime", runtimes.Settings()).run
        found = [run(tensor) for tensor in tensors]
    return {name: np.mean([means[value] for means in found], axis=0) for name, value in wanted.items()}
