"""What a model answered on test images -> every measure with its 95 % interval, as JSON types and as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge.core.types import AnomalyMap, Limits
from edge.inference.decision import mark
from train.data.dataset import GOOD, Sample, load_mask
from train.measure.metrics import Interval, image_intervals, image_metrics, part_share_interval
from train.measure.pixels import Mask, count_pixels, enlarged, pixel_intervals, pixel_metrics

# key in evaluate.json -> what the field calls it
IMAGE_WORDS = {
    "auroc": "image AUROC",
    "average_precision": "average precision",
    "f1_max": "F1-max",
    "fpr_at_95_recall": "FPR at 95 % recall",
    "recall_at_2_fpr": "recall at 2 % FPR",
}
PIXEL_WORDS = {
    "auroc": "pixel AUROC",
    "average_precision": "pixel AP",
    "au_pro": "AU-PRO",
    "best_iou": "best IoU",
    "best_dice": "best Dice",
    "iou_marked": "IoU of what is marked",
}
VERDICT_WORDS = {"sensitivity": "sensitivity at the threshold", "specificity": "specificity at the threshold"}


@dataclass(frozen=True, slots=True)
class Result:
    """The detector's answer to one test image."""

    sample: Sample
    part: str  # the physical part it shows
    shape: tuple[int, int]  # (height, width) of the image, before anything was cut or resized
    box: tuple[int, int, int, int]
    score: float
    anomaly_map: AnomalyMap
    infer_ms: float
    defect_type: str  # what the model takes it for if it is defective; empty where it tells no types apart

    def marked(self, limits: Limits) -> Mask:
        """Return what the station marks on it, (h, w): nothing unless it is NG."""
        if self.score < limits.threshold:
            return np.zeros(self.anomaly_map.shape, np.bool_)
        return mark(self.anomaly_map, limits) > 0


def measures(results: list[Result], limits: Limits) -> dict[str, Any]:
    """Every measure of one model as JSON types; both kinds of parts must be among the results."""
    scores = [result.score for result in results]
    defective = [result.sample.label != GOOD for result in results]
    parts = [result.part for result in results]
    types = sorted({result.sample.label for result in results} - {GOOD})
    times = [result.infer_ms for result in results]
    threshold = limits.threshold
    marks = [result.marked(limits) for result in results]
    pixel, pixel_limits = _pixel_measures(results, marks)
    return {
        "image": asdict(image_metrics(scores, defective)),
        "pixel": pixel,
        "places": _places(results, marks, threshold),
        "intervals": {
            "image": {name: asdict(found) for name, found in image_intervals(scores, defective, parts).items()},
            "pixel": pixel_limits,
            "sensitivity": asdict(_caught(results, threshold, good=False)),
            "specificity": asdict(_caught(results, threshold, good=True)),
        },
        "per_type": {name: _per_type(results, name, threshold) for name in types},
        "at_threshold": {
            "escapes": sum(bad and score < threshold for score, bad in zip(scores, defective, strict=True)),
            "overkill": sum(not bad and score >= threshold for score, bad in zip(scores, defective, strict=True)),
        },
        "infer_ms_p50": float(np.median(times)),
        "infer_ms_p95": float(np.quantile(times, 0.95)),
    }


def _pixel_measures(results: list[Result], marks: list[Mask]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    placed = [
        (result, mask, marked)
        for result, marked in zip(results, marks, strict=True)
        if (mask := _mask(result)) is not None
    ]
    images = ((result.anomaly_map, mask, marked) for result, mask, marked in placed)
    counts = count_pixels(images, [result.anomaly_map for result in results])
    if counts is None:
        return None, None
    facts = asdict(pixel_metrics(counts)) | {
        "images": len(counts.defective),
        "with_defects": int(counts.defective.sum()),
    }
    parts = [result.part for result, *_ in placed]
    return facts, {name: asdict(found) for name, found in pixel_intervals(counts, parts).items()}


def _places(results: list[Result], marks: list[Mask], threshold: float) -> dict[str, Any]:
    """Count the found defects whose mask the hottest pixel hits; compare mark and mask in size."""
    found = [
        (one, mask, marked)
        for one, marked in zip(results, marks, strict=True)
        if one.score >= threshold and (mask := _mask(one)) is not None and mask.any()
    ]
    ratios = [enlarged(marked, mask.shape).sum() / mask.sum() for _, mask, marked in found]
    return {
        "found": len(found),
        "hottest_on_mask": sum(hottest_on(one.anomaly_map, mask) for one, mask, _ in found),
        "median_area_ratio": float(np.median(ratios)) if ratios else None,  # marked pixels a mask's pixel
    }


def hottest_on(anomaly_map: AnomalyMap, mask: Mask) -> bool:
    """Say whether the highest value of an (h, w) map lies on an (H, W) mask."""
    at = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
    y, x = (int((at[axis] + 0.5) * mask.shape[axis] / anomaly_map.shape[axis]) for axis in (0, 1))
    return bool(mask[y, x])


def _caught(results: list[Result], threshold: float, good: bool) -> Interval:
    """Share of the good parts judged OK, or of the defective ones judged NG."""
    chosen = [result for result in results if (result.sample.label == GOOD) == good]
    return part_share_interval([(one.score < threshold) == good for one in chosen], [one.part for one in chosen])


def _per_type(results: list[Result], name: str, threshold: float) -> dict[str, Any]:
    """One type of defect against all good parts."""
    chosen = [result for result in results if result.sample.label in (GOOD, name)]
    bad = [result for result in chosen if result.sample.label == name]
    found = [result.score >= threshold for result in bad]
    auroc = image_intervals(
        [r.score for r in chosen], [r.sample.label == name for r in chosen], [r.part for r in chosen]
    )["auroc"]
    named = [result.defect_type for result, caught in zip(bad, found, strict=True) if caught]
    return {
        "n": len(found),
        "auroc": auroc.value,
        "found_at_threshold": sum(found),
        "named_right": named.count(name) if any(named) else None,  # of those found
        "intervals": {"auroc": asdict(auroc), "found": asdict(part_share_interval(found, [r.part for r in bad]))},
    }


def _mask(result: Result) -> Mask | None:
    """The mask of what can be judged by place: a good part's is empty, a defective one's must mark something."""
    x, y, width, height = result.box
    if result.sample.label == GOOD:
        return np.zeros((height, width), dtype=np.bool_)
    if result.sample.mask is None:
        return None
    mask = load_mask(result.sample.mask, result.shape)[y : y + height, x : x + width]
    return mask if mask.any() else None


def rows(facts: dict[str, Any], name: str) -> Iterator[tuple[str, Interval]]:
    """Every measure of one precision of evaluate.json, in words and with its interval; pixels only where there are."""
    limits = facts[name]["intervals"]
    for kind, words in (("image", IMAGE_WORDS), ("pixel", PIXEL_WORDS)):
        if limits[kind] is not None:
            yield from ((label, Interval(**limits[kind][key])) for key, label in words.items())
    yield from ((label, Interval(**limits[key])) for key, label in VERDICT_WORDS.items())


def table(facts: dict[str, Any]) -> str:
    """The figures for a person at a terminal."""
    lines = [f"evaluate: {facts['data']}, {facts['n_good']} good and {facts['n_defective']} defective test images"]
    if (facts["parts_good"], facts["parts_defective"]) != (facts["n_good"], facts["n_defective"]):
        lines.append(f"  of {facts['parts_good']} good and {facts['parts_defective']} defective parts")
    if facts["left_out"]:
        lines.append(f"  {len(facts['left_out'])} test images left out: training used them or their parts")
    if facts["refused"]:
        lines.append(
            f"  {len(facts['refused'])} test images refused as on the line, neither found nor missed "
            f"(first: {facts['refused'][0]}): they show nothing"
        )
    if facts["empty_masks"]:
        lines.append(f"  {len(facts['empty_masks'])} masks mark nothing: these images are in no pixel figure")
    if facts["int8"]["pixel"] is None:
        lines.append("  no mask marks anything: where the map points was not measured")
    lines.append(f"  {'':29}   FP32   INT8  [95 % interval]")
    for (label, fp32), (_, int8) in zip(rows(facts, "fp32"), rows(facts, "int8"), strict=True):
        lines.append(f"  {label:29}  {fp32.value:.3f}  {int8.value:.3f}  [{int8.low:.3f}, {int8.high:.3f}]")
    places = facts["int8"]["places"]
    if places["found"]:
        lines.append(
            f"  the map's hottest pixel lies on the mask in {places['hottest_on_mask']} of {places['found']} found "
            f"defects; the marked area is {places['median_area_ratio']:.1f} x the mask (median)"
        )
    at, limits = facts["int8"]["at_threshold"], facts["reliability"]
    lines += [
        f"  INT8: {at['escapes']} escapes of {facts['n_defective']}, {at['overkill']} overkill of {facts['n_good']}; "
        f"Brier {limits['brier']:.3f}, ECE {limits['ece']:.3f} (n = {limits['n']}); "
        f"inference p50 {facts['int8']['infer_ms_p50']:.1f} ms (FP32 {facts['fp32']['infer_ms_p50']:.1f} ms), "
        f"{facts['cpu_tier']}",
        *(
            f"    {name}: AUROC {found['auroc']:.3f}, {found['found_at_threshold']} of {found['n']} found"
            for name, found in facts["int8"]["per_type"].items()
        ),
    ]
    return "\n".join(lines)
