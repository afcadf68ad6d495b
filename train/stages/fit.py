"""Stage fit: photographs -> model.pt: the memory bank of normal patches and, where there are defects, the heads."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from edge.core.cli import OneLineParser
from edge.inference.preprocess import InputSpec, load_image
from train import TrainError
from train.config import Recipe, add_recipe_options, recipe_from
from train.data.batches import Photos, validation_examples
from train.data.dataset import Dataset, Sample, dataset_sha256, read_dataset
from train.data.split import Split, split
from train.network.backbones import Backbone
from train.network.bank import memory_bank, normality_head
from train.network.checkpoint import History
from train.network.fusion import Fusion, fit_fusion
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, NormalityHead, PatchFeatures, top_mean
from train.network.train_heads import tune
from train.run import HEADS, FitReport, Work, git_commit, progress, rank, versions

MODEL = "model.pt"
CHECKPOINT = "heads_checkpoint.pt"
MAX_NATIVE = 2048  # pixels a side
MULTIPLE = 16  # sides are multiples of the coarsest stride, so that the two feature grids fit each other


class FitError(TrainError):
    """The data cannot carry the model that was asked for."""


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    add_recipe_options(parser)
    args = parser.parse_args(argv)
    fit(args.data, recipe_from(args), Work(args.work))


def fit(data: Path, recipe: Recipe, work: Work) -> FitReport | None:
    """Train what there is data for and write model.pt, fit.json and, with heads, heads.json into the run's folder.

    The heads come first, since they change the backbone; the memory bank is then built of what is left. None in the
    other processes of a torchrun, which only train.
    """
    start = time.monotonic()
    dataset = read_dataset(data)
    roles = split(dataset, recipe)
    spec = input_spec(list(roles.fit), recipe)
    backbone = Backbone.pretrained(recipe.backbone, recipe.weights)
    key = _key(dataset, recipe)
    learned = _learn(backbone, roles, spec, recipe, work, key)
    if rank() > 0:
        return None
    features = PatchFeatures(backbone, recipe.patch_stride).eval()
    state: dict[str, Any] = {**memory_bank(features, roles.fit, spec, recipe)}
    state["backbone"] = backbone.state_dict()
    work.folder.mkdir(parents=True, exist_ok=True)
    if learned is None:
        work.file(HEADS).unlink(missing_ok=True)
    else:
        fusion = asdict(_fuse(features, normality_head(state), learned.heads, roles, spec, recipe))
        state |= {"heads": learned.heads.state_dict(), "types": list(learned.types), "fusion": fusion}
        facts = {"epochs": learned.history.epochs, "kept_epoch": learned.history.kept, "fusion": fusion}
        work.write_report(HEADS, facts)
    torch.save(state, work.file(MODEL))
    work.file(CHECKPOINT).unlink(missing_ok=True)
    report = FitReport(
        recipe=recipe,
        data=dataset.root.resolve(),
        dataset_sha256=key.split()[0],
        input=spec,
        fit_images=_names(roles.fit, dataset),
        holdout_images=_names(roles.holdout, dataset),
        validation_images=_names(roles.validation, dataset),
        defect_images=_names(roles.defects, dataset),
        left_out_images=_names(roles.left_out, dataset),
        types=() if learned is None else learned.types,
        feature_channels=state["patches"].shape[1],
        bank_rows=len(state["patches"]),
        seconds=round(time.monotonic() - start, 1),
        git_commit=git_commit(),
        versions=versions(),
    )
    work.file("fit.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    taught = f", {len(roles.defects)} labelled defects" if roles.defects else ""
    print(
        f"fit: {len(roles.fit)} good images{taught}, {len(roles.holdout)} held out, {spec.width}x{spec.height}, "
        f"bank {report.bank_rows} x {report.feature_channels}, {report.seconds:.0f} s"
    )
    return report


@dataclass(frozen=True)
class _Learned:
    heads: DefectHeads
    types: tuple[str, ...]
    history: History


def _learn(backbone: Backbone, roles: Split, spec: InputSpec, recipe: Recipe, work: Work, key: str) -> _Learned | None:
    """Train the heads and, in place, the backbone; None when there is nothing to learn from."""
    if not has_heads(roles, recipe):
        return None
    types = defect_types(roles)
    net, history = tune(backbone, roles, types, spec, recipe, work.file(CHECKPOINT), key)
    backbone.load_state_dict(net.backbone.state_dict())
    return _Learned(net.heads, types, history)


def has_heads(roles: Split, recipe: Recipe) -> bool:
    """Whether there is anything to learn defects from."""
    return bool(roles.defects) or recipe.artificial


def defect_types(roles: Split) -> tuple[str, ...]:
    """What the classifier names; one kind of defect needs no name."""
    named = sorted({sample.label for sample in roles.defects})
    return tuple(named) if len(named) > 1 else ()


def _fuse(
    features: PatchFeatures, head: NormalityHead, heads: DefectHeads, roles: Split, spec: InputSpec, recipe: Recipe
) -> Fusion:
    """Weigh the three opinions on the validation images, and on artificial defects where real ones are too few."""
    examples = validation_examples(Photos(spec), roles.validation, (), recipe)
    rows = []
    with torch.inference_mode():
        for pixels, *_ in progress(examples, "fusion"):
            stages = features.backbone(pixels[None])
            logits, parts = heads(stages)
            anomaly_map = head(features.patches(stages))
            summit = top_mean(logits, recipe.top_k)
            rows.append((float(top_mean(anomaly_map, recipe.top_k)), float(summit), float(parts[0, 0])))
    normality, summits, parts_ = zip(*rows, strict=True)
    return fit_fusion(normality, summits, parts_, [bool(defective) for _, _, defective, *_ in examples])


def _names(samples: Sequence[Sample], dataset: Dataset) -> tuple[str, ...]:
    return tuple(sample.path.relative_to(dataset.root).as_posix() for sample in samples)


def _key(dataset: Dataset, recipe: Recipe) -> str:
    """What a checkpoint belongs to: the data's hash and the recipe."""
    return f"{dataset_sha256(dataset)} {recipe.model_dump_json()}"


def load_network(work: Work) -> InspectionNet:
    """The trained float network of a run, ready to be exported."""
    state, recipe = _load(work), work.fit_report().recipe
    features = PatchFeatures(Backbone.from_state(recipe.backbone, state["backbone"]), recipe.patch_stride)
    if "heads" not in state:
        return InspectionNet(features, normality_head(state), recipe.top_k).eval()
    heads = DefectHeads(features.backbone.channels, len(state["types"]))
    heads.load_state_dict(state["heads"])
    return InspectionNet(features, normality_head(state), recipe.top_k, heads, Fusion(**state["fusion"])).eval()


def chosen_patches(work: Work) -> Tensor:
    """Which of the candidates that `collect_patches` draws are in the memory bank: (N,) indices."""
    chosen: Tensor = _load(work)["chosen"]
    return chosen


def _load(work: Work) -> dict[str, Any]:
    path = work.need(MODEL, "fit")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise FitError(f"{path}: is damaged ({type(error).__name__}); run `python -m train fit` again") from error


def input_spec(samples: list[Sample], recipe: Recipe) -> InputSpec:
    """The model's input: the images' aspect ratio, about side^2 pixels, sides multiples of 16.

    Without a wanted side it is 0.4 of the images' own, between 320 and 640: larger parts need more cells
    (a 2000x1334 board set: AUROC .87 at 320, .95 at 640), smaller images do not get better by enlarging. Native: the
    images' own, with sides up to 15 pixels longer, so that nothing is averaged away.
    """
    shapes = [load_image(sample.path).shape for sample in samples[:: max(1, len(samples) // 25)]]
    height, width = (float(np.median([shape[axis] for shape in shapes])) for axis in (0, 1))
    if recipe.crop is not None:
        height, width = float(recipe.crop.height), float(recipe.crop.width)
    if recipe.native:
        return InputSpec(crop=recipe.crop, width=_whole(width), height=_whole(height), interpolation="linear")
    side = recipe.side or min(max(0.4 * (height * width) ** 0.5, 320.0), 640.0)
    scale = side / (height * width) ** 0.5
    # Below a factor of two bilinear sees every pixel, too, and takes a fifth of the time.
    how: Literal["area", "linear"] = "linear" if scale > 0.5 else "area"
    width, height = width * scale, height * scale
    return InputSpec(crop=recipe.crop, width=_rounded(width), height=_rounded(height), interpolation=how)


def _rounded(pixels: float) -> int:
    return max(4, round(pixels / MULTIPLE)) * MULTIPLE


def _whole(pixels: float) -> int:
    """A side that a grid of MULTIPLE covers; raises FitError when it is longer than the station can judge in time."""
    if pixels > MAX_NATIVE:
        raise FitError(f"native: an image side of {pixels:.0f} pixels is over {MAX_NATIVE}; give a crop, or a side")
    return math.ceil(pixels / MULTIPLE) * MULTIPLE
