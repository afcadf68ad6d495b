"""Stage budget: the largest input that the latency budget allows.

The latency does not depend on what a network has learned, so that an untrained network of each size is quantised and
measured. The multiply-accumulates of one network grow with the pixels of its input: one measurement predicts the size
that fits, and the prediction is verified on the quantised network of that size.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.core.cli import OneLineParser
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig, add_options, config_from
from train.data.dataset import read_dataset
from train.data.input_spec import own_size, spec_of, with_scales
from train.data.region import inspected
from train.data.split import Split, split
from train.int8.build import write_untrained
from train.int8.in_time import LEAST_SIDE, SMALLEST, SMALLEST_OF_TWO, is_open, judged_by
from train.int8.latency import Target, measure_latency, read_target
from train.network.backbones import STRIDES, Backbone
from train.network.bank import patches_of
from train.network.fusion import Fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, Normality, NormalityHead, PatchFeatures, Place, SecondScale
from train.network.second.choice import with_places
from train.network.trunk.student import shrink
from train.run import FitReport, Run, git_commit, versions
from train.stages import StageError

DEFAULT, LARGEST, STEP = 320, 2048, 32  # sides


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
    parser.add_argument("--latency-budget-ms", type=_budget_ms, metavar="MS", help=what)
    parser.add_argument("--target", metavar="TIER|FILE", help="a tier, or the device's bench JSON; default this CPU")


def _budget_ms(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; use milliseconds of a part, above 0, e.g. 40")
    return found


def budget(data: Path, config: TrainConfig, limit_ms: float, target: str | None, run: Run) -> tuple[TrainConfig, str]:
    """Return the config with the largest side whose p50 is within the limit, and its region in words.

    Whether places are judged is decided before the size, since laying a photograph over the reference takes time. What
    the limit leaves no room for, places or a second scale, is left out and named. A size that the config names (side,
    native) is only verified. Writes budget.json. Raises StageError when no size is within the limit, Int8Error when
    the target's speed cannot be told.
    """
    if config.boxes:
        raise StageError(
            "the largest input of a detector of boxes is not looked for; give --side, and measure the bundle"
        )
    start = time.monotonic()
    station, dataset, wanted = read_target(target), read_dataset(data), config
    dataset, config, region = inspected(dataset, config)
    roles = split(dataset, config)
    judged, moving = with_places(config, roles, dataset, wanted)
    rows: list[dict[str, Any]] = []
    for shape, sizes in _shapes(judged, config, roles):
        measured = partial(_measured, config=shape, roles=roles, data=dataset.root, station=station)
        tier, tried = _search(sizes, limit_ms, measured)
        tried.sort(key=lambda one: one.size.pixels)
        chosen = max((one for one in tried if one.ms <= limit_ms), key=lambda one: one.size.pixels, default=None)
        rows += [_facts(one, shape, one is chosen) for one in tried]
        if chosen is not None:
            break
        print(f"budget: not {judged_by(shape)}; {tried[0].size.words} takes {tried[0].ms:.2f} ms of {limit_ms:g} ms")
    _report(run, rows, {"budget_ms": limit_ms, "target": station.name, "measured_on": tier}, start)
    if chosen is None:
        raise StageError(
            f"no input takes {limit_ms:g} ms or less on {station.name}: {config.backbone} at {tried[0].size.words} "
            f"with a bank of {config.bank} takes {tried[0].ms:.2f} ms; allow that much or use a faster CPU"
        )
    print(
        f"budget: {judged_by(shape)}, {chosen.size.words}, takes {chosen.ms:.2f} ms of {limit_ms:g} ms on "
        f"{station.name} ({len(rows)} sizes measured)"
    )
    return shape.model_copy(update={"side": chosen.size.side}), (moving if shape.places else "") or region


def _report(run: Run, rows: list[dict[str, Any]], facts: dict[str, Any], start: float) -> None:
    """Write budget.json."""
    run.folder.mkdir(parents=True, exist_ok=True)
    seconds = round(time.monotonic() - start, 1)
    run.write_report(
        "budget.json",
        {**facts, "sizes": rows, "seconds": seconds, "git_commit": git_commit(), "versions": versions()},
    )


def _shapes(judged: TrainConfig, config: TrainConfig, roles: Split) -> list[tuple[TrainConfig, list[Size]]]:
    """Return what may be judged, the better first, each with the sizes to choose from.

    judged: the config after it was decided whether places are judged. Places and two scales that nobody insists on
    have a least side, below which they see too little (docs/decisions/0013).
    """
    shapes = []
    if judged.places:
        shapes.append((judged, _sizes(judged, roles, SMALLEST if config.place == "on" else LEAST_SIDE)))
        if config.place == "on":
            return shapes
    own = own_size(roles.fit, config)
    usual = with_scales(config.model_copy(update={"place": "off", "align": None}), own, roles.has_heads)
    if usual.scales == 2 and config.scales == 0:
        shapes.append((usual, _sizes(usual, roles, SMALLEST_OF_TWO)))
        usual = usual.model_copy(update={"scales": 1})
    return [*shapes, (usual, _sizes(usual, roles))]


def _sizes(config: TrainConfig, roles: Split, least: int = SMALLEST) -> list[Size]:
    """Return the sizes to choose from, the smallest first: no photo is enlarged beyond the default side.

    least: side of the smallest, unless the config names one. Raises StageError when the good images fill the bank at
    none of them.
    """
    own = own_size(roles.fit, config)
    largest = min(LARGEST, max(DEFAULT, round((own[0] * own[1]) ** 0.5)))
    sides = list(range(SMALLEST, largest + 1, STEP)) if is_open(config) else [config.side]
    sizes = [Size(side, spec_of(own, config.model_copy(update={"side": side}))) for side in sides]
    share = config.bank // max(1, config.scales)
    filled = [size for size in sizes if patches_of(len(roles.bank), size.spec, config) >= share]
    if not filled and "bank" in config.model_fields_set:
        raise StageError(
            f"{len(roles.fit)} good images do not fill a bank of {config.bank}; add good images or ask for a smaller "
            f"--bank"
        )
    return [size for size in filled or sizes if size.side is None or not is_open(config) or size.side >= least]


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
    second: SecondScale | Place | None = SecondScale(heads[1], 0.5) if config.scales == 2 else None
    if config.places:
        second = Place(
            [_known(*stage, spec) for stage in zip(features.backbone.channels, STRIDES, strict=True)][-2:], 0.5
        )
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


def _known(channels: int, stride: int, spec: InputSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Return some mean, spread and matrix of a stage's places, as train.network.model.Place has them."""
    draw = torch.Generator().manual_seed(0)
    shape = 1, channels, spec.height // stride, spec.width // stride
    mean, spread = torch.randn(shape, generator=draw), 1.0 + torch.rand(shape, generator=draw)
    return mean, spread, torch.randn(channels, channels, generator=draw) / channels**0.5


def _facts(one: Tried, config: TrainConfig, chosen: bool) -> dict[str, Any]:
    predicted = None if one.predicted_ms is None else round(one.predicted_ms, 3)
    measured = {"predicted_ms": predicted, "ms": round(one.ms, 3), "chosen": chosen}
    return {"judged": judged_by(config), "side": one.size.side, "input": one.size.words, **measured}
