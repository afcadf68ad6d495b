"""A benchmark's report for people: aligned text, Markdown, an HTML page, and one line when the budget is not kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edge.commands.evidence import Bars, Evidence, Plot, Table

NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "int8": "INT8", "fp32": "FP32"}
COLUMNS = ("tier", "runtime", "precision", "stage", "p50", "p95", "p99", "max", "parts/s", "n")
_STAGES = ("grab_ms", "prepare_ms", "infer_ms", "decide_ms", "output_ms")


def sections(report: Mapping[str, Any]) -> list[Table]:
    """Return the whole report as tables; times are in milliseconds."""
    made = [_facts(report), _latency(report), _accuracy(report)]
    if "starts" in report:
        made.append(_starts(report["starts"]))
    if "cameras" in report:
        made.append(_cameras(report["cameras"]))
    return made


def text(made: Sequence[Table]) -> str:
    """Return tables as aligned text for a terminal."""
    return "\n\n".join("\n".join(_as_text(section)) for section in made)


def markdown(made: Sequence[Table], title: str) -> str:
    """Return tables as Markdown for a document."""
    return f"# {title}\n\n" + "\n".join("\n".join(_as_markdown(section)) for section in made)


def page(report: Mapping[str, Any], made: Sequence[Table], slower: Sequence[str] | None) -> str:
    """Return the HTML page; slower names what a comparison found slower, None where nothing was compared."""
    evidence = Evidence(title="Benchmark", bundle=report["bundle"]["title"])
    refused = over_budget(report)
    evidence.hold(f"p99 of the shipped path within {report['budget_ms']:g} ms", refused is None, refused or "it is")
    if slower is not None:
        evidence.hold("nothing slower beyond the noise", not slower, ", ".join(slower) or "nothing is")
    evidence.plots += _plots(report)
    evidence.tables += made
    return evidence.page()


def over_budget(report: Mapping[str, Any]) -> str | None:
    """Return one line when p99 of the shipped path is over the budget, on any tier or for any camera; else None."""
    for result in report["results"]:
        p99_ms, budget_ms = result["stages"]["total_ms"]["p99"], report["budget_ms"]
        if (result["runtime"], result["precision"]) == ("openvino", "int8") and not p99_ms <= budget_ms:
            return (
                f"p99 of the shipped path is {p99_ms:.1f} ms on {result['tier']}, over the budget of {budget_ms:g} ms"
            )
    for number, camera in enumerate(report.get("cameras", ()), 1):
        if not camera["p99_ms"] <= report["budget_ms"]:
            return (
                f"p99 of camera {number} of {len(report['cameras'])} is {camera['p99_ms']:.1f} ms, "
                f"over the budget of {report['budget_ms']:g} ms"
            )
    return None


def name(result: Mapping[str, Any]) -> str:
    """Return the name of a configuration, e.g. "AVX2 OpenVINO INT8"."""
    precision = result["precision"]  # an older report may hold one that is not measured any more
    return f"{result['tier']} {NAMES[result['runtime']]} {NAMES.get(precision, precision)}"


def _plots(report: Mapping[str, Any]) -> Iterator[Plot | Bars]:
    results = report["results"]
    yield Bars(
        "Where a part's time goes, p50",
        "ms",
        [stage.removesuffix("_ms") for stage in _STAGES],
        [(name(one), [one["stages"][stage]["p50"] for stage in _STAGES]) for one in results],
    )
    shipped = results[0]["blocks"]["total_ms"]
    yield Plot(f"{name(results[0])}: medians of blocks, in the order of measuring", "ms", list(enumerate(shipped)))


def _facts(report: Mapping[str, Any]) -> Table:
    cpu, bundle, memory = report["cpu"], report["bundle"], report["rss_mb"]
    rows = [
        ("bundle", f"{bundle['title']}, input {bundle['input']}, frames {report['frame']}"),
        ("CPU", f"{cpu['model']}, tier {cpu['tier']}, {cpu['logical_cores']} logical cores"),
        ("features", " ".join(cpu["features"])),
        ("governor", f"{cpu['governor'] or 'unknown'}, load before {cpu['load_before']:.2f}"),
        ("versions", ", ".join(f"{package} {version}" for package, version in report["versions"].items())),
        ("memory", f"{memory:.0f} MB resident in the benchmark with the shipped model loaded"),
        ("measured", str(report["measured_at"])),
    ]
    return Table("Benchmark", ("fact", ""), rows, text_columns=2)


def _latency(report: Mapping[str, Any]) -> Table:
    shipped = report["results"][0]
    note = [
        f"Milliseconds, one part at a time; {report['warm_up']} parts to warm up are not counted. `bare` is the "
        "compiled model called in a loop, in turns with the path around it. `quality` is the check of a commissioned "
        "station, which the total holds. The shipped path takes "
        f"{shipped['overhead']:.2f} x that ({name(shipped)}, p50)."
    ]
    note += [f"tier {tier}: skipped, this CPU does not have it." for tier in report["skipped"]]
    note += [f"{words}." for words in report["notes"]]
    rows = [row for result in report["results"] for row in _rows(result)]
    return Table("Latency", COLUMNS, rows, " ".join(note), text_columns=4)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    first = (result["tier"], NAMES[result["runtime"]], NAMES[result["precision"]])
    for stage, times in {**result["stages"], **{key: result[key] for key in ("quality_ms", "bare_ms")}}.items():
        total = (f"{result['fps']:.1f}", str(result["n"])) if stage == "total_ms" else ("", "")
        yield (
            *first,
            stage.removesuffix("_ms"),
            *(f"{times[key]:.2f}" for key in ("p50", "p95", "p99", "max")),
            *total,
        )
        first = ("", "", "")


def _accuracy(report: Mapping[str, Any]) -> Table:
    rows = [
        (
            name(result),
            f"{result['accuracy']['largest_relative']:.2%}",
            f"{result['accuracy']['mean_relative']:.2%}",
            f"{result['accuracy']['flips']} of {result['accuracy']['n']}",
        )
        for result in report["results"]
    ]
    note = "Of the scores on the bundle's reference images, against those in its manifest (OpenVINO, INT8)."
    return Table(
        "Accuracy", ("configuration", "largest deviation", "mean deviation", "verdicts that differ"), rows, note
    )


def _starts(starts: Mapping[str, Any]) -> Table:
    rows = [tuple(f"{max(starts[what]):.2f}" for what in ("ready_s", "first_verdict_s"))]
    note = (
        f"Seconds from the start of the engine's process, the slowest of {len(starts['ready_s'])}; the files "
        f"are in the kernel's cache. The engine holds {starts['rss_mb']:.0f} MB resident after its first parts."
    )
    return Table("Start", ("to READY", "to the first verdict"), rows, note, text_columns=0)


def _cameras(cameras: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            str(number),
            *(f"{one[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            f"{one['parts_per_s']:.1f}",
            str(one["n"]),
        )
        for number, one in enumerate(cameras, 1)
    ]
    note = (
        "Milliseconds from trigger to output. Each camera has its own engine, all are kept busy at once, and each part "
        "waits up to 5 ms for its frame."
    )
    return Table(f"{len(cameras)} cameras side by side", ("camera", "p50", "p99", "max", "parts/s", "n"), rows, note)


def _as_text(section: Table) -> Iterator[str]:
    table = [section.header, *section.rows] if any(section.header[1:]) else section.rows
    widths = [max(len(row[i]) for row in table) for i in range(len(section.header))]
    yield section.title
    for row in table:
        cells = zip(row, widths, range(len(row)), strict=True)
        yield "  ".join(
            cell.ljust(width) if i < section.text_columns else cell.rjust(width) for cell, width, i in cells
        ).rstrip()
    if section.note:
        yield section.note


def _as_markdown(section: Table) -> Iterator[str]:
    yield from (f"## {section.title}", "")
    yield f"| {' | '.join(section.header)} |"
    yield "|" + "|".join(["---"] * section.text_columns + ["---:"] * (len(section.header) - section.text_columns)) + "|"
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in section.rows)
    yield ""
    if section.note:
        yield from (section.note, "")
