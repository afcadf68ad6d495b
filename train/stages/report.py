"""Stage report: evaluate.json and the images behind it -> one HTML file that needs nothing else."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.cli import OneLineParser
from edge.inference.bundle import INT8_IR, Threshold
from edge.inference.detector import Detector
from train.data.dataset import GOOD, read_dataset
from train.measure.metrics import Interval
from train.measure.results import rows
from train.measure.threshold import limits_of, promise
from train.report import charts
from train.report.origin import origin
from train.report.page import card, chart, definitions, document, table
from train.report.pictures import best_catches, contact_sheet, panels, worst_escapes, worst_overkill
from train.run import FitReport, Run
from train.stages import StageError

SCALE = (
    '<div class="scale"><i></i><div><span>like good parts</span><span>far from good</span></div>'
    "The heatmap's colours, the same for every part. Places that look like good parts are not painted. "
    "Outlines show what made a part NG; a part that is OK has none. "
    "Each row shows the photo, the heatmap and, where somebody drew one, the mask.</div>"
)
WORDS = (
    ("Escape, overkill", "A defective part judged OK; a good part judged NG."),
    (
        "Distance from good",
        "How far a part is from good ones: 0 is a typical good part, and from 1, the limit, on a part is NG. "
        "It is the model's score, counted from a typical good part in units of the way to the threshold.",
    ),
    ("[low, high]", "95 % confidence interval: how far chance in the choice of test images may have moved the figure."),
    ("AUROC", "The chance that a defective part scores above a good one. No threshold is involved; 0.5 is guessing."),
    ("FPR, recall", "The share of good parts rejected; the share of defective parts found."),
    ("F1-max, average precision", "How well precision and recall go together: at the best threshold, and over all."),
    ("AU-PRO", "How much of each single defect the map covers, large or small, at up to 30 % of good pixels marked."),
    ("IoU, Dice", "Overlap of the marked area and the drawn mask; all defective images with a mask taken together."),
    ("Brier score, ECE", "Mean squared error of the stated probability; its mean distance from what really happened."),
)


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train report", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--out", type=Path, help="the page; default report.html in the run's folder")
    args = parser.parse_args(argv)
    report(Run(args.work), args.out)


def report(work: Run, out: Path | None = None) -> Path:
    """Write the page for a process engineer; raises RunError or StageError when the run was not evaluated."""
    facts = work.read_report("evaluate.json", "evaluate")
    if "parts_good" not in facts or "typical" not in facts:
        raise StageError(f"{work.file('evaluate.json')}: is of another version; run `python -m train evaluate` again")
    if facts["threshold"] != work.read_report("calibration.json", "calibrate")["threshold"]["value"]:
        raise StageError(
            f"{work.file('evaluate.json')}: is of another threshold than calibration.json; "
            "run `python -m train evaluate` again"
        )
    run = work.fit_report()
    name = work.folder.resolve().name
    path = out or work.file("report.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = [
        f"<h1>{html.escape(name)}: how well it inspects</h1>",
        *_summary(work, facts),
        _scores(facts),
        _types(facts),
        _pictures(work, run, facts),
        _measures(facts),
        _probability(work, facts),
        *origin(work, run, facts),
        f"<h2>What the words mean</h2>{definitions(WORDS)}",
    ]
    path.write_text(document(f"Linewatch report: {name}", sections), encoding="utf-8")
    print(f"report: {path}")
    return path


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _range(facts: dict[str, float]) -> str:
    return f"95 % confidence: {100 * facts['low']:.1f} to {100 * facts['high']:.1f} %"


def _with_interval(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _summary(work: Run, facts: dict[str, Any]) -> list[str]:
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
        card(_percent(limits["sensitivity"]["value"]), "of defective parts found", _range(limits["sensitivity"])),
        card(_percent(limits["specificity"]["value"]), "of good parts passed", _range(limits["specificity"])),
        card(f"{auroc['value']:.3f}", "image AUROC", f"95 % confidence: {auroc['low']:.3f} to {auroc['high']:.3f}"),
        card(f"{int8['infer_ms_p50']:.1f} ms", "inference, median", f"{facts['cpu_tier']}, INT8"),
    ]
    return [
        f'<p class="soft">{html.escape(facts["data"])}: {n_good} good and {n_bad} defective test images of '
        f"{facts['parts_good']} and {facts['parts_defective']} parts, judged by the "
        f'INT8 model that ships, through the station\'s own code</p><p class="lead">{html.escape(words)}</p>',
        f'<div class="cards">{"".join(cards)}</div>',
        f"<p>Threshold {threshold.value:.4g}, from {threshold.n} held-out good parts: "
        f"{html.escape(promise(threshold))}.</p>",
    ]


def _arrays(facts: dict[str, Any]) -> tuple[Any, Any, list[str]]:
    labels = [image["label"] for image in facts["images"]]
    distances = np.array([image["distance"] for image in facts["images"]])
    return distances, np.array([x != GOOD for x in labels]), labels


def _scores(facts: dict[str, Any]) -> str:
    distances, bad, _ = _arrays(facts)
    drawn = [
        chart(charts.histogram(distances, bad, 1.0), "Right of the dashed line a part is rejected."),
        chart(charts.roc(distances, bad, 1.0), "ROC: what finding more defective parts costs in good ones."),
        chart(charts.precision_recall(distances, bad, 1.0), "Precision and recall at this set's share of defects."),
    ]
    return f'<h2>Distances and the limit</h2><div class="charts">{"".join(drawn)}</div>'


def _types(facts: dict[str, Any]) -> str:
    distances, _, labels = _arrays(facts)
    shown = []
    for name, found in facts["int8"]["per_type"].items():
        share, auroc = (Interval(**found["intervals"][key]) for key in ("found", "auroc"))
        caught = f"{found['found_at_threshold']} of {found['n']}"
        right = "–" if found["named_right"] is None else f"{found['named_right']} of {found['found_at_threshold']}"
        sure = f"{100 * share.low:.0f} to {100 * share.high:.0f} %"
        shown.append([name, caught, sure, _with_interval(auroc), right])
    dots = charts.by_type(distances, labels, GOOD, 1.0)
    counts = table(["type", "found", "95 %", "image AUROC [95 %]", "named right"], shown)
    picture = chart(dots, "Each dot is a part; right of the dashed line it is rejected.")
    return f'<h2>Types of defect</h2><div class="pair"><div>{counts}</div>{picture}</div>'


def _pictures(work: Run, run: FitReport, facts: dict[str, Any]) -> str:
    """Escapes, overkill and catches as pictures; only words where the images are not those of the run."""
    if run.data.name != facts["data"] or not run.data.is_dir():
        return "<h2>Pictures</h2><p>The images were measured from another folder; no pictures here.</p>"
    dataset = read_dataset(run.data)
    samples = {sample.path.relative_to(dataset.root).as_posix(): sample for sample in dataset.test}
    images = [image for image in facts["images"] if image["file"] in samples]
    place = work.map_geometry()
    detector = Detector(work.need(INT8_IR, "quantize"), run.input, types=run.types, geometry=place)
    limits = limits_of(work.read_report("calibration.json", "calibrate"))
    parts = [f"<h2>Pictures</h2>{SCALE}"]
    for title, none, chosen in (
        ("Worst escapes: defective, judged OK", "None: every defective test part is found.", worst_escapes),
        ("Worst overkill: good, judged NG", "None: every good test part passes.", worst_overkill),
        ("Best catches: defective, judged NG", "None.", best_catches),
    ):
        found = [(samples[image["file"]], image) for image in chosen(images, facts["threshold"])]
        shown = panels(detector, found, limits) if found else f"<p>{none}</p>"
        parts.append(f"<h3>{title}</h3>{shown}")
    bad = [(samples[image["file"]], image) for image in images if image["label"] != GOOD]
    sheet = contact_sheet(detector, bad, limits)
    parts.append(f"<details><summary><h3>Every defective part</h3></summary>{_places(facts)}{sheet}</details>")
    return "".join(parts)


def _places(facts: dict[str, Any]) -> str:
    places = facts["int8"]["places"]
    if not places["found"]:
        return ""
    return (
        f"<p>The map's hottest pixel lies on the mask in {places['hottest_on_mask']} of {places['found']} found "
        f"defects with a mask. The marked area is {places['median_area_ratio']:.1f} times the mask's (median).</p>"
    )


def _measures(facts: dict[str, Any]) -> str:
    shown = [
        [words, _with_interval(int8), f"{fp32.value:.3f}"]
        for (words, int8), (_, fp32) in zip(rows(facts, "int8"), rows(facts, "fp32"), strict=True)
    ]
    pixel = facts["int8"]["pixel"]
    words = (
        f"Pixel figures are over {pixel['images']} images, IoU and Dice over the {pixel['with_defects']} with a mask. "
        if pixel
        else "No pixel figures: no test image has a mask that marks anything. "
    )
    words += (
        "“Best” and “max” are at the threshold that suits this very set, and flatter; "
        "only the last rows are about the threshold that ships."
    )
    return f"<h2>All measures</h2><p>{words}</p>" + table(["", "INT8, as shipped [95 %]", "FP32"], shown)


def _probability(work: Run, facts: dict[str, Any]) -> str:
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
    plot = chart(charts.reliability_plot(found), "On the diagonal, as many parts are defective as was stated.")
    measured = f"Brier score {found['brier']:.3f}, expected calibration error {found['ece']:.3f}, n = {found['n']}."
    return f'<h2>The defect probability</h2><p>{words} {measured}</p><div class="charts">{plot}</div>'
