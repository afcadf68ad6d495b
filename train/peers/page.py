"""A comparison for a person: lines at a terminal, and one HTML page with a plot of accuracy against milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.ticker import ScalarFormatter

from train.report.charts import GOOD_COLOUR, INK, Sheet

FIGURES = (
    ("image", "auroc", "image AUROC"),
    ("image", "recall_at_2_fpr", "recall at 2 % FPR"),
    ("pixel", "auroc", "pixel AUROC"),
    ("pixel", "au_pro", "AU-PRO"),
)


def figures(facts: Mapping[str, Any]) -> str:
    """Return the figures of compare.json as lines."""
    return "\n  ".join([f"compare: {_words(facts)}", *("  ".join(row) for row in cells(facts))])


def _words(facts: Mapping[str, Any]) -> str:
    left_out = f"; {facts['left_out']} left out, a bundle was trained on them" if facts["left_out"] else ""
    return (
        f"{facts['data']}: {facts['n_good']} good and {facts['n_defective']} defective test images of "
        f"{facts['parts_good']} and {facts['parts_defective']} parts, {facts['cpu_tier']}{left_out}"
    )


def cells(facts: Mapping[str, Any]) -> list[list[str]]:
    """Return one row a method: number and name, input, each figure with its interval, milliseconds."""
    return [
        [
            f"{number} {row['name']}",
            row["what"],
            *(_figure(row, kind, key) for kind, key, _ in FIGURES),
            f"{row['total_ms_p50']:.1f} ms",
        ]
        for number, row in enumerate(facts["rows"], 1)
    ]


def write_page(facts: Mapping[str, Any], path: Path) -> None:
    """Write the page of a comparison, one file that needs nothing else."""
    templates = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=templates, autoescape=True, undefined=StrictUndefined).get_template("page.html")
    header = ["method", "input", *(name for *_, name in FIGURES), "p50"]
    found = page.render(words=_words(facts), header=header, rows=cells(facts), plot=plot(facts["rows"]))
    path.write_text(found, encoding="utf-8")


def plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw each method's image AUROC, with its number and interval, against the milliseconds a photograph takes."""
    sheet = Sheet("compare")
    with sheet as axes:
        for number, row in enumerate(rows, 1):
            found = row["intervals"]["image"]["auroc"]
            below, above = (max(0.0, abs(found["value"] - found[key])) for key in ("low", "high"))
            colour = GOOD_COLOUR if row["what"].startswith("INT8") else INK
            axes.errorbar(row["total_ms_p50"], found["value"], [[below], [above]], fmt="o", color=colour, capsize=2)
            axes.annotate(str(number), (row["total_ms_p50"], found["value"]), xytext=(5, 4), textcoords="offset points")
        axes.set(xlabel="milliseconds a photograph, p50", ylabel="image AUROC", xscale="log")
        axes.margins(x=0.2)
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis(ScalarFormatter())
    return sheet.svg


def _figure(row: Mapping[str, Any], kind: str, key: str) -> str:
    limits = row["intervals"][kind]
    if limits is None:
        return "–"
    found = limits[key]
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
