"""Stage classify: labelled pictures -> classifier.onnx of fewer than a million parameters, and classify.json."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge.core.cli import OneLineParser
from edge.inference import runtimes
from edge.inference.cpu import cpu_tier
from edge.inference.preprocess import InputSpec
from train.int8.graph import finish
from train.int8.onnx_export import to_onnx
from train.measure.metrics import part_share_interval
from train.network.trunk.student import parameters
from train.peers.classifier.learning import Settings, learn
from train.peers.classifier.nano import SHAPES, Nano, Shape
from train.peers.classifier.sources import Labelled, PicturesInRoles, read_source
from train.run import git_commit, progress, versions

ONNX, WEIGHTS, REPORT = "classifier.onnx", "classifier.pt", "classify.json"
SMALLEST, LARGEST = 16, 512  # pixels a side
TIMED = 40  # calls of a model, after as many to warm up


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train classify", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folders of classes, MVTec layout, or CIFAR-10 binary")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model and its report, e.g. runs/NAME")
    parser.add_argument("--side", type=int, default=64, help="pixels a side of the model's input (%(default)s)")
    parser.add_argument("--shape", choices=("auto", *SHAPES), default="auto", help="auto: the faster one on this CPU")
    parser.add_argument("--epochs", type=int, default=30, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=64, help="default %(default)s")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate (%(default)s)")
    parser.add_argument("--mixing", action=argparse.BooleanOptionalAction, default=True, help="MixUp and CutMix")
    parser.add_argument("--flips", action=argparse.BooleanOptionalAction, default=True, help="mirrored pictures")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    args = parser.parse_args(argv)
    if not SMALLEST <= args.side <= LARGEST:
        parser.error(f"--side {args.side}: use {SMALLEST} to {LARGEST}")
    if min(args.epochs, args.batch - 1) < 1 or not 0 < args.rate < 1:
        parser.error("--epochs, --batch and --rate: use at least 1 epoch, batches of 2, and a rate between 0 and 1")
    settings = Settings(args.epochs, args.batch, args.rate, args.mixing, args.flips, args.seed)
    classify(args.data, args.out, args.side, None if args.shape == "auto" else args.shape, settings)


def classify(data: Path, out: Path, side: int, shape: Shape | None, settings: Settings) -> dict[str, Any]:
    """Train, export, and measure the exported file on pictures that it has not seen; returns classify.json."""
    start = time.monotonic()
    source = read_source(data, side, settings.seed)
    out.mkdir(parents=True, exist_ok=True)
    tried = SHAPES if shape is None else (shape,)
    speed = {name: _untrained_ms(name, len(source.classes), side, out) for name in tried} if shape is None else {}
    chosen: Shape = min(tried, key=lambda one: speed.get(one, 0.0))
    torch.manual_seed(settings.seed)
    network = Nano(len(source.classes), chosen)
    epochs, kept = learn(network, source, settings)
    torch.save(network.state_dict(), out / WEIGHTS)
    answers, ms = _answers(_exported(network, side, out / ONNX), source.test)
    facts = {
        "data": data.resolve().name,
        "classes": list(source.classes),
        "pictures": {
            role: {name: int((one.labels == index).sum()) for index, name in enumerate(source.classes)}
            for role, one in (("train", source.train), ("validation", source.validation), ("test", source.test))
        },
        "side": side,
        "shape": chosen,
        "untrained_ms": speed,
        "parameters": parameters(network),
        "settings": asdict(settings),
        "epochs": epochs,
        "kept_epoch": kept,
        "test": measured(source, answers),
        "latency": {"cpu_tier": cpu_tier(), "runtime": "openvino", "precision": "fp32", "n": len(ms), **ms_of(ms)},
        "seconds": round(time.monotonic() - start, 1),
        "git_commit": git_commit(),
        "versions": versions(),
    }
    (out / REPORT).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(_table(facts, out))
    return facts


def measured(source: PicturesInRoles, answers: NDArray[np.int64]) -> dict[str, Any]:
    """Return accuracy, and of each class sensitivity and specificity, with 95 % intervals that count parts.

    answers: (n,) the class that the model gives each test picture.
    """
    labels, parts, count = source.test.labels, source.test.parts, len(source.classes)
    table = np.zeros((count, count), int)
    np.add.at(table, (labels, answers), 1)
    by_class: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(source.classes):
        own, other = labels == index, labels != index
        by_class[name] = {
            "n": int(own.sum()),
            "sensitivity": _share(answers[own] == index, parts, own),
            "specificity": _share(answers[other] != index, parts, other),
        }
    right = answers == labels
    return {
        "n": len(labels),
        "parts": len(set(parts)),
        "accuracy": _share(right, parts, np.ones(len(labels), bool)),
        "balanced_accuracy": float(np.mean([one["sensitivity"]["value"] for one in by_class.values()])),
        "by_class": by_class,
        "confusion": table.tolist(),  # row: the truth; column: the answer
    }


def _share(found: NDArray[np.bool_], parts: Sequence[str], rows: NDArray[np.bool_]) -> dict[str, float]:
    own = [part for part, inside in zip(parts, rows.tolist(), strict=True) if inside]
    return asdict(part_share_interval(found.tolist(), own))


def _exported(network: torch.nn.Module, side: int, path: Path) -> Path:
    """Write the network as ONNX: `image` (1, side, side, 3) uint8 RGB -> `classes` (1, K) logits."""
    spec = InputSpec(width=side, height=side)
    model = to_onnx(network.eval(), spec, ("classes",))
    finish(model, side, side)
    onnx.save(model, path)
    return path


def _untrained_ms(shape: Shape, classes: int, side: int, folder: Path) -> float:
    """Return the median milliseconds of an untrained network of a shape, which takes as long as a trained one."""
    path = _exported(Nano(classes, shape), side, folder / f"untrained_{shape}.onnx")
    run = runtimes.load(path, "openvino", runtimes.Settings()).run
    taken = []
    for _ in range(2 * TIMED):
        start = time.perf_counter()
        run(np.zeros((1, side, side, 3), np.uint8))
        taken.append((time.perf_counter() - start) * 1e3)
    path.unlink()
    return float(np.median(taken[TIMED:]))


def _answers(path: Path, found: Labelled) -> tuple[NDArray[np.int64], list[float]]:
    """Return the class (n,) that the exported file gives each picture, and the milliseconds of each call."""
    run = runtimes.load(path, "openvino", runtimes.Settings()).run
    answers, taken = [], []
    for picture in progress(found.pictures, "test pictures", len(found.labels)):
        start = time.perf_counter()
        logits = run(np.ascontiguousarray(picture)[np.newaxis])["classes"]
        taken.append((time.perf_counter() - start) * 1e3)
        answers.append(int(np.argmax(logits)))
    return np.array(answers, np.int64), taken


def ms_of(taken: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95 % quantile of milliseconds."""
    return {"p50_ms": round(float(np.median(taken)), 3), "p95_ms": round(float(np.quantile(taken, 0.95)), 3)}


def _table(facts: dict[str, Any], out: Path) -> str:
    test, latency = facts["test"], facts["latency"]
    lines = [
        f"classify: {facts['data']}, {len(facts['classes'])} classes, {test['n']} test pictures of {test['parts']} "
        "parts",
        f"  accuracy {_words(test['accuracy'])}, every class alike {test['balanced_accuracy']:.3f}",
        *(
            f"  {name:16} {one['n']:5}  sensitivity {_words(one['sensitivity'])}  "
            f"specificity {_words(one['specificity'])}"
            for name, one in test["by_class"].items()
        ),
        f"  {facts['shape']}, {facts['parameters']} parameters, p50 {latency['p50_ms']:.2f} ms ({latency['cpu_tier']}, "
        f"FP32); {facts['seconds']} s; {out / ONNX}, {out / REPORT}",
    ]
    return "\n".join(lines)


def _words(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
