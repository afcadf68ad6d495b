"""The report's account of where a model comes from: its training, its quantiser, its speed, its data."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from train.report import charts
from train.run import HEADS, REGION, REGION_PICTURE, FitReport, Run


def origin(work: Run, run: FitReport, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the sections; those that have nothing to say are empty. facts: evaluate.json."""
    return {
        "training": _training(work),
        "trials": _trials(work),
        "over_limits": work.read_report("quantize.json", "quantize").get("within_limits") is False,
        "latency": _latency(facts),
        "region": _region(work),
        "data_card": _data_card(work, run, facts),
    }


def _region(work: Run) -> tuple[str, str] | None:
    """Return what is inspected in words, and the picture as a data: URL; None in a run that did not record it."""
    if not (work.file(REGION).is_file() and work.file(REGION_PICTURE).is_file()):
        return None
    data = base64.b64encode(work.file(REGION_PICTURE).read_bytes()).decode()
    return work.read_report(REGION, "fit")["words"], f"data:image/jpeg;base64,{data}"


def _training(work: Run) -> list[tuple[str, str]]:
    if not work.file(HEADS).is_file():
        return []
    return training_curves(work.read_report(HEADS, "fit").get("epochs") or [])


def training_curves(epochs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return a chart of each figure that the training recorded, with its caption."""
    keys = dict.fromkeys(key for epoch in epochs for key, value in epoch.items() if isinstance(value, int | float))
    return [
        (charts.training_curve(epochs, key), f"{charts.words(key)} after each epoch") for key in keys if key != "epoch"
    ]


def _trials(work: Run) -> tuple[list[str], list[list[str]]] | None:
    """Return the table of quantize.json, header and rows: one row an attempt of the quantiser."""
    trials = work.read_report("quantize.json", "quantize").get("trials") or []
    keys = list(dict.fromkeys(key for trial in trials for key in trial))
    return (
        ([k.replace("_", " ") for k in keys], [[cell(trial.get(key)) for key in keys] for trial in trials])
        if trials
        else None
    )


def cell(value: Any) -> str:
    """Return a figure as a table shows it."""
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _latency(facts: dict[str, Any]) -> list[list[str]]:
    return [
        [words, f"{facts[name]['infer_ms_p50']:.1f} ms", f"{facts[name]['infer_ms_p95']:.1f} ms"]
        for name, words in (("int8", "INT8, as shipped"), ("fp32", "FP32"))
    ]


def _data_card(work: Run, run: FitReport, facts: dict[str, Any]) -> list[list[str]]:
    quantised = work.read_report("quantize.json", "quantize")
    tested = Counter(image["label"] for image in facts["images"])
    reason = "used in training or calibration, or other photos of parts that were"
    left_out = f"{len(facts['left_out'])}, {reason}" if facts["left_out"] else "none"
    return [
        ["good, trained on", str(len(run.bank_images))],
        ["good, for the threshold", _for_threshold(run)],
        ["good, far beyond the rest, not in the bank", ", ".join(run.spared_images) or "none"],
        ["labelled defects trained on", _by_folder(run.defect_images)],
        ["kept for validation", _by_folder(run.validation_images)],
        ["test images", ", ".join(f"{count} {label}" for label, count in sorted(tested.items()))],
        ["test images left out", left_out],
        ["test images refused as on the line", str(len(facts["refused"]))],
        ["masks that mark nothing", str(len(facts["empty_masks"]))],
        ["data set, sha256", run.dataset_sha256],
        ["model's input", f"{run.input.width} x {run.input.height}"],
        ["backbone, memory bank", f"{run.recipe.backbone}, {run.bank_rows} x {run.feature_channels}"],
        ["convolutions in INT8", f"{quantised['convolutions']['int8']} of {quantised['convolutions']['all']}"],
        ["time to fit", f"{run.seconds:.0f} s"],
        ["seed, commit", f"{run.recipe.seed}, {run.git_commit}"],
        ["versions", ", ".join(f"{name} {found}" for name, found in run.versions.items())],
    ]


def _for_threshold(run: FitReport) -> str:
    return f"{len(run.limit_images)}, {'each scored without its own part' if run.cross else 'held out'}"


def _by_folder(names: tuple[str, ...]) -> str:
    """Return the number of images of each type, e.g. `10 crack, 4 good`."""
    counts = Counter(PurePosixPath(name).parent.name for name in names)
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items())) or "none"
