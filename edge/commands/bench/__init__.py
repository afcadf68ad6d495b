"""`edge bench`: measures the shipped path, from trigger to verdict, on this CPU, beside its alternatives."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import __version__
from edge.commands import CommandError
from edge.commands.bench.cameras import measure_cameras
from edge.commands.bench.compare import check_comparable, comparison, read_report
from edge.commands.bench.report import markdown, over_budget, page, sections, text
from edge.commands.bench.rig import WARM_UP, measure
from edge.commands.bench.starts import measure_starts
from edge.commands.bench.tiers import measure_tiers
from edge.commands.evidence import Table
from edge.core.cli import Removed
from edge.core.files import write_atomically
from edge.core.types import Image
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.cpu import TIERS, Cpu, busy, read_cpu, require_cpu
from edge.inference.detector import Precision, Runtime
from edge.inference.preprocess import image_files, load_image

# The first is what ships; only its p99 is held against the budget.
CONFIGURATIONS: tuple[tuple[Runtime, Precision], ...] = (
    ("openvino", "int8"),
    ("openvino", "fp32"),
    ("onnxruntime", "int8"),
    ("onnxruntime", "fp32"),
)
MAX_IMAGES = 16
PACKAGES = ("openvino", "onnxruntime", "numpy", "opencv-python-headless")
NAME = "benchmark"  # of the files in --out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle to measure")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"write {NAME}.json, {NAME}.md and {NAME}.html there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--budget-ms", type=_positive(float), default=100.0, help="p99 from trigger to verdict")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--n", type=_positive(int), default=500, help="parts a configuration (default %(default)s)")
    length.add_argument("--seconds", type=_positive(float), help="measure for so long instead, all together")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to use instead of the bundle's references")
    parser.add_argument("--tier", choices=("all", *TIERS), help="stand in for lesser CPUs (OpenVINO only)")
    parser.add_argument("--cameras", type=_positive(int), metavar="N", help="then run N engines side by side")
    parser.add_argument("--quick", action="store_true", help="latency and accuracy only, no starts")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="exit status 1 when slower beyond the noise")
    parser.add_argument("--soak", action=Removed, instead="run `edge soak`, which reads the CPU's temperature")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write files; returns 0 within the budget, 1 over it or slower than before."""
    old = read_report(arguments.compare) if arguments.compare else None
    report = _report(arguments, old)
    made, slower = sections(report), None
    if old is not None:
        compared, slower = comparison(old, report)
        made.append(compared)
    _write_files(arguments, report, made, slower)
    print(text(made))
    complaints = [over_budget(report), f"slower beyond the noise: {', '.join(slower)}" if slower else None]
    for complaint in filter(None, complaints):
        print(f"linewatch: {complaint}", file=sys.stderr)
    return int(any(complaints))


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(given: str) -> float:
        try:
            value = kind(given)
        except ValueError:
            value = 0
        if not 0 < value < 1e9:
            raise argparse.ArgumentTypeError(f"{given!r} is not a positive number")
        return value

    return parse


def _report(options: argparse.Namespace, old: dict[str, Any] | None) -> dict[str, Any]:
    require_cpu()
    bundle = open_bundle(options.bundle)
    _check_writable(options)
    images = _images(bundle, options.images)
    load = busy()
    if load:
        print(f"linewatch: {load}", file=sys.stderr)
    report = _facts(bundle, images, options.budget_ms)
    if old is not None:
        check_comparable(old, report)
    if options.tier:
        return report | measure_tiers(options.tier, _passed_on(options), _once(options), _progress)
    return report | _measure_here(bundle, images, options)


def _facts(bundle: Bundle, images: list[Image], budget_ms: float) -> dict[str, Any]:
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
            "load_before": os.getloadavg()[0],
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
        "notes": [],
    }


def _images(bundle: Bundle, folder: Path | None) -> list[Image]:
    """Return the frames to show: those of the first one's size, since a camera has one size."""
    found = _found(bundle, folder)
    kept = [image for image in found if image.shape == found[0].shape]
    if len(kept) < len(found):
        height, width = kept[0].shape[:2]
        print(
            f"linewatch: {len(found) - len(kept)} of {len(found)} images are not {width}x{height}, as the first is; "
            "they are left out",
            file=sys.stderr,
        )
    return kept


def _found(bundle: Bundle, folder: Path | None) -> list[Image]:
    if folder is None:
        return [load_image(bundle.file(reference.file)) for reference in bundle.manifest.references[:MAX_IMAGES]]
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder of images")
    images = [load_image(path, bundle.manifest.input.bits) for path in image_files(folder)[:MAX_IMAGES]]
    if not images:
        raise CommandError(f"{folder}: holds no image; use PNG, JPEG, BMP, TIFF or WebP")
    return images


def _configurations(cpu: Cpu) -> tuple[list[tuple[Runtime, Precision]], list[str]]:
    """Return the configurations that can be measured, and words for those that cannot."""
    chosen, notes = list(CONFIGURATIONS), []
    if cpu.cap is not None:
        chosen = [pair for pair in chosen if pair[0] == "openvino"]
        notes.append("ONNX Runtime is left out on capped tiers: its own kernels know no such cap")
    return chosen, notes


def _measure_here(bundle: Bundle, images: list[Image], options: argparse.Namespace) -> dict[str, Any]:
    cpu = read_cpu()
    chosen, notes = _configurations(cpu)
    report: dict[str, Any] = {"notes": notes}
    if not options.quick:
        report["starts"] = measure_starts(bundle, _progress)
    rss_mb, results = measure(bundle, images, chosen, options.n, options.seconds, _progress)
    report |= {"rss_mb": rss_mb, "results": [{"tier": cpu.tier, **result} for result in results]}
    if options.cameras:
        report["cameras"] = measure_cameras(
            bundle, options.cameras, options.images, options.n, options.seconds, _progress
        )
    return report


def _passed_on(options: argparse.Namespace) -> list[str]:
    """Return the command line of one tier's process."""
    given = ["--bundle", str(options.bundle), "--budget-ms", str(options.budget_ms)]
    given += ["--seconds", str(options.seconds)] if options.seconds else ["--n", str(options.n)]
    given += ["--images", str(options.images)] if options.images else []
    return [*given, *(["--quick"] if options.quick else [])]


def _once(options: argparse.Namespace) -> list[str]:
    """Return the options that only the first tier's process gets."""
    return ["--cameras", str(options.cameras)] if options.cameras else []


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[Kmeasuring: {words}" if words else "\r\x1b[K", end="", file=sys.stderr, flush=True)


def _write_files(
    options: argparse.Namespace, report: dict[str, Any], made: list[Table], slower: list[str] | None
) -> None:
    data = json.dumps(report, indent=2) + "\n"
    if options.json:
        _write(options.json, data)
    if options.out:
        _write(options.out / f"{NAME}.json", data)
        _write(options.out / f"{NAME}.md", markdown(made, "Benchmark"))
        _write(options.out / f"{NAME}.html", page(report, made, slower))


def _check_writable(options: argparse.Namespace) -> None:
    """Refuse a place that cannot be written to before minutes of measuring, not after."""
    if options.out is not None and not (options.out.is_dir() and os.access(options.out, os.W_OK)):
        raise CommandError(f"{options.out}: cannot be written to; give a folder that exists")
    path = options.json
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
        raise CommandError(f"{path}: cannot be written; give a file in a folder that exists and can be written to")


def _write(path: Path, content: str) -> None:
    try:
        write_atomically(path, content.encode())
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror})") from error
