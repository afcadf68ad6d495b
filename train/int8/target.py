"""The CPU that a latency budget is for: a tier that this CPU stands in for, or a device that told its own speed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edge.inference.bundle import Bundle, open_bundle
from edge.inference.cpu import TIER_CAPS, TIERS, read_cpu
from train.int8 import Int8Error

REFERENCE = Path(__file__).parents[2] / "models" / "default"  # what the device's report and this CPU both measure
REMEDY = "run `python -m edge bench --bundle models/default --json FILE` on the device, with this models/default"


@dataclass(frozen=True)
class Target:
    """Where parts will be judged."""

    name: str
    cap: str | None = None  # of oneDNN, where this CPU stands in for a lesser one
    reference: Bundle | None = None  # with a device's report: what it measured
    infer_ms: float = 0.0  # and its p50 there


def read_target(text: str) -> Target:
    """A tier's name, or a file that `edge bench --json` wrote on the device. Raises Int8Error."""
    cpu = read_cpu()
    if text == cpu.native_tier:
        return Target(text)
    if text in TIERS and text not in cpu.tiers:
        raise Int8Error(f"--target {text}: this CPU is only {cpu.native_tier}; {REMEDY} and give --target FILE")
    return Target(text, TIER_CAPS[text]) if text in TIERS else _device(text)


def _device(text: str) -> Target:
    try:
        report = json.loads(Path(text).read_bytes())
        shipped = next(row for row in report["results"] if (row["runtime"], row["precision"]) == ("openvino", "int8"))
        digest, infer_ms = report["bundle"]["digest"], float(shipped["stages"]["infer_ms"]["p50"])
        name = f"{report['cpu']['model']}, {shipped['tier']}"
    except OSError as error:
        raise Int8Error(f"--target {text}: no tier ({', '.join(TIERS)}), and no file ({error.strerror})") from None
    except (ValueError, KeyError, StopIteration, TypeError):
        raise Int8Error(f"--target {text}: is no report of the benchmark; {REMEDY}") from None
    reference = open_bundle(REFERENCE)
    if digest != reference.digest:
        raise Int8Error(f"--target {text}: measured another bundle than this models/default; {REMEDY}")
    return Target(name, None, reference, infer_ms)
