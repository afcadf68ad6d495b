"""The report's charts: figures of evaluate.json as SVG text; one look, safe for colour-blind eyes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from train.measure.metrics import Floats

GOOD_COLOUR, BAD_COLOUR, INK, SOFT = "#2f6db3", "#c8560b", "#1d2329", "#9aa4ae"
LOG_FROM, EVEN_TO = 8.0, 2.0  # distances beyond the first are drawn on an axis that is logarithmic from the second on
LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
Labels = NDArray[np.bool_]


class Sheet:
    """One chart being drawn: `with Sheet("roc") as axes: ...`, then `svg`."""

    def __init__(self, name: str, height: float = 3.2) -> None:
        self._rc = mpl.rc_context({**LOOK, "svg.hashsalt": name})
        self._height = height
        self.svg = ""

    def __enter__(self) -> Axes:
        self._rc.__enter__()
        self._figure = Figure(figsize=(4.4, self._height), layout="constrained")
        return self._figure.subplots()

    def __exit__(self, *error: object) -> None:
        stream = io.StringIO()
        self._figure.savefig(stream, format="svg", metadata={"Date": None})
        self.svg = stream.getvalue()[stream.getvalue().index("<svg") :]
        self._rc.__exit__(None, None, None)


def histogram(scores: Floats, bad: Labels, threshold: float) -> str:
    """Draw how many parts of each kind lie at each distance from good, and the limit."""
    sheet = Sheet("histogram")
    with sheet as axes:
        low, high = _span(scores, threshold)
        _distance_axis(axes, low, high)
        bins = _bins(low, high)
        for kind, colour, label in ((~bad, GOOD_COLOUR, "good"), (bad, BAD_COLOUR, "defective")):
            axes.hist(scores[kind], bins.tolist(), color=colour, alpha=0.75, label=label)
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label="limit")
        axes.set(ylabel="test images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.figure.legend(loc="outside upper center", ncols=3)
    return sheet.svg


def by_type(scores: Floats, labels: Sequence[str], good: str, threshold: float) -> str:
    """Every part as a dot, a row for each type: which types the threshold separates, and which it does not."""
    kinds = [good, *sorted(set(labels) - {good})]
    sheet = Sheet("types", 1.0 + 0.36 * len(kinds))
    with sheet as axes:
        _distance_axis(axes, *_span(scores, threshold))
        rng = np.random.default_rng(0)
        for row, kind in enumerate(kinds):
            found = scores[np.array([label == kind for label in labels])]
            height = row + rng.uniform(-0.3, 0.3, len(found))
            axes.scatter(found, height, s=7, alpha=0.5, color=GOOD_COLOUR if kind == good else BAD_COLOUR, linewidths=0)
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.invert_yaxis()
    return sheet.svg


def roc(scores: Floats, bad: Labels, threshold: float) -> str:
    """ROC with the shipped threshold on it."""
    sheet = Sheet("roc")
    with sheet as axes:
        fpr, recall, _ = roc_curve(bad, scores)
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8)
        axes.plot(fpr, recall, color=GOOD_COLOUR)
        _shipped(axes, float(np.mean(scores[~bad] >= threshold)), float(np.mean(scores[bad] >= threshold)))
        axes.set(xlabel="good parts rejected", ylabel="defective parts found", xlim=(-0.02, 1.02), ylim=(0, 1.03))
        axes.legend(loc="lower right")
    return sheet.svg


def precision_recall(scores: Floats, bad: Labels, threshold: float) -> str:
    """Precision over recall with the shipped threshold on it."""
    sheet = Sheet("precision")
    with sheet as axes:
        precision, recall, _ = precision_recall_curve(bad, scores)
        axes.plot(recall, precision, color=GOOD_COLOUR)
        axes.axhline(float(bad.mean()), color=SOFT, linewidth=0.8)
        rejected = scores >= threshold
        if rejected.any():
            _shipped(axes, float(np.mean(rejected[bad])), float(np.mean(bad[rejected])))
            axes.legend(loc="lower left")
        axes.set(
            xlabel="defective parts found (recall)",
            ylabel="rejected parts that are defective",
            xlim=(-0.02, 1.02),
            ylim=(0, 1.03),
        )
    return sheet.svg


def reliability_plot(facts: Mapping[str, Any]) -> str:
    """Stated probability against the share that is defective; on the diagonal both are the same."""
    sheet = Sheet("reliability")
    with sheet as axes:
        bins = facts["bins"]
        stated = [b["stated"] for b in bins]
        shares = [b["defective"]["value"] for b in bins]
        below = [max(0.0, b["defective"]["value"] - b["defective"]["low"]) for b in bins]
        above = [max(0.0, b["defective"]["high"] - b["defective"]["value"]) for b in bins]
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8)
        axes.errorbar(stated, shares, [below, above], fmt="none", ecolor=GOOD_COLOUR, elinewidth=1, capsize=2)
        axes.scatter(stated, shares, s=[12 + 120 * b["n"] / facts["n"] for b in bins], color=GOOD_COLOUR, zorder=3)
        axes.set(xlabel="stated defect probability", ylabel="share that is defective", xlim=(-0.04, 1.04))
        axes.set_ylim(-0.04, 1.04)
    return sheet.svg


def training_curve(epochs: Sequence[Mapping[str, Any]], key: str) -> str:
    """One figure of each epoch that has it."""
    sheet = Sheet(f"epochs-{key}", 2.4)
    with sheet as axes:
        points = [(epoch["epoch"], epoch[key]) for epoch in epochs if epoch.get(key) is not None]
        axes.plot(*zip(*points, strict=True), color=GOOD_COLOUR, marker="o", markersize=3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=words(key))
    return sheet.svg


def words(key: str) -> str:
    """The name of a figure as people write it."""
    return key.replace("_", " ").replace("auroc", "AUROC")


def _span(distances: Floats, limit: float) -> tuple[float, float]:
    """Return the range of distances, with the limit and a little room."""
    low, high = min(float(distances.min()), limit), max(float(distances.max()), limit)
    room = 0.02 * (high - low) or 0.5
    return low - room, high + room


def _bins(low: float, high: float) -> Floats:
    if high <= LOG_FROM:
        return np.linspace(low, high, 41)
    return np.concatenate([np.linspace(low, EVEN_TO, 21), np.geomspace(EVEN_TO, high, 21)[1:]])


def _distance_axis(axes: Axes, low: float, high: float) -> None:
    """Label the axis; beyond EVEN_TO it is logarithmic where distances span more than LOG_FROM."""
    axes.set(xlim=(low, high), xlabel="distance from good" + (" (logarithmic)" if high > LOG_FROM else ""))
    if high > LOG_FROM:
        axes.set_xscale("symlog", linthresh=EVEN_TO)
        axes.xaxis.set_major_formatter(ScalarFormatter())


def _shipped(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=INK, markersize=6, label="as shipped", clip_on=False)
