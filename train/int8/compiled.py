"""Stage profile: where the time of one inference goes, node by node, beside what this CPU can do at most."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as op

from edge.core.cli import OneLineParser
from edge.inference.bundle import INT8_IR
from edge.inference.cpu import cpu_tier

OPTIONS = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "NUM_STREAMS": 1,
}  # as edge.inference.detector
PEAK_SIDE, PEAK_CHANNELS = 32, 1024  # a 1x1 convolution of 1.07 GMAC whose 3 MB stay in the second-level cache


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a compiled graph that computes or moves something."""

    name: str
    kind: str  # OpenVINO's layer type
    precision: str  # what it computes in: u8, i8, f32
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.output)

    @property
    def macs(self) -> int:
        """Multiplications of a convolution, with weights (O, I, kh, kw) or (groups, O, I, kh, kw); else 0."""
        return self.elements * prod(self.inputs[1][-3:]) if self.kind == "Convolution" else 0

    @property
    def moved(self) -> int:
        """Elements read and written, weights included."""
        return sum(prod(shape) for shape in self.inputs) + self.elements


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train profile", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--work", type=Path, help="a run's folder: its INT8 model")
    source.add_argument("--model", type=Path, help="a model file, e.g. models/default/model_int8.xml")
    parser.add_argument("--n", type=int, default=200, help="inferences (default 200)")
    parser.add_argument("--threads", type=int, default=0, help="default: OpenVINO's choice")
    parser.add_argument("--rows", type=int, default=20, help="nodes listed one by one (default 20)")
    args = parser.parse_args(argv)
    _report(args.model or args.work / INT8_IR, args)


def runtime_nodes(model: Path) -> list[Node]:
    """What OpenVINO makes of a model file on this CPU, without constants and reshapes, which take no time.

    Read from the compiled graph: the file's name and its Q/DQ nodes promise nothing.
    """
    return _nodes(openvino.Core().compile_model(str(model), "CPU", OPTIONS))


def _nodes(compiled: Any) -> list[Node]:
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        kind = facts["layerType"].astype(str)
        if kind in ("Const", "Input", "Output", "Reshape"):
            continue
        shapes = tuple(tuple(port.get_shape()) for port in node.inputs())
        output = tuple(node.output(0).get_shape())
        found.append(Node(node.get_friendly_name(), kind, facts["runtimePrecision"].astype(str), shapes, output))
    return found


def node_times(model: Path, n: int, threads: int) -> tuple[list[tuple[Node, float]], float]:
    """Each node with its p50 in ms, and the p50 of a whole inference that is not profiled, taken in turns with it."""
    options = OPTIONS | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    profiled, plain = (
        openvino.Core().compile_model(str(model), "CPU", options | {"PERF_COUNT": count}) for count in (True, False)
    )
    image = np.random.default_rng(0).integers(0, 256, tuple(plain.input(0).shape), dtype=np.uint8)
    requests = profiled.create_infer_request(), plain.create_infer_request()
    times, whole = defaultdict(list), []
    for turn in range(n + 10):
        requests[0].infer([image])
        start = time.perf_counter()
        requests[1].infer([image])
        if turn >= 10:
            whole.append((time.perf_counter() - start) * 1e3)
            for fact in requests[0].get_profiling_info():
                times[fact.node_name].append(fact.real_time.total_seconds() * 1e3)
    # A node that was folded into another was never run and has no times.
    return [(node, float(np.median(times[node.name] or [0.0]))) for node in _nodes(profiled)], float(np.median(whole))


def int8_peak(threads: int = 0, n: int = 30) -> float:
    """GMAC/s of a large u8 x i8 convolution on the same cores: what the arithmetic alone would allow (best of n)."""
    image = op.parameter([1, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE], np.float32)
    steps = op.fake_quantize(image, *(np.float32(value) for value in (0, 255, 0, 255)), 256)
    weight = np.random.default_rng(0).integers(-64, 64, (PEAK_CHANNELS, PEAK_CHANNELS, 1, 1)).astype(np.int8)
    scaled = op.multiply(op.convert(op.constant(weight), "f32"), np.float32(0.01))
    product = op.convolution(steps, scaled, [1, 1], [0, 0], [0, 0], [1, 1])
    again = op.fake_quantize(product, *(np.float32(value) for value in (0, 25500, 0, 25500)), 256)
    model = openvino.Model([op.result(op.reduce_max(again, np.array([1]), keep_dims=True))], [image], "peak")
    options = OPTIONS | {"PERF_COUNT": True} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    best = np.inf
    for _ in range(n):
        request.infer([np.zeros((1, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE), np.float32)])
        facts = [fact for fact in request.get_profiling_info() if fact.node_type == "Convolution"]
        best = min(best, *(fact.real_time.total_seconds() for fact in facts))
    return PEAK_CHANNELS**2 * PEAK_SIDE**2 / best / 1e9


def _report(model: Path, args: argparse.Namespace) -> None:
    timed, whole = node_times(model, args.n, args.threads)
    peak = int8_peak(args.threads)
    timed.sort(key=lambda pair: -pair[1])
    total, macs = sum(ms for _, ms in timed), sum(node.macs for node, _ in timed)
    print("      ms  share  computes     MMAC  GMAC/s  M moved  node")
    for node, ms in timed[: args.rows]:
        print(_line(node.kind, node.precision, [(node, ms)], total, f"{node.output} {node.name}"))
    print("\nby kind:")
    for (kind, precision), group in _by_kind(timed):
        print(_line(kind, precision, group, total, f"{kind} x {len(group)}"))
    print(
        f"\n{cpu_tier()}: inference p50 {whole:.2f} ms, its nodes {total:.2f} ms (profiled); {macs / 1e6:.0f} MMAC; "
        f"this CPU's int8 peak {peak:.0f} GMAC/s = {macs / peak / 1e6:.2f} ms, "
        f"{macs / peak / 1e6 / whole:.0%} of the time the inference takes"
    )


def _by_kind(timed: Sequence[tuple[Node, float]]) -> list[tuple[tuple[str, str], list[tuple[Node, float]]]]:
    groups = defaultdict(list)
    for node, ms in timed:
        depthwise = node.kind == "Convolution" and node.inputs[1][-3] == 1
        groups["Convolution, depthwise" if depthwise else node.kind, node.precision].append((node, ms))
    return sorted(groups.items(), key=lambda item: -sum(ms for _, ms in item[1]))


def _line(kind: str, precision: str, group: Sequence[tuple[Node, float]], total: float, words: str) -> str:
    ms, macs = sum(ms for _, ms in group), sum(node.macs for node, _ in group)
    rate = f"{macs / max(ms, 1e-6) / 1e6:7.0f}" if macs else "       "
    moved = sum(node.moved for node, _ in group) / 1e6
    return f"{ms:8.3f} {ms / max(total, 1e-9):6.1%}  {precision:8} {macs / 1e6:8.1f} {rate} {moved:8.2f}  {words}"
