"""Evidence for the acceptance of a station: one self-contained HTML page with tables and plots."""

from __future__ import annotations

import html
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edge import __version__
from edge.inference.cpu import cpu_tier

WIDTH, HEIGHT, MARGIN = 720, 200, 48
LABELS, LEGEND, BAR = 260, 28, 24  # of bars: room for names, for the legend, for each
COLOURS = ("#56b4e9", "#e69f00", "#0072b2", "#009e73", "#cc79a7")  # Okabe and Ito: told apart by the colour-blind too
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2530}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.35rem .6rem;"
    "border-bottom:1px solid #d5dbe3;vertical-align:top}.held{color:#0b6b3a}.failed{color:#b3261e;font-weight:700}"
    ".wide{overflow-x:auto}svg{width:100%;height:auto}polyline{fill:none;stroke:#1f5fa8;stroke-width:1.5}text{font-size:12px;fill:#4a5563}"
)


@dataclass(frozen=True, slots=True)
class Property:
    """One thing that must hold, and what was seen; held is None when this machine could not try it."""

    name: str
    held: bool | None
    seen: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A line over points (x, y)."""

    title: str
    unit: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar a name, of parts that are stacked; no part is negative."""

    title: str
    unit: str
    parts: Sequence[str]
    bars: Sequence[tuple[str, Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Table:
    """Figures under a title."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass
class Evidence:
    """What a run of chaos, soak or bench found; collected as it goes."""

    title: str
    bundle: str
    facts: dict[str, str] = field(default_factory=dict)
    properties: list[Property] = field(default_factory=list)
    plots: list[Plot | Bars] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def hold(self, name: str, held: bool, seen: str) -> None:
        self.properties.append(Property(name, held, seen))

    def skip(self, name: str, why: str) -> None:
        """Say on the page that it was not tried, and why."""
        self.properties.append(Property(name, None, why))

    @property
    def held(self) -> bool:
        """True when every property that was tried did; an empty page proves nothing."""
        tried = [one.held for one in self.properties if one.held is not None]
        return bool(tried) and all(tried)

    @property
    def verdict(self) -> str:
        """One line for a person."""
        if not self.held:
            return "AT LEAST ONE PROPERTY FAILED"
        untried = sum(one.held is None for one in self.properties)
        return f"every property held, {untried} untried" if untried else "every property held"

    def write(self, path: Path) -> None:
        """Write the page; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        facts = {
            "verdict": self.verdict,
            "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "linewatch": __version__,
            "bundle": self.bundle,
            "machine": f"{os.cpu_count()} logical cores, {cpu_tier()}, Linux {platform.release()}, "
            f"Python {platform.python_version()}",
            **self.facts,
        }
        rows = "".join(f"<tr><th>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in facts.items())
        held = "".join(_row(one) for one in self.properties)
        plots = "".join(_figure(plot) if isinstance(plot, Plot) else _bars(plot) for plot in self.plots)
        tables = "".join(_table(table) for table in self.tables)
        return (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{_text(self.title)}</title>"
            f"<style>{STYLE}</style><h1>{_text(self.title)}</h1><table>{rows}</table>"
            f"<table><tr><th>property</th><th></th><th>seen</th></tr>{held}</table>{plots}{tables}</html>\n"
        )


def _row(one: Property) -> str:
    word = "not tried" if one.held is None else "held" if one.held else "failed"
    return (
        f"<tr><td>{_text(one.name)}</td><td class='{word.replace(' ', '-')}'>{word}</td><td>{_text(one.seen)}</td></tr>"
    )


def _figure(plot: Plot) -> str:
    """An inline SVG; scripts and other files are not needed to read it."""
    if len(plot.points) < 2:
        return ""
    xs, ys = [x for x, _ in plot.points], [y for _, y in plot.points]
    right, top = max(xs) or 1.0, (max(ys) * 1.1) or 1.0
    span_x, span_y = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    places = " ".join(
        f"{MARGIN + x / right * span_x:.1f},{HEIGHT - MARGIN - y / top * span_y:.1f}" for x, y in plot.points
    )
    return (
        f"<h2>{_text(plot.title)}</h2><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{_text(plot.title)}'>"
        f"<path d='M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}' fill='none' stroke='#9aa5b1'/>"
        f"<polyline points='{places}'/><text x='4' y='{MARGIN}'>{top:.4g} {_text(plot.unit)}</text>"
        f"<text x='4' y='{HEIGHT - MARGIN}'>0</text>"
        f"<text x='{WIDTH - MARGIN}' y='{HEIGHT - MARGIN + 18}' text-anchor='end'>{right:.4g}</text></svg>"
    )


def _bars(plot: Bars) -> str:
    longest = max((sum(values) for _, values in plot.bars), default=0.0) or 1.0
    drawn = []
    for row, (label, values) in enumerate(plot.bars):
        y, x = LEGEND + row * BAR, float(LABELS)
        drawn.append(f"<text x='4' y='{y + 15}'>{_text(label)}</text>")
        for value, colour in zip(values, COLOURS, strict=False):
            width = value / longest * (WIDTH - LABELS - MARGIN)
            drawn.append(f"<rect x='{x:.1f}' y='{y}' width='{width:.1f}' height='{BAR - 6}' fill='{colour}'/>")
            x += width
        drawn.append(f"<text x='{x + 4:.1f}' y='{y + 15}'>{sum(values):.3g}</text>")
    for place, (part, colour) in enumerate(zip(plot.parts, COLOURS, strict=False)):
        x = LABELS + place * 90
        drawn.append(
            f"<rect x='{x}' y='4' width='12' height='12' fill='{colour}'/><text x='{x + 16}' y='15'>{part}</text>"
        )
    height = LEGEND + len(plot.bars) * BAR
    return (
        f"<h2>{_text(plot.title)}, {_text(plot.unit)}</h2><svg viewBox='0 0 {WIDTH} {height}' role='img' "
        f"aria-label='{_text(plot.title)}'>{''.join(drawn)}</svg>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    whole = f"<div class='wide'><table><tr>{head}</tr>{rows}</table></div>"
    return f"<h2>{_text(table.title)}</h2>{whole}<p>{_text(table.note)}</p>"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
