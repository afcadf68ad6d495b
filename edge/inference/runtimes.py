"""Model file -> something that runs. The only file of the device side that imports openvino or onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino
from numpy.typing import NDArray

from edge.core.types import EdgeError, Image

Runtime = Literal["openvino", "onnxruntime"]
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
IMAGE = "image"  # the name of every model's input

Answers = Mapping[str, NDArray[Any]]  # output name -> array of its own memory
Run = Callable[[Image], Answers]


class RuntimeLoadError(EdgeError):
    """A model that the installed runtime does not load."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The share of the CPU that a model takes."""

    threads: int = 0  # 0: the runtime decides

    def openvino(self) -> dict[str, Any]:
        """Return OpenVINO's options.

        f32: an AMX machine would otherwise run what is not INT8 in bf16, and scores would differ by CPU.
        """
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
        }
        if self.threads:
            options["INFERENCE_NUM_THREADS"] = self.threads
        return options


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, batch 1."""

    run: Run
    shape: tuple[int, ...]  # of the input
    outputs: Mapping[str, tuple[int, ...]]  # name -> shape


def _version(runtime: Runtime) -> str:
    """Return the full version of an installed runtime, e.g. "2026.4.1-22982-..."."""
    if runtime == "openvino":
        return str(openvino.get_version())
    import onnxruntime  # not at the top: the engine does without, and its start and memory are counted

    return str(onnxruntime.__version__)


def load(model: Path, runtime: Runtime, settings: Settings) -> Loaded:
    """Load and compile a model file (IR or ONNX).

    Raises RuntimeLoadError when the runtime does not read it or its input has no fixed shape.
    """
    if runtime == "onnxruntime":
        return _load_onnxruntime(model, settings)
    try:
        compiled = _compile(model, settings.openvino())
    except RuntimeError as error:
        raise _refusal(model, runtime, error) from error
    return Loaded(
        _openvino_run(compiled),
        tuple(compiled.input(IMAGE).shape),
        {port.get_any_name(): tuple(port.shape) for port in compiled.outputs},
    )


def _refusal(model: Path, runtime: Runtime, error: Exception) -> RuntimeLoadError:
    """OpenVINO puts its source lines first and the cause last."""
    cause = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
    return RuntimeLoadError(
        f"{model}: {runtime} {_version(runtime)} cannot load it ({cause}); "
        "pack the bundle again for this version, or install the version it was packed with"
    )


def _dynamic(model: Path, shape: object) -> RuntimeLoadError:
    return RuntimeLoadError(f"{model}: its input has the dynamic shape {shape}; export it with a fixed one")


def _compile(model: Path, options: dict[str, Any]) -> openvino.CompiledModel:
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # mapped, weights that change on the disk would change in use
    graph = core.read_model(str(model))
    shape = graph.input(IMAGE).partial_shape
    if shape.is_dynamic:
        raise _dynamic(model, shape)
    return core.compile_model(graph, "CPU", options)


def _openvino_run(compiled: openvino.CompiledModel) -> Run:
    request = compiled.create_infer_request()
    ports = [(port.get_any_name(), port) for port in compiled.outputs]

    def run(tensor: Image) -> Answers:
        request.infer([tensor], share_inputs=True)
        return {name: request.get_tensor(port).data.copy() for name, port in ports}

    return run


def _load_onnxruntime(model: Path, settings: Settings) -> Loaded:
    import onnxruntime  # see _version
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    errors = (  # each stands alone under Exception
        *(ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf),
        *(ort.NoSuchFile, ort.NotImplemented, ort.RuntimeException),
    )
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except errors as error:
        raise _refusal(model, "onnxruntime", error) from error
    shape = session.get_inputs()[0].shape
    if not all(isinstance(size, int) for size in shape):
        raise _dynamic(model, shape)
    names = tuple(output.name for output in session.get_outputs())

    def run(tensor: Image) -> Answers:
        return dict(zip(names, map(np.asarray, session.run(names, {IMAGE: tensor})), strict=True))

    return Loaded(run, tuple(shape), {output.name: tuple(output.shape) for output in session.get_outputs()})
