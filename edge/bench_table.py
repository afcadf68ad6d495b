"""A benchmark's report as people read it: a table, and one line when the budget is not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "int8": "INT8", "fp32": "FP32"}
COLUMNS = ("tier", "runtime", "precision", "stage", "p50", "p95", "p99", "max", "FPS", "n")
TEXT_COLUMNS = 4


def table(report: Mapping[str, Any]) -> str:
    """The whole report as aligned lines; times in milliseconds."""
    cpu, bundle = report["cpu"], report["bundle"]
    shipped = report["results"][0]
    lines = [
        f"bundle    {bundle['title']}, input {bundle['input']}, frames {report['frame']}",
        f"CPU       {cpu['model']}, tier {cpu['tier']}, {cpu['logical_cores']} logical cores, "
        f"governor {cpu['governor'] or 'unknown'}, load before {cpu['load_before']:.2f}",
        f"features  {' '.join(cpu['features'])}",
        f"versions  {', '.join(f'{name} {version}' for name, version in report['versions'].items())}",
        f"memory    {report['rss_mb']:.0f} MB resident with the shipped model loaded",
        "",
        *_aligned([COLUMNS, *(row for result in report["results"] for row in _rows(result))]),
        "",
        f"Milliseconds, one part at a time; {report['warm_up']} parts to warm up are not counted. "
        f"The shipped path ({_name(shipped)}) takes {shipped['overhead']:.2f} x its inference (p50).",
    ]
    lines += [f"tier {tier}: skipped, this CPU does not have it" for tier in report["skipped"]]
    if any("capped" in result["tier"] for result in report["results"]):
        lines.append("Capped tiers are measured with OpenVINO only: ONNX Runtime knows no such cap.")
    return "\n".join(lines)


def over_budget(report: Mapping[str, Any]) -> str | None:
    """One line when p99 from trigger to verdict of the shipped configuration is over the budget on any tier."""
    for result in report["results"]:
        p99_ms, budget_ms = result["stages"]["total_ms"]["p99"], report["budget_ms"]
        if (result["runtime"], result["precision"]) == ("openvino", "int8") and not p99_ms <= budget_ms:
            return (
                f"p99 of the shipped path is {p99_ms:.1f} ms on {result['tier']}, over the budget of {budget_ms:g} ms"
            )
    return None


def _name(result: Mapping[str, Any]) -> str:
    return f"{NAMES[result['runtime']]}, {NAMES[result['precision']]}"


def _rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    first = (result["tier"], NAMES[result["runtime"]], NAMES[result["precision"]])
    rows: list[tuple[str, ...]] = []
    for stage, times in result["stages"].items():
        total = (f"{result['fps']:.1f}", str(result["n"])) if stage == "total_ms" else ("", "")
        figures = (f"{times[key]:.2f}" for key in ("p50", "p95", "p99", "max"))
        rows.append((*(first if not rows else ("", "", "")), stage.removesuffix("_ms"), *figures, *total))
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        text = [cell.ljust(width) for cell, width in zip(row[:TEXT_COLUMNS], widths, strict=False)]
        numbers = [cell.rjust(width) for cell, width in zip(row[TEXT_COLUMNS:], widths[TEXT_COLUMNS:], strict=True)]
        return "  ".join([*text, *numbers]).rstrip()

    return [line(row) for row in rows]
