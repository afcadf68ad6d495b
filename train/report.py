"""Stage report: evaluate.json and the images behind it -> one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from edge.arguments import OneLineParser
from edge.bundle import INT8_IR
from edge.decision import overlay
from edge.detector import Detector
from edge.preprocess import inspected_box, load_image
from edge.types import Image
from train.data import GOOD, Dataset, Sample, load_mask, read_dataset
from train.work import Work

PANELS = 6  # images of each kind of mistake
PANEL_WIDTH = 300  # pixels
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .3rem .9rem; text-align: right }
th:first-child, td:first-child { text-align: left } thead { border-bottom: 2px solid #888 }
figure { display: inline-block; margin: .4rem } figcaption { font-size: 14px; max-width: 920px }
img, svg { max-width: 100%; height: auto } .facts td { text-align: left }
"""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train report", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--out", type=Path, help="the page; default report.html in the run's folder")
    args = parser.parse_args(argv)
    report(Work(args.work), args.out)


def report(work: Work, out: Path | None = None) -> Path:
    """Write the page for a process engineer; raises WorkError when the run was not evaluated."""
    facts = work.read_report("evaluate.json", "evaluate")
    path = out or work.file("report.html")
    sections = [
        f"<h1>{html.escape(work.folder.resolve().name)}: how well it inspects</h1>",
        _summary(facts),
        _plots(facts),
        _per_type(facts),
        _mistakes(work, facts),
        _data_card(work, facts),
    ]
    page = "\n".join(sections)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    title = html.escape(f"Linewatch report: {facts['data']}")
    path.write_text(
        f'<!doctype html><html lang="en"><head>{head}<title>{title}</title></head>\n<body>{page}</body></html>\n'
    )
    print(f"report: {path}")
    return path


def _summary(facts: dict[str, Any]) -> str:
    rows = []
    for name, words in (("int8", "INT8, what the station runs"), ("fp32", "FP32, for comparison")):
        image, pixel, at = facts[name]["image"], facts[name]["pixel"], facts[name]["at_threshold"]
        rows.append(
            [
                words,
                _with_interval(image["auroc"], facts[name]["intervals"]["auroc"]),
                f"{image['fpr_at_95_recall']:.3f}",
                f"{image['recall_at_2_fpr']:.3f}",
                f"{pixel['auroc']:.3f}" if pixel else "-",
                f"{pixel['au_pro']:.3f}" if pixel else "-",
                f"{at['escapes']} of {facts['n_defective']}",
                f"{at['overkill']} of {facts['n_good']}",
            ]
        )
    at = facts["int8"]["intervals"]
    words = (
        f"At the shipped threshold {facts['threshold']:.4g} the station finds "
        f"{_with_interval(at['sensitivity']['value'], at['sensitivity'])} of the defective parts and passes "
        f"{_with_interval(at['specificity']['value'], at['specificity'])} of the good ones "
        f"(in brackets: 95 % confidence, exact binomial; for AUROC from 1000 bootstrap samples). "
        f"{facts['n_good']} good and {facts['n_defective']} defective test images, none of them used in training."
    )
    head = [
        "",
        "image AUROC",
        "FPR at 95 % recall",
        "recall at 2 % FPR",
        "pixel AUROC",
        "AU-PRO",
        "escapes",
        "overkill",
    ]
    return f"<p>{words}</p>{_table(head, rows)}"


def _with_interval(value: float, interval: dict[str, float]) -> str:
    return f"{value:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    def cells(values: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values) + "</tr>"

    body = "".join(cells(row, "td") for row in rows)
    return f'<table class="{kind}"><thead>{cells(head, "th")}</thead><tbody>{body}</tbody></table>'


def _plots(facts: dict[str, Any]) -> str:
    scores = np.array([image["score"] for image in facts["images"]])
    bad = np.array([image["label"] != GOOD for image in facts["images"]])
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = np.linspace(scores.min(), scores.max(), 40).tolist()
    left.hist(
        [scores[~bad], scores[bad]], bins, stacked=True, color=["#3b6fb6", "#e08214"], label=["good", "defective"]
    )
    left.axvline(facts["threshold"], color="black", linestyle="--", label="threshold")
    left.set(xlabel="score", ylabel="test images", title="Scores")
    left.legend()
    fpr, recall, _ = roc_curve(bad, scores)
    right.plot(fpr, recall, color="#3b6fb6")
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    right.plot(
        [np.mean(scores[~bad] >= facts["threshold"])],
        [np.mean(scores[bad] >= facts["threshold"])],
        "ko",
        label="shipped",
    )
    right.set(
        xlabel="good parts rejected", ylabel="defective parts found", title="ROC", xlim=(-0.01, 1), ylim=(0, 1.01)
    )
    right.legend(loc="lower right")
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()[stream.getvalue().index("<svg") :]


def _per_type(facts: dict[str, Any]) -> str:
    rows = [
        [name, str(found["n"]), f"{found['auroc']:.3f}", f"{found['found_at_threshold']} of {found['n']}"]
        for name, found in facts["int8"]["per_type"].items()
    ]
    return "<h2>Types of defect</h2>" + _table(["type", "images", "image AUROC", "found at the threshold"], rows)


def _mistakes(work: Work, facts: dict[str, Any]) -> str:
    """The escapes with the lowest scores and the overkill with the highest: image, mask, heatmap."""
    run = work.fit_report()
    dataset = read_dataset(run.data)
    if dataset.root.name != facts["data"]:
        return "<p>The images were measured from another folder; no pictures here.</p>"
    threshold = facts["threshold"]
    samples = {_name(sample, dataset): sample for sample in dataset.test}
    ranked = sorted((image for image in facts["images"] if image["file"] in samples), key=lambda image: image["score"])
    escapes = [i for i in ranked if i["label"] != GOOD and i["score"] < threshold][:PANELS]
    overkill = [i for i in reversed(ranked) if i["label"] == GOOD and i["score"] >= threshold][:PANELS]
    detector = Detector(work.need(INT8_IR, "quantize"), run.input)
    parts = []
    for title, chosen in (
        ("Worst escapes: defective, judged OK", escapes),
        ("Worst overkill: good, judged NG", overkill),
    ):
        figures = "".join(_panel(detector, samples[i["file"]], i, threshold) for i in chosen)
        parts.append(f"<h2>{title}</h2>{figures or '<p>None.</p>'}")
    return "".join(parts)


def _name(sample: Sample, dataset: Dataset) -> str:
    return sample.path.relative_to(dataset.root).as_posix()


def _panel(detector: Detector, sample: Sample, image: dict[str, Any], threshold: float) -> str:
    frame = load_image(sample.path)
    box = inspected_box(frame.shape, detector.spec)
    heat = overlay(frame, detector.predict(frame).anomaly_map, threshold, box)
    marked = frame.copy()
    if sample.mask is not None:
        marked[load_mask(sample.mask, (frame.shape[0], frame.shape[1]))] = (20, 130, 224)
    row = np.hstack([_thumbnail(picture) for picture in (frame, marked, heat)])
    data = base64.b64encode(cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()).decode()
    words = html.escape(
        f"{image['file']}: score {image['score']:.4g}, threshold {threshold:.4g} (photo, mask, heatmap)"
    )
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def _thumbnail(image: Image) -> Image:
    height = max(1, round(image.shape[0] * PANEL_WIDTH / image.shape[1]))
    return np.asarray(cv2.resize(image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _data_card(work: Work, facts: dict[str, Any]) -> str:
    run = work.fit_report()
    quantised = work.read_report("quantize.json", "quantize")
    threshold = work.read_report("calibration.json", "calibrate")["threshold"]
    promise = f"at most {threshold['bound']:.2%}" if threshold["bound"] else "none: too few held-out goods for one"
    rows = [
        [
            "photos",
            f"{len(run.fit_images)} good to train on, {len(run.holdout_images)} good held out for the threshold",
        ],
        ["data set sha256", run.dataset_sha256],
        ["input", f"{run.input.width}x{run.input.height}"],
        ["backbone, memory bank", f"{run.recipe.backbone}, {run.bank_rows} x {run.feature_channels}"],
        ["threshold", f"{threshold['method']}, n = {threshold['n']}, wanted false rejects {threshold['alpha']:.1%}"],
        ["guaranteed false rejects", promise],
        ["convolutions in INT8", f"{quantised['convolutions']['int8']} of {quantised['convolutions']['all']}"],
        ["inference, p50", f"{facts['int8']['infer_ms_p50']:.1f} ms on {facts['cpu_tier']}"],
        ["seed, commit", f"{run.recipe.seed}, {run.git_commit}"],
        ["versions", ", ".join(f"{name} {found}" for name, found in run.versions.items())],
    ]
    return "<h2>Data card</h2>" + _table(["", ""], rows, "facts")
