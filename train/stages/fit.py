"""Stage fit: photographs -> model.pt: the memory bank of normal patches and, where there are defects, the heads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge.core.cli import OneLineParser
from edge.core.types import AnomalyMap, Image
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig, add_options, config_from
from train.data.batches import Photos, validation_examples
from train.data.dataset import Dataset, Sample, dataset_sha256, read_dataset
from train.data.input_spec import input_spec, with_bits
from train.data.split import Split, split
from train.network.backbones import STRIDES, Backbone
from train.network.bank import as_floats, memory_bank, normality_head
from train.network.checkpoint import History
from train.network.fusion import Fusion, fit_fusion
from train.network.geometry import measure_geometry, prepared_photos
from train.network.heads import DefectHeads
from train.network.model import NormalityHead, PatchFeatures, top_mean
from train.network.saved import save_network
from train.network.train_heads import train_heads
from train.run import HEADS, FitReport, Run, git_commit, progress, rank, versions

CHECKPOINT = "heads_checkpoint.pt"


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    add_options(parser)
    args = parser.parse_args(argv)
    fit(args.data, config_from(args), Run(args.work))


def fit(data: Path, recipe: TrainConfig, work: Run) -> FitReport | None:
    """Train what there is data for and write model.pt, fit.json and, with heads, heads.json into the run's folder.

    The heads come first, since they change the backbone; the memory bank is then built of what is left. None in the
    other processes of a torchrun, which only train.
    """
    start = time.monotonic()
    dataset = read_dataset(data)
    recipe = with_bits(dataset.train_good, recipe)
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
        shift = _shift(features, normality_head(state), roles, spec, recipe)
        state |= {"heads": learned.heads.state_dict(), "types": list(learned.types), "fusion": fusion, "shift": shift}
        facts = {"epochs": learned.history.epochs, "kept_epoch": learned.history.kept, "fusion": fusion}
        work.write_report(HEADS, facts)
    save_network(work, state)
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


def _learn(
    backbone: Backbone, roles: Split, spec: InputSpec, recipe: TrainConfig, work: Run, key: str
) -> _Learned | None:
    """Train the heads and, in place, the backbone; None when there is nothing to learn from."""
    if not roles.has_heads(recipe):
        return None
    types = roles.defect_types
    net, history = train_heads(backbone, roles, types, spec, recipe, work.file(CHECKPOINT), key)
    backbone.load_state_dict(net.backbone.state_dict())
    return _Learned(net.heads, types, history)


def _fuse(
    features: PatchFeatures, head: NormalityHead, heads: DefectHeads, roles: Split, spec: InputSpec, recipe: TrainConfig
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


def _shift(
    features: PatchFeatures, head: NormalityHead, roles: Split, spec: InputSpec, recipe: TrainConfig
) -> list[int]:
    """Measure by how many cells of the heads' map, x and y, the normality map lies beside where it looks."""

    def cells(tensor: Image) -> AnomalyMap:
        with torch.inference_mode():
            return np.asarray(head(features(as_floats(tensor)))[0, 0].numpy())

    geometry, _ = measure_geometry(cells, prepared_photos([sample.path for sample in roles.fit], spec), recipe.seed)
    middle = (geometry.stride - 1.0) / 2.0
    return [round((offset - middle) / STRIDES[0]) for offset in geometry.offset]


def _names(samples: Sequence[Sample], dataset: Dataset) -> tuple[str, ...]:
    return tuple(sample.path.relative_to(dataset.root).as_posix() for sample in samples)


def _key(dataset: Dataset, recipe: TrainConfig) -> str:
    """Return the key of a run's checkpoint: the data's hash and the recipe."""
    return f"{dataset_sha256(dataset)} {recipe.model_dump_json()}"
