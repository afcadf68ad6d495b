"""The graph that OpenVINO compiles a model file to: the nodes it runs, and the precision of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import openvino
from numpy.typing import NDArray

from edge.inference.runtimes import Settings


class Fed:
    """A compiled model with several inputs. Not thread-safe."""

    def __init__(self, model: Path) -> None:
        # Converted as `build` does: OpenVINO 2026.4 crashes on an INT8 ONNX file that it reads by itself.
        compiled = openvino.Core().compile_model(openvino.convert_model(model), "CPU", Settings().openvino())
        self.shapes = {port.get_any_name(): tuple(port.shape) for port in compiled.inputs}
        self._request = compiled.create_infer_request()
        self._outputs = [(port.get_any_name(), port) for port in compiled.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return each output by its name."""
        self._request.infer(dict(inputs), share_inputs=True)
        return {name: self._request.get_tensor(port).data.copy() for name, port in self._outputs}


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a compiled graph that computes or moves something."""

    name: str
    kind: str  # OpenVINO's layer type
    precision: str  # what it computes in: u8, i8, f32
    elements: int  # of its output


def runtime_nodes(model: Path) -> list[Node]:
    """Return what OpenVINO makes of a model file on this CPU, without constants and reshapes, which take no time.

    The nodes are read from the compiled graph: the file's name and its Q/DQ nodes promise nothing.
    """
    compiled = openvino.Core().compile_model(str(model), "CPU", Settings().openvino())
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        kind = facts["layerType"].astype(str)
        if kind not in ("Const", "Input", "Output", "Reshape"):
            elements = prod(node.output(0).get_shape())
            found.append(Node(node.get_friendly_name(), kind, facts["runtimePrecision"].astype(str), elements))
    return found
