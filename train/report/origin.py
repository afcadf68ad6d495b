"""The report's account of where a model comes from: its training, its quantiser, its speed, its data."""

from __future__ import annotations

import html
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from train.report import charts
from train.report.page import chart, table
from train.run import HEADS, FitReport, Run


def origin(work: Run, run: FitReport, facts: dict[str, Any]) -> list[str]:
    """Return the sections as HTML; those that have nothing to say are empty. facts: evaluate.json."""
    return [_training(work), _quantiser(work), _latency(facts), _data_card(work, run, facts)]


def _training(work: Run) -> str:
    if not work.file(HEADS).is_file():
        return ""
    epochs = work.read_report(HEADS, "fit").get("epochs") or []
    keys = dict.fromkeys(key for epoch in epochs for key, value in epoch.items() if isinstance(value, int | float))
    drawn = [
        chart(charts.training_curve(epochs, key), f"{charts.words(key)} after each epoch")
        for key in keys
        if key != "epoch"
    ]
    return f'<h2>Training</h2><div class="charts">{"".join(drawn)}</div>' if drawn else ""


def _quantiser(work: Run) -> str:
    """Return the table of quantize.json: one row an attempt of the quantiser."""
    trials = work.read_report("quantize.json", "quantize").get("trials") or []
    keys = list(dict.fromkeys(key for trial in trials for key in trial))
    shown = [[_cell(trial.get(key)) for key in keys] for trial in trials]
    return "<h2>What the quantiser tried</h2>" + table([k.replace("_", " ") for k in keys], shown) if trials else ""


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _latency(facts: dict[str, Any]) -> str:
    shown = [
        [words, f"{facts[name]['infer_ms_p50']:.1f} ms", f"{facts[name]['infer_ms_p95']:.1f} ms"]
        for name, words in (("int8", "INT8, as shipped"), ("fp32", "FP32"))
    ]
    return (
        f"<h2>Inference time</h2><p>Batch 1 on {html.escape(facts['cpu_tier'])}, while the test images were judged. "
        "What a station takes from trigger to verdict, <code>edge bench</code> measures on the device.</p>"
        + table(["", "median", "95 % below"], shown)
    )


def _data_card(work: Run, run: FitReport, facts: dict[str, Any]) -> str:
    quantised = work.read_report("quantize.json", "quantize")
    tested = Counter(image["label"] for image in facts["images"])
    reason = "used in training or calibration, or other photos of parts that were"
    left_out = f"{len(facts['left_out'])}, {reason}" if facts["left_out"] else "none"
    shown = [
        ["good, trained on", str(len(run.fit_images))],
        ["good, held out for the threshold", str(len(run.holdout_images))],
        ["labelled defects trained on", _by_folder(run.defect_images)],
        ["kept for validation", _by_folder(run.validation_images)],
        ["test images", ", ".join(f"{count} {label}" for label, count in sorted(tested.items()))],
        ["test images left out", left_out],
        ["masks that mark nothing", str(len(facts["empty_masks"]))],
        ["data set, sha256", run.dataset_sha256],
        ["model's input", f"{run.input.width} x {run.input.height}"],
        ["backbone, memory bank", f"{run.recipe.backbone}, {run.bank_rows} x {run.feature_channels}"],
        ["convolutions in INT8", f"{quantised['convolutions']['int8']} of {quantised['convolutions']['all']}"],
        ["time to fit", f"{run.seconds:.0f} s"],
        ["seed, commit", f"{run.recipe.seed}, {run.git_commit}"],
        ["versions", ", ".join(f"{name} {found}" for name, found in run.versions.items())],
    ]
    return "<h2>Data card</h2>" + table(["", ""], shown, "facts")


def _by_folder(names: tuple[str, ...]) -> str:
    """Return the number of images of each type, e.g. `10 crack, 4 good`."""
    counts = Counter(PurePosixPath(name).parent.name for name in names)
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items())) or "none"
