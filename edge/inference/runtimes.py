"""Model file -> something that runs. The only file of the device side that imports openvino or onnxruntime."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino
from numpy.typing import NDArray

from edge.core.types import EdgeError, Image
from edge.inference.blobs import BlobStore

Runtime = Literal["openvino", "onnxruntime"]
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
CoreType = Literal["any", "performance", "efficiency"]
IMAGE = "image"  # the name of every model's input

Answers = Mapping[str, NDArray[Any]]  # output name -> array of its own memory
Run = Callable[[Image], Answers]


class RuntimeLoadError(EdgeError):
    """A model that the installed runtime does not load."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model uses the CPU. None and 0 leave it to the runtime; ONNX Runtime knows only threads."""

    threads: int = 0
    pinning: bool | None = None  # each thread stays on its core
    hyper_threading: bool | None = None  # both threads of a core
    core_type: CoreType | None = None  # of a CPU with performance and efficiency cores
    bf16: bool = False  # what is not INT8 in bfloat16, where the CPU has it: for the benchmark, never for parts
    throughput: bool = False  # several parts at once instead of one as fast as can be: for the benchmark

    def openvino(self) -> dict[str, Any]:
        """f32: an AMX machine would otherwise run what is not INT8 in bf16, and scores would differ by CPU."""
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT" if self.throughput else "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if self.bf16 else "f32",
        }
        if not self.throughput:
            options["NUM_STREAMS"] = 1
        if self.threads:
            options["INFERENCE_NUM_THREADS"] = self.threads
        if self.pinning is not None:
            options["ENABLE_CPU_PINNING"] = self.pinning
        if self.hyper_threading is not None:
            options["ENABLE_HYPER_THREADING"] = self.hyper_threading
        if self.core_type is not None:
            options["SCHEDULING_CORE_TYPE"] = _CORE_TYPES[self.core_type]
        return options


_CORE_TYPES = {"any": "ANY_CORE", "performance": "PCORE_ONLY", "efficiency": "ECORE_ONLY"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, batch 1."""

    run: Run
    shape: tuple[int, ...]  # of the input
    outputs: tuple[str, ...]
    cached: bool  # read from a blob instead of compiled


def runtime_version(runtime: Runtime) -> str:
    """The full version of an installed runtime, e.g. "2026.4.1-22982-..."."""
    if runtime == "openvino":
        return str(openvino.get_version())
    import onnxruntime  # not at the top: the engine does without, and its start and memory are counted

    return str(onnxruntime.__version__)


def load(model: Path, runtime: Runtime, settings: Settings, blobs: BlobStore | None = None, sha256: str = "") -> Loaded:
    """Load and compile a model file (IR or ONNX), or take it compiled from blobs, where sha256 names its content.

    Raises RuntimeLoadError when the runtime does not read it or its input has no fixed shape.
    """
    if runtime == "onnxruntime":
        return _load_onnxruntime(model, settings)
    try:
        compiled, cached = _compile(model, settings.openvino(), blobs, sha256)
    except RuntimeError as error:
        raise _refusal(model, runtime, error) from error
    return Loaded(
        _openvino_run(compiled),
        tuple(compiled.input(IMAGE).shape),
        tuple(port.get_any_name() for port in compiled.outputs),
        cached,
    )


@dataclass(frozen=True, slots=True)
class Sustained:
    """How many parts were judged, `at_once` of them on their way at any time."""

    parts: int
    seconds: float
    at_once: int


def sustained(model: Path, runtime: Runtime, settings: Settings, tensors: Sequence[Image], seconds: float) -> Sustained:
    """Run a model on tensors, in turn, for so long and with as many at once as suits the CPU."""
    if runtime == "onnxruntime":
        return _sustained_onnxruntime(model, tensors, seconds)
    compiled = openvino.Core().compile_model(str(model), "CPU", settings.openvino())
    queue = openvino.AsyncInferQueue(compiled)
    for number in range(2 * len(queue)):  # warm
        queue.start_async([tensors[number % len(tensors)]])
    queue.wait_all()
    parts, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        queue.start_async([tensors[parts % len(tensors)]])
        parts += 1
    queue.wait_all()
    return Sustained(parts, time.monotonic() - began, len(queue))


def _sustained_onnxruntime(model: Path, tensors: Sequence[Image], seconds: float) -> Sustained:
    """A thread for each core, each with its parts: one session may be run by many."""
    cores = len(os.sched_getaffinity(0))
    loaded = load(model, "onnxruntime", Settings(threads=1))
    loaded.run(tensors[0])
    began = time.monotonic()

    def work(_: int) -> int:
        parts = 0
        while time.monotonic() - began < seconds:
            loaded.run(tensors[parts % len(tensors)])
            parts += 1
        return parts

    with ThreadPoolExecutor(cores) as pool:
        parts = sum(pool.map(work, range(cores)))
    return Sustained(parts, time.monotonic() - began, cores)


def _refusal(model: Path, runtime: Runtime, error: Exception) -> RuntimeLoadError:
    """OpenVINO puts its source lines first and the cause last."""
    cause = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
    return RuntimeLoadError(
        f"{model}: {runtime} {runtime_version(runtime)} cannot load it ({cause}); "
        "pack the bundle again for this version, or install the version it was packed with"
    )


def _dynamic(model: Path, shape: object) -> RuntimeLoadError:
    return RuntimeLoadError(f"{model}: its input has the dynamic shape {shape}; export it with a fixed one")


def _compile(
    model: Path, options: dict[str, Any], blobs: BlobStore | None, sha256: str
) -> tuple[openvino.CompiledModel, bool]:
    core = openvino.Core()
    if blobs is None:
        return _compile_afresh(core, model, options), False
    path = blobs.path(sha256, f"openvino {runtime_version('openvino')}", options)
    blob = blobs.read(path)
    if blob is not None:
        try:
            return core.import_model(blob, "CPU", options), True
        except RuntimeError as error:
            blobs.refuse(path, str(error))
    compiled = _compile_afresh(core, model, options)
    blobs.write(path, compiled.export_model().getvalue())
    return compiled, False


def _compile_afresh(core: openvino.Core, model: Path, options: dict[str, Any]) -> openvino.CompiledModel:
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
    import onnxruntime  # see runtime_version
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

    return Loaded(run, tuple(shape), names, cached=False)
