"""The report of a training run as one HTML page: the figures of each section, and the template that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge.core.types import Limits
from edge.inference.bundle import INT8_IR, Threshold
from edge.inference.detector import Detector
from train.data.dataset import GOOD, Sample, read_dataset
from train.measure.metrics import Interval
from train.measure.results import rows
from train.measure.threshold import limits_of, promise
from train.network.saved import load_network
from train.report import charts
from train.report.opinions import opinion_panels
from train.report.origin import origin
from train.report.pictures import Entry, Panel, best_catches, contact_sheet, panels, worst_escapes, worst_overkill
from train.run import FitReport, Run


def write_report(work: Run, facts: dict[str, Any], path: Path) -> None:
    """Write the page of an evaluated run; facts: evaluate.json."""
    run = work.fit_report()
    found = (
        templates()
        .get_template("page.html")
        .render(
            name=work.folder.resolve().name,
            summary=_summary(work, facts),
            distances=distances(facts),
            types=_types(facts),
            pictures=_pictures(work, run, facts),
            opinions=_opinions(work, run, facts),
            places=facts["int8"]["places"],
            pixel=facts["int8"]["pixel"],
            measures=_measures(facts),
            probability=_probability(work, facts),
            cpu_tier=facts["cpu_tier"],
            origin=origin(work, run, facts),
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found, encoding="utf-8")


def templates() -> Environment:
    """Return the templates of this room; a name that nobody gave is an error."""
    return Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)


def percentage(share: float) -> str:
    """Return a share as people read it, e.g. `97.9 %`."""
    return f"{100 * share:.1f} %"


def _range(facts: dict[str, float]) -> str:
    return f"95 % confidence: {100 * facts['low']:.1f} to {100 * facts['high']:.1f} %"


def with_interval(found: Interval) -> str:
    """Return a measure with its 95 % interval in brackets."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _summary(work: Run, facts: dict[str, Any]) -> dict[str, Any]:
    int8, limits = facts["int8"], facts["int8"]["intervals"]
    n_good, n_bad, at = facts["n_good"], facts["n_defective"], int8["at_threshold"]
    threshold = Threshold.model_validate(work.read_report("calibration.json", "calibrate")["threshold"])
    least = sorted(int8["per_type"].items(), key=lambda item: item[1]["intervals"]["found"]["value"])
    missed = [
        f"{name} ({f['found_at_threshold']} of {f['n']})" for name, f in least if f["found_at_threshold"] < f["n"]
    ]
    found = n_bad - at["escapes"]
    words = (
        f"As shipped, it finds {found} of {n_bad} defective test images and passes {n_good - at['overkill']} of "
        f"{n_good} good ones. None of these images was used in training or to set the threshold. "
        + (f"Found least: {', '.join(missed[:3])}." if missed else "No type of defect escapes.")
    )
    auroc = limits["image"]["auroc"]
    cards = [
        (percentage(limits["sensitivity"]["value"]), "of defective parts found", _range(limits["sensitivity"])),
        (percentage(limits["specificity"]["value"]), "of good parts passed", _range(limits["specificity"])),
        (f"{auroc['value']:.3f}", "image AUROC", f"95 % confidence: {auroc['low']:.3f} to {auroc['high']:.3f}"),
        (f"{int8['infer_ms_p50']:.1f} ms", "inference, median", f"{facts['cpu_tier']}, INT8"),
    ]
    images = (
        f"{facts['data']}: {n_good} good and {n_bad} defective test images of {facts['parts_good']} and "
        f"{facts['parts_defective']} parts, judged by the INT8 model that ships, through the station's own code"
    )
    calibration, run = work.read_report("calibration.json", "calibrate"), work.fit_report()
    kind = "good parts, each scored as if the bank had never seen it" if run.cross else "held-out good parts"
    of_threshold = f"Threshold {threshold.value:.4g}, from {threshold.n} {kind}: {promise(threshold)}."
    if calibration.get("outliers"):
        of_threshold += (
            f" With the good images far beyond the rest it would be "
            f"{calibration.get('with_outliers', threshold.value):.4g}; they are shown below."
        )
    return {"images": images, "found": words, "cards": cards, "threshold": of_threshold}


def _arrays(facts: dict[str, Any]) -> tuple[Any, Any, list[str]]:
    labels = [image["label"] for image in facts["images"]]
    distances = np.array([image["distance"] for image in facts["images"]])
    return distances, np.array([x != GOOD for x in labels]), labels


def distances(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the charts of all parts, each with its caption."""
    far, bad, _ = _arrays(facts)
    return [
        (charts.histogram(far, bad, 1.0), "Right of the dashed line a part is rejected."),
        (charts.roc(far, bad, 1.0), "ROC: what finding more defective parts costs in good ones."),
        (charts.precision_recall(far, bad, 1.0), "Precision and recall at this set's share of defects."),
    ]


def _types(facts: dict[str, Any]) -> dict[str, Any]:
    far, _, labels = _arrays(facts)
    shown = []
    for name, found in facts["int8"]["per_type"].items():
        share, auroc = (Interval(**found["intervals"][key]) for key in ("found", "auroc"))
        caught = f"{found['found_at_threshold']} of {found['n']}"
        right = "–" if found["named_right"] is None else f"{found['named_right']} of {found['found_at_threshold']}"
        sure = f"{100 * share.low:.0f} to {100 * share.high:.0f} %"
        shown.append([name, caught, sure, with_interval(auroc), right])
    return {"rows": shown, "dots": charts.by_type(far, labels, GOOD, 1.0)}


def _pictures(work: Run, run: FitReport, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return escapes, overkill and catches as pictures; None where the images are not those of the run."""
    if run.data.name != facts["data"] or not run.data.is_dir():
        return None
    dataset = read_dataset(run.data)
    samples = {sample.path.relative_to(dataset.root).as_posix(): sample for sample in dataset.test}
    images = [image for image in facts["images"] if image["file"] in samples]
    place = work.map_geometry()
    model, boxes = work.need(INT8_IR, "quantize"), work.box_facts()
    detector = Detector(model, run.input, types=run.types, geometry=place, boxes=boxes)
    limits = limits_of(work.read_report("calibration.json", "calibrate"))
    groups = [_outlying(work, run, detector, limits), *mistakes(detector, samples, images, limits)]
    bad = [(samples[image["file"]], image) for image in images if image["label"] != GOOD]
    return {"groups": groups, "sheet": contact_sheet(detector, bad, limits), "defective": len(bad)}


def _opinions(work: Run, run: FitReport, facts: dict[str, Any]) -> list[Panel]:
    """Return what the opinions said of some parts; none without heads, or where the images are not those of the run.

    A detector of boxes has one opinion.
    """
    if run.boxes or not run.defect_images or run.data.name != facts["data"] or not run.data.is_dir():
        return []
    return opinion_panels(load_network(work), run.input, run.data, facts["images"], facts["threshold"])


def mistakes(
    detector: Detector, samples: Mapping[str, Sample], images: Sequence[Entry], limits: Limits
) -> list[tuple[str, str, list[Panel]]]:
    """Return the worst escapes, the worst overkill and the best catches, each group with its title and pictures."""
    groups = []
    for title, none, chosen in (
        ("Worst escapes: defective, judged OK", "None: every defective test part is found.", worst_escapes),
        ("Worst overkill: good, judged NG", "None: every good test part passes.", worst_overkill),
        ("Best catches: defective, judged NG", "None.", best_catches),
    ):
        found = [(samples[image["file"]], image) for image in chosen(images, limits.threshold)]
        groups.append((title, none, panels(detector, found, limits)))
    return groups


def _outlying(work: Run, run: FitReport, detector: Detector, limits: Limits) -> tuple[str, str, list[Panel]]:
    """Return the good images that score far beyond the rest, each with what the threshold would be without it."""
    calibration = work.read_report("calibration.json", "calibrate")
    shown = []
    for name, without in calibration.get("outliers", {}).items():
        score = calibration["holdout"][name]
        panel = panels(detector, [(Sample(run.data / name, GOOD, None), {"file": name, "score": score})], limits)[0]
        then = "none could be set" if without is None else f"it would be {without:.4g}"
        words = f"It scores {score:.4g}; the threshold is {limits.threshold:.4g}, without this image {then}. "
        shown.append(replace(panel, words=words + panel.words))
    return "Good, but far beyond the rest: look for a fibre, damage or a wrong name", "None.", shown


def _measures(facts: dict[str, Any]) -> list[list[str]]:
    return [
        [words, with_interval(int8), f"{fp32.value:.3f}"]
        for (words, int8), (_, fp32) in zip(rows(facts, "int8"), rows(facts, "fp32"), strict=True)
    ]


def _probability(work: Run, facts: dict[str, Any]) -> dict[str, Any]:
    calibration = work.read_report("calibration.json", "calibrate")["calibration"]
    found = facts["reliability"]
    if calibration["method"] == "platt":
        words = (
            f"Fitted to {calibration['n']} labelled parts that training did not see, {calibration['defective']:.0%} of "
            f"them defective; moved here to the {facts['n_defective'] / found['n']:.0%} of this test set."
        )
    else:
        words = (
            "No labelled defect was kept to fit it to: it orders parts and reads 50 % at the threshold, "
            "but it is not a frequency, and is not expected to lie on the diagonal."
        )
    shown = {key: found[key] for key in ("brier", "ece", "n")}
    return {"words": words, "plot": charts.reliability_plot(found), **shown}
