"""Stage budget: which input size, backbone and memory bank find defects best within the time the station has.

The latency of every candidate's INT8 graph is measured, since it does not depend on what a network has learned. Of
those inside the budget the most costly are trained on the good images alone and compared on images kept back.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge.core.cli import OneLineParser
from edge.inference.bundle import INT8_IR
from edge.inference.cpu import read_cpu
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig, add_options, config_from
from train.data.dataset import read_dataset
from train.data.input_spec import input_spec
from train.data.split import Split, split
from train.int8.build import write_untrained
from train.int8.contest import contest
from train.int8.latency import Timed, measure
from train.int8.target import Target, read_target
from train.network.backbones import Backbone
from train.network.fusion import Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, NormalityHead, PatchFeatures
from train.run import FitReport, Run, git_commit, progress, versions
from train.stages import StageError

SIDES = (256, 320, 384, 512)
BACKBONES = tuple(f"tf_efficientnet_lite{size}" for size in range(3))
BANKS = (1000, 4000)
FINALISTS = 4  # candidates that are trained: the most costly inside the budget


@dataclass
class Candidate:
    """A recipe, and what was found out about it."""

    recipe: TrainConfig
    spec: InputSpec
    ms: float = float("nan")  # p50 on the target, preparation and inference
    inside: bool = False
    auroc: float | None = None  # None: not trained
    chosen: bool = False


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train budget", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    add_options(parser)
    add_budget_options(parser)
    args = parser.parse_args(argv)
    if args.latency_budget_ms is None:
        parser.error("--latency-budget-ms is needed")
    budget(args.data, config_from(args), args.latency_budget_ms, args.target, Run(args.work))


def add_budget_options(parser: argparse.ArgumentParser) -> None:
    what = "choose side, backbone and bank by measurement, so that the p50 of a part is no longer"
    parser.add_argument("--latency-budget-ms", type=float, metavar="MS", help=what)
    parser.add_argument("--target", metavar="TIER|FILE", help="a tier, or the device's bench JSON; default this CPU")


def budget(data: Path, recipe: TrainConfig, limit_ms: float, target: str | None, work: Run) -> TrainConfig:
    """The recipe with the side, backbone and bank to use; writes budget.json. What the recipe names stays as it is.

    Raises StageError when nothing is inside the budget, Int8Error when the target's speed cannot be told.
    """
    start = time.monotonic()
    station = read_target(target or read_cpu().native_tier)
    dataset = read_dataset(data)
    candidates = grid(recipe, split(dataset, recipe))
    tier = _measure(candidates, split(dataset, recipe), dataset.root, station)
    for one in candidates:
        one.inside = one.ms <= limit_ms
    facts: dict[str, Any] = {"budget_ms": limit_ms, "target": station.name, "measured_on": tier}
    finalists = _finalists(candidates)
    if finalists:
        judged = split(dataset, recipe.model_copy(update={"artificial": True}))  # keeps goods back in any case
        aurocs, facts["validation"] = contest([(one.recipe, one.spec) for one in finalists], judged)
        for one, auroc in zip(finalists, aurocs, strict=True):
            one.auroc = auroc
        max(finalists, key=lambda one: (one.auroc, -one.ms)).chosen = True
    facts["candidates"] = [_facts(one) for one in candidates]
    facts |= {"seconds": round(time.monotonic() - start, 1), "git_commit": git_commit(), "versions": versions()}
    work.folder.mkdir(parents=True, exist_ok=True)
    work.write_report("budget.json", facts)
    print(table(facts))
    if not finalists:
        fastest = min(candidates, key=lambda one: one.ms)
        raise StageError(
            f"no candidate takes {limit_ms:g} ms or less on {station.name}: the fastest, {fastest.recipe.backbone} at "
            f"{fastest.spec.width}x{fastest.spec.height} with a bank of {fastest.recipe.bank}, takes {fastest.ms:.2f} "
            f"ms; allow that much or use a faster CPU"
        )
    return next(one.recipe for one in candidates if one.chosen)


def grid(recipe: TrainConfig, roles: Split) -> list[Candidate]:
    """Every combination of what the recipe leaves open, as far as the good images fill the bank."""
    named = recipe.model_fields_set
    backbones = (recipe.backbone,) if named & {"backbone", "weights"} else BACKBONES
    banks = (recipe.bank,) if "bank" in named else BANKS
    found = []
    for side in (recipe.side,) if recipe.native or recipe.side is not None else SIDES:
        spec = input_spec(list(roles.fit), recipe.model_copy(update={"side": side}))
        patches = len(roles.fit) * spec.width * spec.height // recipe.patch_stride**2
        for bank in (bank for bank in banks if bank < patches):
            options = [{"side": side, "backbone": backbone, "bank": bank} for backbone in backbones]
            found += [Candidate(recipe.model_copy(update=chosen), spec) for chosen in options]
    if not found:
        raise StageError(f"{len(roles.fit)} good images fill no bank; add good images or ask for a smaller --bank")
    return found


def _measure(candidates: Sequence[Candidate], roles: Split, data: Path, station: Target) -> str:
    """Give each candidate its p50 on the target; returns the tier that was measured on."""
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for i, one in enumerate(progress(candidates, "INT8 candidates")):
            place = Path(folder) / str(i)
            place.mkdir()
            models.append(Timed(write_untrained(*_untrained(one, roles, data), place), one.spec, roles.fit[0].path))
        if station.reference is not None:
            bundle = station.reference
            shown = bundle.file(bundle.manifest.references[0].file)
            models.append(Timed(bundle.file(INT8_IR), bundle.manifest.input, shown))
        tier, found = measure(models, station.cap)
    ratio = station.infer_ms / found[-1].infer_ms if station.reference is not None else 1.0
    for one, latency in zip(candidates, found, strict=False):  # the reference comes last
        one.ms = latency.total_ms * ratio
    return tier


def _untrained(one: Candidate, roles: Split, data: Path) -> tuple[InspectionNet, FitReport]:
    """A network of the candidate's shape, and what the quantiser wants to know of it."""
    recipe, types = one.recipe, roles.defect_types
    features = PatchFeatures(Backbone.pretrained(recipe.backbone, recipe.weights), recipe.patch_stride)
    channels = sum(features.backbone.channels[-2:])
    bank = torch.randn(recipe.bank, channels, generator=torch.Generator().manual_seed(recipe.seed))
    head = NormalityHead(torch.zeros(channels), torch.ones(channels), bank)
    learned = (DefectHeads(features.backbone.channels, len(types)), Fusion(0.0, 1.0, 1.0, 1.0))
    network = InspectionNet(features, head, recipe.top_k, *(learned if roles.has_heads(recipe) else ())).eval()
    report = FitReport(
        recipe=recipe,
        data=data,
        dataset_sha256="",
        input=one.spec,
        fit_images=(roles.fit[0].path.relative_to(data).as_posix(),),
        holdout_images=(),
        types=types,
        feature_channels=channels,
        bank_rows=recipe.bank,
        seconds=0.0,
        git_commit="",
        versions={},
    )
    return network, report


def _finalists(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Inside the budget, the most costly first; of each backbone and side one, as a rule that of the largest bank."""
    found: dict[tuple[str, int | None], Candidate] = {}
    for one in sorted((one for one in candidates if one.inside), key=lambda one: -one.ms):
        found.setdefault((one.recipe.backbone, one.recipe.side), one)
    return list(found.values())[:FINALISTS]


def _facts(one: Candidate) -> dict[str, Any]:
    named = {"backbone": one.recipe.backbone, "side": one.recipe.side, "input": f"{one.spec.width}x{one.spec.height}"}
    measured = {"ms": round(one.ms, 3), "inside": one.inside, "validation_auroc": one.auroc, "chosen": one.chosen}
    return {**named, "bank": one.recipe.bank, **measured}


def table(facts: dict[str, Any]) -> str:
    """Every candidate, the fastest first; a star marks the chosen one."""
    lines = [f"budget: {facts['budget_ms']:g} ms on {facts['target']}, {len(facts['candidates'])} candidates"]
    if "validation" in facts:
        on = facts["validation"]
        lines[0] += f", AUROC on {on['good']} good and {on['defective']} {on['defects']} defective images"
    lines.append(f"  {'backbone':24}{'input':>10}{'bank':>7}{'p50 ms':>9}  inside   AUROC")
    for row in sorted(facts["candidates"], key=lambda row: row["ms"]):
        auroc = "-" if row["validation_auroc"] is None else f"{row['validation_auroc']:.3f}"
        star, inside = "*" if row["chosen"] else " ", "yes" if row["inside"] else "no"
        words = f"{star} {row['backbone']:24}{row['input']:>10}{row['bank']:>7}{row['ms']:>9.2f}"
        lines.append(f"{words}  {inside:6} {auroc:>7}")
    return "\n".join(lines)
