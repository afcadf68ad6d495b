"""Evidence for the acceptance of a station: one self-contained HTML page with tables and plots."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from edge import __version__
from edge.commands import CommandError
from edge.inference.cpu import cpu_tier

TEMPLATE = Path(__file__).with_suffix(".html")
COLOURS = ("#56b4e9", "#e69f00", "#0072b2", "#009e73", "#cc79a7")  # Okabe and Ito: told apart by the colour-blind too


@dataclass(frozen=True, slots=True)
class Property:
    """One thing that must hold, and what was seen; held is None when this machine could not try it."""

    name: str
    held: bool | None
    seen: str

    @property
    def word(self) -> str:
        return "not tried" if self.held is None else "held" if self.held else "failed"


@dataclass(frozen=True, slots=True)
class Plot:
    """A line over points (x, y); nothing is drawn of fewer than two points."""

    title: str
    unit: str
    points: Sequence[tuple[float, float]]

    @property
    def right(self) -> float:
        return max(x for x, _ in self.points) or 1.0

    @property
    def top(self) -> float:
        return 1.1 * max(y for _, y in self.points) or 1.0

    def places(self, width: float, height: float) -> Iterator[tuple[float, float]]:
        """Yield the points in a plane of this size, from its lower left corner."""
        for x, y in self.points:
            yield x / self.right * width, y / self.top * height


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar a name, of parts that are stacked; no part is negative."""

    title: str
    unit: str
    parts: Sequence[str]
    bars: Sequence[tuple[str, Sequence[float]]]

    def legend(self) -> Iterator[tuple[str, str]]:
        """Yield each part with its colour."""
        yield from zip(self.parts, COLOURS, strict=False)

    def pieces(self, values: Sequence[float], width: float) -> Iterator[tuple[float, float, str]]:
        """Yield left end, width and colour of each part of one bar; the longest bar is `width` wide."""
        scale = width / (max(sum(bar) for _, bar in self.bars) or 1.0)
        lefts = accumulate(values, initial=0.0)
        for left, value, colour in zip(lefts, values, COLOURS, strict=False):
            yield left * scale, value * scale, colour


@dataclass(frozen=True, slots=True)
class Table:
    """Figures under a title, and what must be known to read them."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    text_columns: int = 1  # the first ones; numbers follow


@dataclass
class Evidence:
    """The findings of a run of chaos, soak or bench; collected as it goes."""

    title: str
    bundle: str
    facts: dict[str, str] = field(default_factory=dict)
    properties: list[Property] = field(default_factory=list)
    plots: list[Plot | Bars] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def hold(self, name: str, held: bool, seen: str) -> None:
        self.properties.append(Property(name, held, seen))

    def skip(self, name: str, why: str) -> None:
        """Say on the page that a property was not tried, and why."""
        self.properties.append(Property(name, None, why))

    @property
    def held(self) -> bool:
        """True when every property that was tried held; an empty page proves nothing."""
        tried = [one.held for one in self.properties if one.held is not None]
        return bool(tried) and all(tried)

    @property
    def verdict(self) -> str:
        """The result in one line for a person."""
        if not self.held:
            return "AT LEAST ONE PROPERTY FAILED"
        untried = sum(one.held is None for one in self.properties)
        return f"every property held, {untried} untried" if untried else "every property held"

    def write(self, path: Path) -> None:
        """Write the page; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        """Return the page as HTML; it needs no script and no other file."""
        facts = {
            "verdict": self.verdict,
            "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "linewatch": __version__,
            "bundle": self.bundle,
            "machine": f"{os.cpu_count()} logical cores, {cpu_tier()}, Linux {platform.release()}, "
            f"Python {platform.python_version()}",
            **self.facts,
        }
        jinja = Environment(
            loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        return jinja.get_template(TEMPLATE.name).render(
            title=self.title, facts=facts, properties=self.properties, plots=self.plots, tables=self.tables
        )


def prove(collect: Callable[[], Evidence], page: Path) -> int:
    """Collect evidence, print one line when all of it holds and return 0; raises CommandError when it does not."""
    try:
        evidence = collect()
    except OSError as error:
        raise CommandError(f"{error.filename or page}: {error.strerror or error}; check the path") from error
    if not evidence.held:
        raise CommandError(f"a property failed; the evidence is in {page}")
    print(f"{evidence.verdict}; the evidence is in {page}")
    return 0


def say(line: str) -> None:
    """Tell the person who waits how far the run is."""
    sys.stderr.write(f"{line}\n")
