"""A benchmark as one self-contained HTML page: tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edge.commands.bench.report import Section, name, over_budget
from edge.commands.evidence import Bars, Evidence, Plot, Table

STAGES = ("grab_ms", "prepare_ms", "infer_ms", "decide_ms", "output_ms")


def page(report: Mapping[str, Any], made: Sequence[Section], slower: Sequence[str] | None) -> str:
    """The page; slower: what a comparison found, None where nothing was compared."""
    evidence = Evidence(title="Benchmark", bundle=report["bundle"]["title"])
    refused = over_budget(report)
    evidence.hold(f"p99 of the shipped path within {report['budget_ms']:g} ms", refused is None, refused or "it is")
    if slower is not None:
        evidence.hold("nothing slower beyond the noise", not slower, ", ".join(slower) or "nothing is")
    evidence.plots += _plots(report)
    evidence.tables += [Table(one.title, one.header, one.rows, one.note) for one in made]
    return evidence.page()


def _plots(report: Mapping[str, Any]) -> Iterator[Plot | Bars]:
    results = report["results"]
    yield Bars(
        "Where a part's time goes, p50",
        "ms",
        [stage.removesuffix("_ms") for stage in STAGES],
        [(name(one), [one["stages"][stage]["p50"] for stage in STAGES]) for one in results],
    )
    shipped = results[0]["blocks"]["total_ms"]
    yield Plot(f"{name(results[0])}: medians of blocks, in the order of measuring", "ms", list(enumerate(shipped)))
