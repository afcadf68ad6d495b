"""Stage compare: bundles and the field's methods on the same unseen images -> compare.json and one HTML page."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.cli import OneLineParser
from edge.core.types import Limits
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.cpu import cpu_tier
from edge.inference.detector import Detector
from edge.inference.preprocess import InputSpec
from edge.inference.usable import load_photo
from train.config import TrainConfig
from train.data.dataset import GOOD, Dataset, Sample, read_dataset
from train.data.input_spec import without_blank
from train.data.unseen import both_kinds, check_masks, unseen
from train.int8.latency import in_turns
from train.measure.evaluation import answers, parts_of
from train.measure.metrics import Resample
from train.measure.results import measures
from train.peers import PeersError
from train.peers.methods import METHODS, need_anomalib, train_peer
from train.peers.page import figures, write_page

NO_LIMITS = Limits(threshold=math.inf, marking=math.inf)  # nothing of a comparison depends on a threshold


@dataclass(frozen=True)
class Contestant:
    """A method of the comparison, ready to judge photographs."""

    name: str
    what: str  # precision and input, in words
    detector: Detector


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train compare", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--bundle", type=Path, action="append", required=True, help="a packed bundle; may be repeated")
    parser.add_argument("--peers", nargs="+", choices=(*METHODS, "none"), default=list(METHODS), help="default all")
    parser.add_argument("--side", type=int, default=256, help="the peers' square input; default 256")
    parser.add_argument("--bank", type=int, default=4000, help="PatchCore's normal patches; default 4000")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--out", type=Path, default=Path("compare"), help="folder of compare.html; default compare")
    args = parser.parse_args(argv)
    if not 64 <= args.side <= 2048:
        parser.error(f"--side {args.side}: 64 to 2048 pixels are possible")
    if not 16 <= args.bank <= 20_000:
        parser.error(f"--bank {args.bank}: 16 to 20000 patches are possible")
    recipe = TrainConfig(side=args.side, bank=args.bank, seed=args.seed)
    peers = [name for name in args.peers if name != "none"]
    compare_methods(args.data, args.bundle, peers, recipe, args.out)


def compare_methods(
    data: Path, bundles: Sequence[Path], peers: Sequence[str], recipe: TrainConfig, out: Path
) -> dict[str, Any]:
    """Train the peers, judge the images that no bundle was trained on, and write compare.json and compare.html."""
    if peers:
        need_anomalib()
    opened = [open_bundle(path) for path in bundles]
    dataset = read_dataset(data)
    samples, left_out = _samples(dataset, opened)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        contestants = [_of_bundle(bundle, path) for bundle, path in zip(opened, bundles, strict=True)]
        contestants += [_of_peer(name, dataset, opened[0], recipe, Path(folder)) for name in peers]
        parts = parts_of(samples, _rule(opened[0]))
        rows = [_row(one, samples, parts) for one in contestants]
        shown = [(one.detector, load_photo(samples[0].path, one.detector.spec)) for one in contestants]
        for row, times in zip(rows, in_turns(shown), strict=True):
            row["total_ms_p50"] = float(np.median(times[:, 1]))
    defective = [sample.label != GOOD for sample in samples]
    draws = Resample(defective, parts)
    facts: dict[str, Any] = {
        "data": dataset.root.resolve().name,
        "cpu_tier": cpu_tier(),
        "n_good": len(samples) - sum(defective),
        "n_defective": sum(defective),
        "parts_good": draws.good_parts,
        "parts_defective": draws.bad_parts,
        "left_out": len(left_out),
        "rows": rows,
    }
    (out / "compare.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    write_page(facts, out / "compare.html")
    print(figures(facts))
    print(f"compare: {out / 'compare.html'}")
    return facts


def _samples(dataset: Dataset, bundles: Sequence[Bundle]) -> tuple[list[Sample], list[Sample]]:
    """Return the test images that no bundle has seen, and those that one has; raises PeersError and DataError."""
    seen = {digest for bundle in bundles for digest in bundle.manifest.training.get("image_sha256", [])}
    samples, left_out = unseen(dataset, seen)
    if not both_kinds(samples):
        raise PeersError(
            f"{dataset.root / 'test'}: good and defective images that no bundle was trained on are needed; "
            f"{len(left_out)} are left out"
        )
    check_masks(samples)
    return samples, left_out


def _rule(bundle: Bundle) -> tuple[str | None, int]:
    recipe: Mapping[str, Any] = bundle.manifest.training.get("recipe", {})
    return recipe.get("group_regex"), recipe.get("group_gap", 0)


def _of_bundle(bundle: Bundle, path: Path) -> Contestant:
    return Contestant(str(path), _what("INT8", bundle.manifest.input), Detector.from_bundle(bundle))


def _of_peer(name: str, dataset: Dataset, bundle: Bundle, recipe: TrainConfig, folder: Path) -> Contestant:
    """Train a peer on all good images, as the bundle prepares them."""
    spec = peer_spec(bundle.manifest.input, recipe.side or 256)
    goods = without_blank(dataset, recipe.model_copy(update={"bits": spec.bits})).train_good
    model = folder / f"{name}.onnx"
    train_peer(name, [sample.path for sample in goods], spec, recipe, model)
    return Contestant(f"anomalib {name}", _what("FP32", spec), Detector(model, spec))


def peer_spec(ours: InputSpec, side: int) -> InputSpec:
    """Return a peer's square input: the region moves with the part and polygons are ignored as in the bundle's own."""
    return ours.model_copy(update={"width": side, "height": side, "interpolation": "area"})


def _what(precision: str, spec: InputSpec) -> str:
    return f"{precision}, {spec.width}x{spec.height}"


def _row(one: Contestant, samples: Sequence[Sample], parts: Sequence[str]) -> dict[str, Any]:
    found = measures(answers(one.detector, samples, parts, one.name), NO_LIMITS)
    return {"name": one.name, "what": one.what, **{key: found[key] for key in ("image", "pixel", "intervals")}}
