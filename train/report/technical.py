"""The figures of a bundle's technical report, as JSON types: the page is drawn from them and from pictures alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from edge.inference.bundle import Bundle, Manifest
from train.measure.threshold import promise
from train.report.pictures import worst_escapes, worst_overkill

STAGES = {"prepare_ms": "prepare", "infer_ms": "judge", "decide_ms": "decide", "total_ms": "trigger to verdict"}
RUNTIMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
FEW = 100  # parts of a kind below which the page says that they are few


def technical_facts(
    bundle: Bundle, measured: Mapping[str, Any], benchmark: Mapping[str, Any] | None, learned: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return every figure of the page as JSON types.

    measured: evaluate.json of this bundle; benchmark: benchmark.json of `edge bench` of this bundle, if there is one;
    learned: heads.json of the run, if there is one.
    """
    manifest = bundle.manifest
    training = {key: value for key, value in manifest.training.items() if key not in ("image_sha256", "quantize")}
    labels = Counter(image["label"] for image in measured["images"])
    found = {
        "bundle": {
            "title": bundle.title,
            "created": manifest.created.isoformat(timespec="seconds"),
            "digest": bundle.digest,
            "git_commit": manifest.git_commit,
            "bytes": {name: bundle.file(name).stat().st_size for name in manifest.files if name.startswith("model_")},
        },
        "data": {
            "name": measured["data"],
            "sha256": manifest.dataset_sha256,
            "test": dict(sorted(labels.items())),
            **{key: measured[key] for key in ("n_good", "n_defective", "parts_good", "parts_defective")},
            **{key: len(measured[key]) for key in ("left_out", "refused", "empty_masks")},
        },
        "method": _method(manifest, learned is not None),
        "training": training
        | {"epochs": (learned or {}).get("epochs"), "kept_epoch": (learned or {}).get("kept_epoch")},
        "threshold": manifest.threshold.model_dump() | {"words": promise(manifest.threshold)},
        "quantize": manifest.training.get("quantize"),
        "measured": {key: value for key, value in measured.items() if key != "images"},
        "images": measured["images"],
        "latency": _latency(benchmark),
        "failures": {
            "escapes": worst_escapes(measured["images"], measured["threshold"]),
            "overkill": worst_overkill(measured["images"], measured["threshold"]),
        },
    }
    return found | {"limits": _limits(found)}


def _method(manifest: Manifest, learned: bool) -> dict[str, Any]:
    """Return how the bundle judges and what taught it; learned: whether something learned by epochs."""
    recipe = manifest.training.get("recipe", {})
    boxes = manifest.boxes and dict(zip(manifest.boxes.types, manifest.boxes.limits, strict=True))
    heads = boxes is None and bool(manifest.training.get("defect_images"))
    lesson = recipe.get("artificial") and recipe.get("unfreeze") != "none" and recipe.get("backbone_rate")
    alone = boxes is None and not heads
    return {
        "width": manifest.input.width,
        "height": manifest.input.height,
        "crop": manifest.input.crop and manifest.input.crop.model_dump(mode="json"),
        "map": manifest.map and manifest.map.model_dump(mode="json"),
        "types": list(boxes or manifest.types),
        "limits": boxes,  # of each type of box; None: no boxes
        "heads": heads,
        "lesson": alone and (learned or bool(lesson)),  # artificial defects taught the backbone
        "student": recipe.get("profile") == "nano",
        "places": boxes is None and recipe.get("place") == "on",
        "scales": 2 if boxes is None and recipe.get("scales") == 2 else 1,
        "cross": bool(manifest.training.get("cross")),
    }


def _latency(benchmark: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return milliseconds and parts a second of each tier, runtime and precision, as `edge bench` measured them."""
    if benchmark is None:
        return None
    shown = []
    for result in benchmark["results"]:
        stages = {words: result["stages"][key] for key, words in STAGES.items()}
        facts = {"tier": result["tier"], "runtime": RUNTIMES[result["runtime"]], "precision": result["precision"]}
        shown.append({**facts, "n": result["n"], "fps": result["fps"], "stages": stages})
    cpu = {key: benchmark["cpu"][key] for key in ("model", "tier", "logical_cores", "load_before")}
    return {
        "measured_at": benchmark["measured_at"],
        "cpu": cpu,
        "frame": benchmark["frame"],
        "rss_mb": benchmark.get("rss_mb"),
        "skipped": benchmark["skipped"],
        "results": shown,
    }


def _limits(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what this report does not show, each as a kind and its figures."""
    measured, threshold = facts["measured"], facts["threshold"]
    found: list[dict[str, Any]] = []
    kinds = [(kind, measured[f"parts_{kind}"]) for kind in ("good", "defective")]
    found += [{"kind": "few", "what": kind, "n": n, "of": FEW} for kind, n in kinds if n < FEW]
    boxes = facts["method"]["limits"] is not None
    if threshold["bound"] is None:
        found.append({"kind": "limits" if boxes else "estimate", "n": threshold["n"]})
    for name, one in sorted(measured["int8"]["per_type"].items()):
        if one["found_at_threshold"] < one["n"]:
            found.append({"kind": "missed", "what": name, "n": one["n"] - one["found_at_threshold"], "of": one["n"]})
    if boxes and "boxes" not in measured:
        found.append({"kind": "unboxed"})
    if not boxes and measured["int8"]["pixel"] is None:
        found.append({"kind": "unmarked"})
    quantised = facts["quantize"]
    if quantised is not None and quantised.get("within_limits") is False:
        found.append({"kind": "int8"})
    latency = facts["latency"]
    if latency is None:
        found.append({"kind": "unmeasured"})
    elif latency["skipped"]:
        found.append({"kind": "tiers", "what": ", ".join(latency["skipped"])})
    return found
