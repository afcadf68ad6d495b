"""A network as an ONNX graph."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import onnx
import torch
from torch import nn

from edge.inference.preprocess import InputSpec
from train.int8.graph import OPSET
from train.network.model import InspectionNet
from train.run import FitReport


def outputs(report: FitReport, network: nn.Module) -> tuple[str, ...]:
    """Return the names of the graph's outputs: docs/reference/bundle.md."""
    if report.boxes:
        return "score", "anomaly_map", "boxes", "box_types"
    learned = isinstance(network, InspectionNet) and network.heads is not None
    types, class_map = ("defect_types",) if report.types else (), ("class_map",) if learned else ()
    return "score", "anomaly_map", *types, *class_map


def to_onnx(
    network: nn.Module | torch.export.ExportedProgram, spec: InputSpec, names: Sequence[str]
) -> onnx.ModelProto:
    """Return the ONNX graph of a network that takes (1, 3, height, width) float, with every shape fixed."""
    arguments = () if isinstance(network, torch.export.ExportedProgram) else (example(spec),)
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network, arguments, input_names=["image"], output_names=list(names), opset_version=OPSET, dynamo=True
        )
    return program.model_proto


def example(spec: InputSpec) -> torch.Tensor:
    return torch.zeros(1, 3, spec.height, spec.width)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter and the quantiser, which report every step to stdout and to the log, but for errors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
