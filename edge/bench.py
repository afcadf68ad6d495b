"""What `python -m edge bench` runs: the latency of the shipped path, from trigger to verdict, on this CPU."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import __version__
from edge.arguments import OneLineParser
from edge.bench_table import over_budget, table
from edge.bundle import Bundle, open_bundle
from edge.cpu import ISA_CAP, TIER_CAPS, TIERS, read_cpu
from edge.detector import Precision, Runtime
from edge.files import write_atomically
from edge.preprocess import image_files, load_image
from edge.rig import WARM_UP, measure
from edge.types import EdgeError, Image

# The first is what ships; only its p99 is held against the budget.
CONFIGURATIONS: tuple[tuple[Runtime, Precision], ...] = (
    ("openvino", "int8"),
    ("openvino", "fp32"),
    ("onnxruntime", "int8"),
    ("onnxruntime", "fp32"),
)
MAX_IMAGES = 16
BUSY = 0.3  # load average per core from which the figures are not to be trusted
PACKAGES = ("openvino", "onnxruntime", "numpy", "opencv-python-headless")


class BenchError(EdgeError):
    """The benchmark cannot be run, or what it ran did not work."""


def main(argv: list[str]) -> int:
    """Measure, print a table, write JSON. 0: within the budget, 1: over it or not measurable, 2: wrong usage."""
    options = _arguments(argv)
    try:
        report = _report(options)
        if options.json is not None:
            _write(options.json, (json.dumps(report, indent=2) + "\n").encode())
    except EdgeError as error:
        print(f"linewatch: {error}", file=sys.stderr)
        return 1
    print(table(report))
    verdict = over_budget(report)
    if verdict is not None:
        print(f"linewatch: {verdict}", file=sys.stderr)
    return 0 if verdict is None else 1


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="python -m edge bench", description="Measure the shipped path on this CPU.")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--budget-ms", type=_positive(float), default=100.0, help="p99 from trigger to verdict")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--n", type=_positive(int), default=500, help="parts a configuration (default %(default)s)")
    length.add_argument("--seconds", type=_positive(float), help="measure for so long instead, all together")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to use instead of the bundle's references")
    parser.add_argument("--tier", choices=("all", *TIERS), help="stand in for lesser CPUs (OpenVINO only)")
    return parser.parse_args(argv)


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < 1e9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
        return value

    return parse


def _report(options: argparse.Namespace) -> dict[str, Any]:
    bundle = open_bundle(options.bundle)
    if options.json is not None:
        _check_writable(options.json)
    images = _images(bundle, options.images)
    load = os.getloadavg()[0]
    if load > BUSY * len(os.sched_getaffinity(0)):
        print(f"linewatch: the machine is busy (load {load:.2f}); expect figures too high", file=sys.stderr)
    report = _facts(bundle, images, options.budget_ms, load)
    return report | (_measure_tiers(options) if options.tier else _measure_here(bundle, images, options))


def _facts(bundle: Bundle, images: list[Image], budget_ms: float, load: float) -> dict[str, Any]:
    cpu = read_cpu()
    spec, (height, width) = bundle.manifest.input, images[0].shape[:2]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": {"title": bundle.title, "digest": bundle.digest, "input": f"{spec.width}x{spec.height}"},
        "frame": f"{width}x{height}",
        "cpu": {
            "model": cpu.model,
            "tier": cpu.tier,
            "features": list(cpu.features),
            "logical_cores": cpu.logical_cores,
            "governor": cpu.governor,
            "load_before": load,
        },
        "versions": {
            "linewatch": __version__,
            "python": platform.python_version(),
            "kernel": platform.release(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "budget_ms": budget_ms,
        "warm_up": WARM_UP,
        "skipped": [],
    }


def _images(bundle: Bundle, folder: Path | None) -> list[Image]:
    if folder is None:
        return [load_image(bundle.file(reference.file)) for reference in bundle.manifest.references[:MAX_IMAGES]]
    if not folder.is_dir():
        raise BenchError(f"{folder}: no such folder of images")
    images = [load_image(path) for path in image_files(folder)[:MAX_IMAGES]]
    if not images:
        raise BenchError(f"{folder}: holds no image; use PNG, JPEG, BMP, TIFF or WebP")
    return images


def _measure_here(bundle: Bundle, images: list[Image], options: argparse.Namespace) -> dict[str, Any]:
    cpu = read_cpu()
    # ONNX Runtime's own kernels know nothing of oneDNN's cap: their figures would be those of another tier.
    chosen = [pair for pair in CONFIGURATIONS if cpu.cap is None or pair[0] == "openvino"]
    rss_mb, results = measure(bundle, images, chosen, options.n, options.seconds, _progress)
    return {"rss_mb": rss_mb, "results": [{"tier": cpu.tier, **result} for result in results]}


def _measure_tiers(options: argparse.Namespace) -> dict[str, Any]:
    """Each tier in a process of its own, because oneDNN reads its cap once; the CPU's own tier comes uncapped."""
    cpu = read_cpu()
    wanted = TIERS if options.tier == "all" else (options.tier,)
    able = [tier for tier in wanted if tier in cpu.tiers]
    if not able:
        raise BenchError(
            f"--tier {options.tier}: this CPU is {cpu.native_tier}, and a lesser one cannot stand in for it"
        )
    reports: list[dict[str, Any]] = []
    for tier in able:
        _progress(f"tier {tier}, {len(reports) + 1} of {len(able)}")
        reports.append(_measure_capped(options, None if tier == cpu.native_tier else TIER_CAPS[tier]))
    _progress("")
    return {
        "skipped": [tier for tier in wanted if tier not in able],
        "rss_mb": reports[0]["rss_mb"],
        "results": [result for report in reports for result in report["results"]],
    }


def _measure_capped(options: argparse.Namespace, cap: str | None) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != ISA_CAP}
    if cap is not None:
        environment[ISA_CAP] = cap
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "bench.json"
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "edge", "bench"]
        command += ["--bundle", str(options.bundle), "--json", str(answer), "--budget-ms", str(options.budget_ms)]
        command += ["--seconds", str(options.seconds)] if options.seconds else ["--n", str(options.n)]
        command += ["--images", str(options.images)] if options.images else []
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if not answer.exists():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise BenchError(f"{ISA_CAP}={cap}: {last.removeprefix('linewatch: ')}")
        report: dict[str, Any] = json.loads(answer.read_bytes())
        return report


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[Kmeasuring: {text}" if text else "\r\x1b[K", end="", file=sys.stderr, flush=True)


def _check_writable(path: Path) -> None:
    """Before minutes of measuring, not after."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise BenchError(f"{path}: cannot be written; give a file in a folder that exists and can be written to")


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror})") from error
