"""The technical report of a bundle as one HTML page: data, method, training, measures, INT8, latency, failures, limits.

Every figure of the page stands in the JSON file beside it, which the page is drawn from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.inference.bundle import Bundle
from edge.inference.detector import Detector
from train.data.dataset import Dataset
from train.measure.metrics import Interval
from train.measure.results import rows
from train.report.origin import cell, training_curves
from train.report.sections import distances, mistakes, percentage, templates, with_interval

Facts = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]  # header, empty for pairs, and rows


def write_technical(bundle: Bundle, dataset: Dataset | None, facts: dict[str, Any], path: Path) -> Path:
    """Write the page and, under the page's name with the suffix .json, every figure of it; returns the JSON file.

    facts: of train.report.technical.technical_facts; dataset: the photos that were measured, for the pictures. With
    None the page says that it has none.
    """
    beside = path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    read = json.loads(beside.read_text(encoding="utf-8"))
    found = (
        templates()
        .get_template("technical.html")
        .render(
            facts=read,
            beside=beside.name,
            cards=_cards(read),
            tables={
                "data": _data(read),
                "method": _method(read),
                "recipe": _pairs(read["training"].get("recipe", {})),
                "versions": _pairs(read["training"].get("versions", {}) | {"commit": read["bundle"]["git_commit"]}),
                "measures": _measures(read["measured"]),
                "types": _types(read["measured"]),
                "boxes": _boxes(read["measured"].get("boxes")),
                "trials": _trials((read["quantize"] or {}).get("trials", [])),
                "parity": _pairs((read["quantize"] or {}).get("parity", {})),
                "bytes": ([], [[name, str(count)] for name, count in read["bundle"]["bytes"].items()]),
                "latency": _latency(read["latency"]),
            },
            distances=distances(read),
            epochs=training_curves(read["training"]["epochs"] or []),
            groups=None if dataset is None else _pictures(bundle, dataset, read),
            limits=[_limit(one) for one in read["limits"]],
        )
    )
    path.write_text(found, encoding="utf-8")
    return beside


def _cards(facts: Facts) -> list[tuple[str, str, str]]:
    limits = facts["measured"]["int8"]["intervals"]
    auroc = Interval(**limits["image"]["auroc"])
    cards = [
        (percentage(limits["sensitivity"]["value"]), "of defective parts found", _sure(limits["sensitivity"])),
        (percentage(limits["specificity"]["value"]), "of good parts passed", _sure(limits["specificity"])),
        (f"{auroc.value:.3f}", "image AUROC", f"95 % confidence: {auroc.low:.3f} to {auroc.high:.3f}"),
    ]
    if boxes := facts["measured"].get("boxes"):
        words = f"{boxes['int8']['boxes']} boxes on {boxes['int8']['photos']} photos"
        cards.append((f"{boxes['int8']['map_50']:.3f}", "mAP of the boxes at overlap .5", words))
    if facts["latency"]:
        ships = facts["latency"]["results"][0]
        words = f"{ships['tier']}, {ships['runtime']}, {ships['precision'].upper()}"
        cards.append((f"{ships['fps']:.1f}", "parts a second, one at a time", words))
    return cards


def _sure(found: Facts) -> str:
    return f"95 % confidence: {100 * found['low']:.1f} to {100 * found['high']:.1f} %"


def _data(facts: Facts) -> Table:
    data, training = facts["data"], facts["training"]
    counts = {
        "good images learned from": training.get("fit_images"),
        "good images kept back for the threshold": training.get("holdout_images"),
        "labelled defects learned from": training.get("defect_images"),
        "images kept for validation": training.get("validation_images"),
        "test images": ", ".join(f"{count} {label}" for label, count in data["test"].items()),
        "test parts": f"{data['parts_good']} good, {data['parts_defective']} defective",
        "test images left out, for training used them or their parts": data["left_out"],
        "test images refused as on the line": data["refused"],
        "masks that mark nothing": data["empty_masks"],
        "data set of the training, sha256": data["sha256"],
    }
    return _pairs(counts)


def _method(facts: Facts) -> Table:
    method, threshold = facts["method"], facts["threshold"]
    crop, place, limits = method["crop"], method["map"], method["limits"]
    counted = f"{threshold['n']} good parts{', each scored without its own part' if method['cross'] else ''}"
    judged = {"threshold": threshold["value"], "set by": f"{counted}: {threshold['words']}"}
    if limits is not None:
        judged = {f"limit of {name}": limit for name, limit in limits.items()}
        judged["set by"] = f"{threshold['n']} held-out good parts: an estimate, no share is promised"
    return _pairs(
        {
            "input": f"{method['width']} × {method['height']} pixels",
            "inspected region": f"{crop['width']} × {crop['height']} pixels" if crop else "the whole photo",
            "cells of the map": f"{place['columns']} × {place['rows']}" if place else None,
            "types of defect told apart": ", ".join(method["types"]) or "none",
            **judged,
        }
    )


def _measures(measured: dict[str, Any]) -> Table:
    pairs = zip(rows(measured, "int8"), rows(measured, "fp32"), strict=True)
    shown = [[words, with_interval(int8), f"{fp32.value:.3f}"] for (words, int8), (_, fp32) in pairs]
    return ["", "INT8, as shipped [95 %]", "FP32"], shown


def _types(measured: Facts) -> Table:
    shown = []
    for name, found in measured["int8"]["per_type"].items():
        share, auroc = (Interval(**found["intervals"][key]) for key in ("found", "auroc"))
        caught = f"{found['found_at_threshold']} of {found['n']}"
        shown.append([name, caught, f"{100 * share.low:.0f} to {100 * share.high:.0f} %", with_interval(auroc)])
    return ["type of defect", "found", "95 %", "image AUROC [95 %]"], shown


def _boxes(measured: Facts | None) -> Table:
    """Return the average precision of the boxes by type; no rows where no box was measured."""
    header = ["boxes", "labelled", "AP .5, INT8", "AP .5, FP32", "AP .5 to .95, INT8", "AP .5 to .95, FP32"]
    if measured is None:
        return header, []
    int8, fp32 = measured["int8"], measured["fp32"]
    shown = [["all types (mAP)", int8["boxes"], *(one[key] for key in ("map_50", "map_50_95") for one in (int8, fp32))]]
    for name, found in int8["per_type"].items():
        pairs = [(found[key], fp32["per_type"][name][key]) for key in ("ap_50", "ap_50_95")]
        shown.append([name, found["boxes"], *(value for pair in pairs for value in pair)])
    return header, [[name, str(n), *("–" if v is None else f"{v:.3f}" for v in values)] for name, n, *values in shown]


def _trials(trials: Sequence[Facts]) -> Table:
    keys = list(dict.fromkeys(key for trial in trials for key in trial))
    return [key.replace("_", " ") for key in keys], [[cell(trial.get(key)) for key in keys] for trial in trials]


def _latency(latency: Facts | None) -> Table:
    header = ["tier", "runtime", "", "model p50", "total p50", "total p95", "total p99", "parts a second", "n"]
    shown = []
    for one in latency["results"] if latency else ():
        total = one["stages"]["trigger to verdict"]
        times = [one["stages"]["judge"]["p50"], *(total[share] for share in ("p50", "p95", "p99")), one["fps"]]
        first = [one["tier"], one["runtime"], one["precision"].upper()]
        shown.append([*first, *(f"{time:.1f}" for time in times), str(one["n"])])
    return header, shown


def _pairs(found: Facts) -> Table:
    return [], [[key.replace("_", " "), cell(value)] for key, value in found.items()]


def _limit(one: Facts) -> str:
    """Return one thing that the report does not show, in words."""
    return {
        "few": "Only {n} {what} parts were measured, fewer than {of}: the intervals are wide.",
        "estimate": "The threshold comes from {n} good parts, too few for a guarantee. It is an estimate.",
        "missed": "{n} of {of} test images of the type {what} escape.",
        "limits": "The limits come from {n} good parts. What share of good parts they reject is an estimate.",
        "unboxed": "The photos have no labelled boxes, so nobody measured where the boxes lie.",
        "unmarked": "No test image has a mask, so nobody measured where the map points.",
        "int8": "INT8 costs more accuracy than training allows.",
        "unmeasured": "No benchmark was given, so the latency of a station is not known.",
        "tiers": "This CPU lacks these tiers, so their latency was not measured: {what}.",
    }[one["kind"]].format_map(one)


def _pictures(bundle: Bundle, dataset: Dataset, facts: Facts) -> list[Any]:
    samples = {sample.path.relative_to(dataset.root).as_posix(): sample for sample in dataset.test}
    images = [image for image in facts["images"] if image["file"] in samples]
    return mistakes(Detector.from_bundle(bundle), samples, images, bundle.manifest.limits)
