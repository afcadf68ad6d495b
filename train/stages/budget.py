"""Stage budget: the largest input that the latency budget allows.

The latency does not depend on what a network has learned, so that an untrained network of each size is quantised and
measured. The multiply-accumulates of one network grow with the pixels of its input: one measurement predicts the size
that fits, and the prediction is verified on the quantised network of that size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge.core.cli import OneLineParser
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig, add_options, config_from
from train.data.dataset import read_dataset
from train.data.input_spec import own_size, spec_of, with_scales
from train.data.region import inspected
from train.data.split import Split, split
from train.int8.build import write_untrained
from train.int8.latency import Target, measure_latency, read_target
from train.network.backbones import Backbone
from train.network.bank import patches_of
from train.network.fusion import Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, Normality, NormalityHead, PatchFeatures, SecondScale
from train.network.trunk.student import shrink
from train.run import FitReport, Run, git_commit, versions
from train.stages import StageError

SMALLEST, DEFAULT, LARGEST, STEP = 64, 320, 2048, 32  # sides


@dataclass(frozen=True)
class Size:
    """One input size; the width times the height is about side^2."""

    side: int | None  # None: native
    spec: InputSpec

    @property
    def pixels(self) -> int:
        return self.spec.width * self.spec.height

    @property
    def words(self) -> str:
        return f"{self.spec.width}x{self.spec.height}"


@dataclass(frozen=True)
class Tried:
    """An input size and its measured latency."""

    size: Size
    ms: float  # p50 on the target, preparation and inference
    predicted_ms: float | None  # None: the first measurement


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
    what = "choose the largest input whose p50 of a part is no longer, by measurement"
    parser.add_argument("--latency-budget-ms", type=float, metavar="MS", help=what)
    parser.add_argument("--target", metavar="TIER|FILE", help="a tier, or the device's bench JSON; default this CPU")


def budget(data: Path, config: TrainConfig, limit_ms: float, target: str | None, run: Run) -> TrainConfig:
    """Return the config with the largest side whose p50 is within the limit; write budget.json.

    A size that the config names (side, native) is only verified. Raises StageError when no size is within the limit,
    Int8Error when the target's speed cannot be told.
    """
    if config.boxes:
        raise StageError(
            "the largest input of a detector of boxes is not looked for; give --side, and measure the bundle"
        )
    start = time.monotonic()
    station = read_target(target)
    dataset = read_dataset(data)
    dataset, config, _ = inspected(dataset, config)
    roles = split(dataset, config)
    config = with_scales(config, own_size(roles.fit, config), roles.has_heads)
    tier, tried = _search(
        _sizes(config, roles), limit_ms, lambda size: _measured(size, config, roles, dataset.root, station)
    )
    chosen = max((one for one in tried if one.ms <= limit_ms), key=lambda one: one.size.pixels, default=None)
    facts = {
        "budget_ms": limit_ms,
        "target": station.name,
        "measured_on": tier,
        "sizes": [_facts(one, one is chosen) for one in sorted(tried, key=lambda one: one.size.pixels)],
        "seconds": round(time.monotonic() - start, 1),
        "git_commit": git_commit(),
        "versions": versions(),
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    run.write_report("budget.json", facts)
    if chosen is None:
        fastest = min(tried, key=lambda one: one.size.pixels)
        raise StageError(
            f"no input takes {limit_ms:g} ms or less on {station.name}: {config.backbone} at {fastest.size.words} with "
            f"a bank of {config.bank} takes {fastest.ms:.2f} ms; allow that much or use a faster CPU"
        )
    print(
        f"budget: input {chosen.size.words} takes {chosen.ms:.2f} ms of {limit_ms:g} ms on {station.name} "
        f"({len(tried)} sizes measured)"
    )
    return config.model_copy(update={"side": chosen.size.side})


def _sizes(config: TrainConfig, roles: Split) -> list[Size]:
    """Return the sizes to choose from, the smallest first: no photo is enlarged beyond the default side.

    Raises StageError when the good images fill the bank at none of them.
    """
    own = own_size(roles.fit, config)
    largest = min(LARGEST, max(DEFAULT, round((own[0] * own[1]) ** 0.5)))
    named = config.native or config.side is not None
    sides = [config.side] if named else list(range(SMALLEST, largest + 1, STEP))
    sizes = [Size(side, spec_of(own, config.model_copy(update={"side": side}))) for side in sides]
    share = config.bank // max(1, config.scales)
    filled = [size for size in sizes if patches_of(len(roles.bank), size.spec, config) >= share]
    if not filled:
        raise StageError(
            f"{len(roles.fit)} good images do not fill a bank of {config.bank}; add good images or ask for a smaller "
            f"--bank"
        )
    return filled


def _search(
    sizes: Sequence[Size], limit_ms: float, measured: Callable[[Size], tuple[str, float]]
) -> tuple[str, list[Tried]]:
    """Return the tier that was measured on and every size that was tried.

    Each measurement bounds the sizes that are left and predicts the largest that fits; the search ends when none is
    left. Two measurements tell the time that does not grow with the input, that of the photo's preparation.
    """
    left = list(sizes)
    size = min(sizes, key=lambda size: abs((size.side or 0) - DEFAULT))
    tried: list[Tried] = []
    predicted_ms = None
    while True:
        tier, ms = measured(size)
        per_pixel = ms / size.pixels
        if tried:
            per_pixel = max(0.0, (ms - tried[-1].ms) / (size.pixels - tried[-1].size.pixels))
        tried.append(Tried(size, ms, predicted_ms))
        left = [one for one in left if one.pixels != size.pixels and (one.pixels > size.pixels) == (ms <= limit_ms)]
        fitting = [one for one in left if ms + per_pixel * (one.pixels - size.pixels) <= limit_ms]
        if not left or (not fitting and any(one.ms <= limit_ms for one in tried)):
            return tier, tried
        following = fitting[-1] if fitting else left[0]
        predicted_ms = ms + per_pixel * (following.pixels - size.pixels)
        size = following


def _measured(size: Size, config: TrainConfig, roles: Split, data: Path, station: Target) -> tuple[str, float]:
    """Quantise an untrained network of a size; return the tier that was measured on and the p50 on the target in ms."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_untrained(*_untrained(size.spec, config, roles, data), Path(folder))
        return measure_latency(model, size.spec, roles.fit[0].path, station)


def _untrained(spec: InputSpec, config: TrainConfig, roles: Split, data: Path) -> tuple[InspectionNet, FitReport]:
    """Return a network of the config's shape, and the facts that the quantiser reads."""
    types = roles.defect_types
    features = PatchFeatures(Backbone.pretrained(config.backbone, config.weights), config.patch_stride)
    if config.profile == "nano":
        shrink(features.backbone.stages, config.backbone)
    channels = sum(features.backbone.channels[-2:])
    bank = torch.randn(config.bank, channels, generator=torch.Generator().manual_seed(config.seed))
    heads = [NormalityHead(torch.zeros(channels), torch.ones(channels), one) for one in bank.chunk(config.scales)]
    second = SecondScale(heads[1], 0.5) if config.scales == 2 else None
    normality = Normality(features, heads[0], config.top_k, second)
    learned = (DefectHeads(features.backbone.channels, len(types)), Fusion(0.0, 1.0, 1.0, 1.0))
    network = InspectionNet(normality, *(learned if roles.has_heads else ())).eval()
    report = FitReport(
        recipe=config,
        data=data,
        dataset_sha256="",
        input=spec,
        fit_images=(roles.fit[0].path.relative_to(data).as_posix(),),
        holdout_images=(),
        types=types,
        feature_channels=channels,
        bank_rows=config.bank,
        seconds=0.0,
        git_commit="",
        versions={},
    )
    return network, report


def _facts(one: Tried, chosen: bool) -> dict[str, Any]:
    predicted = None if one.predicted_ms is None else round(one.predicted_ms, 3)
    measured = {"predicted_ms": predicted, "ms": round(one.ms, 3), "chosen": chosen}
    return {"side": one.size.side, "input": one.size.words, **measured}
