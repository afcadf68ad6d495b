"""Stage fit: photographs -> model.pt: the memory bank of normal patches and, where there are defects, the heads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from edge.core.cli import OneLineParser
from edge.core.types import AnomalyMap, Image
from edge.inference.placement import MapGeometry
from edge.inference.preprocess import InputSpec
from train.config import TrainConfig, add_options, config_from
from train.data.batches import Photos, validation_examples
from train.data.dataset import Dataset, Sample, dataset_sha256, read_dataset
from train.data.input_spec import input_spec
from train.data.region import inspected
from train.data.region.picture import report_region
from train.data.split import Split, split
from train.int8.in_time import chosen_before, in_time
from train.network.backbones import STRIDES, Backbone, turned
from train.network.bank import (
    as_floats,
    memory_banks,
    normality_head,
    refuse_few,
    scores_of_goods,
    second_share,
    spread_goods,
)
from train.network.boxes.fit import fit_boxes
from train.network.checkpoint import History, key_of, weights_of
from train.network.fusion import Fusion, fit_fusion
from train.network.geometry import measure_geometry, prepared_photos, rough_geometry
from train.network.heads import DefectHeads
from train.network.model import Normality, PatchFeatures, Place, of_both, top_mean
from train.network.saved import save_network, second_opinion
from train.network.second.choice import place_words, with_places
from train.network.second.place import collect_places, place_stages
from train.network.train_heads import joined_device, train_heads
from train.network.trunk.distil import distil
from train.network.trunk.halfway import halfway
from train.run import HEADS, FitReport, Run, git_commit, progress, rank, versions
from train.stages import StageError

CHECKPOINT = "heads_checkpoint.pt"
STUDENT = "student.json"


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    add_options(parser)
    args = parser.parse_args(argv)
    fit(args.data, config_from(args), Run(args.work))


def fit(data: Path, recipe: TrainConfig, work: Run, region: str = "") -> FitReport | None:
    """Train what there is data for and write model.pt, fit.json and, with heads, heads.json into the run's folder.

    The heads come first, since they change the backbone; the memory bank is then built of what it sees. Heads that only
    artificial defects have taught are left behind: the bank gains by the backbone, and nothing by them
    (docs/decisions/0017). None in the other processes of a torchrun, which only train.
    region: what is inspected, in words, where that was decided before.
    """
    if recipe.boxes:
        return fit_boxes(data, recipe, work)
    start = time.monotonic()
    dataset = read_dataset(data)
    wanted = recipe
    dataset, recipe, region_words = inspected(dataset, recipe)
    roles = split(dataset, recipe)
    recipe = recipe.with_epochs(roles.has_heads)
    if recipe.profile == "nano" and roles.has_heads:
        raise StageError(
            f"{dataset.root}: holds labelled defects in train/, and profile = nano learns from good photos alone; "
            f"move them to test/, or use profile = full"
        )
    recipe, moving_words = with_places(recipe, roles, dataset, wanted)
    recipe = _in_time(recipe, roles, dataset, work)
    spec = input_spec(list(roles.fit), recipe)
    refuse_few(len(roles.bank), spec, recipe)
    backbone = Backbone.pretrained(recipe.backbone, recipe.weights)
    key = _key(dataset, recipe)
    learned = _learn(backbone, roles, spec, recipe, work, key)
    if rank() > 0:
        return None
    work.folder.mkdir(parents=True, exist_ok=True)
    backbone = _student_of(backbone, roles, spec, recipe, work)
    features = PatchFeatures(backbone, recipe.patch_stride).eval()
    banks, odd = memory_banks(features, roles.bank, spec, recipe)
    state = {**_state(features, banks, roles, spec, recipe), "backbone": backbone.state_dict()}
    fusion = None
    if learned is not None and roles.has_heads:
        fusion, opinion = _opinion_of(learned, features, state, roles, spec, recipe)
        state |= opinion
    _tell_heads(work, learned, fusion)
    save_network(work, state)
    report_region(work, dataset, recipe, f"{region or moving_words or region_words}{place_words(recipe)}")
    work.file(CHECKPOINT).unlink(missing_ok=True)
    rows = len(state["patches"]) + len(state.get("second", {}).get("patches", ()))
    report = FitReport(
        recipe=recipe,
        data=dataset.root.resolve(),
        dataset_sha256=key.split()[0],
        input=spec,
        types=learned.types if learned is not None and roles.has_heads else (),
        feature_channels=state["patches"].shape[1],
        bank_rows=rows,
        seconds=round(time.monotonic() - start, 1),
        git_commit=git_commit(),
        versions=versions(),
        **_roles_of(dataset, roles, odd),
    )
    work.file("fit.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _tell_fit(report, roles, odd, learned is not None)
    return report


def _roles_of(dataset: Dataset, roles: Split, odd: Sequence[Sample]) -> dict[str, Any]:
    """Return the fields of the report that say which image was used for what; odd: the goods that gave no patches."""
    return {
        "fit_images": dataset.names(roles.fit),
        "holdout_images": dataset.names(roles.holdout),
        "validation_images": dataset.names(roles.validation),
        "defect_images": dataset.names(roles.defects),
        "left_out_images": dataset.names(roles.left_out),
        "cross": roles.cross,
        "spared_images": dataset.names(odd),
    }


def _tell_fit(report: FitReport, roles: Split, odd: Sequence[Sample], taught: bool) -> None:
    """Say in one line what was fitted; taught: by defects, labelled or artificial."""
    spec = report.input
    defects = f", {len(roles.defects)} labelled defects" if roles.defects else ", artificial defects" if taught else ""
    held = f"{len(roles.holdout)} held out" if roles.holdout else "each scored without its own part for the limit"
    print(
        f"fit: {len(roles.fit)} good images{defects}, {held}, {spec.width}x{spec.height}, "
        f"bank {report.bank_rows} x {report.feature_channels}, {report.seconds:.0f} s"
    )
    for sample in odd:
        print(f"fit: look at {sample.path}: it lies far beyond the other good parts; the bank does without it")


def _student_of(backbone: Backbone, roles: Split, spec: InputSpec, recipe: TrainConfig, work: Run) -> Backbone:
    """Return the network that judges: the backbone, or its student; student.json then says what the student is."""
    if recipe.profile == "full":
        work.file(STUDENT).unlink(missing_ok=True)
        return backbone
    start = time.monotonic()
    student, facts = distil(backbone, Photos(spec), roles.fit, recipe)
    work.write_report(STUDENT, {**facts, "seconds": round(time.monotonic() - start, 1)})
    print(
        f"fit: a student of {facts['parameters']:,} parameters in place of {facts['teacher_parameters']:,}, "
        f"taught by {facts['pairs']} good photos with and without artificial defects"
    )
    return student


def _opinion_of(
    learned: _Learned,
    features: PatchFeatures,
    state: dict[str, Any],
    roles: Split,
    spec: InputSpec,
    recipe: TrainConfig,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how the heads' opinion is fused with the bank's, and what the network's state gains by the heads."""
    normality = Normality(features, normality_head(state), recipe.top_k, second_opinion(state)).eval()
    fusion = asdict(_fuse(normality, learned.heads, roles, spec, recipe))
    photos = prepared_photos([sample.path for sample in roles.fit], spec)
    place, _ = measure_geometry(_cells(lambda tensor: normality(tensor)[1]), photos, recipe.seed)
    shift = [round((offset - (place.stride - 1.0) / 2.0) / STRIDES[0]) for offset in place.offset]
    return fusion, {
        "heads": learned.heads.state_dict(),
        "types": list(learned.types),
        "fusion": fusion,
        "shift": shift,
    }


def _tell_heads(work: Run, learned: _Learned | None, fusion: dict[str, Any] | None) -> None:
    """Write heads.json of what was learned, or remove that of a run before."""
    if learned is None:
        work.file(HEADS).unlink(missing_ok=True)
        return
    facts: dict[str, Any] = {"epochs": learned.history.epochs, "kept_epoch": learned.history.kept}
    work.write_report(HEADS, facts if fusion is None else facts | {"fusion": fusion})


def _in_time(recipe: TrainConfig, roles: Split, dataset: Dataset, work: Run) -> TrainConfig:
    """Return the recipe with its input decided: as before an interruption, and alike in all processes of a torchrun."""
    if "LOCAL_RANK" not in os.environ:
        return _first_choice(recipe, dataset, work) or in_time(recipe, roles)
    device = joined_device()
    said = [""]
    if rank() == 0:
        said = [(_first_choice(recipe, dataset, work) or in_time(recipe, roles)).model_dump_json()]
    distributed.broadcast_object_list(said, 0, device=device)
    return TrainConfig.model_validate_json(said[0])


def _first_choice(recipe: TrainConfig, dataset: Dataset, work: Run) -> TrainConfig | None:
    """Return the recipe of the interrupted run that this one goes on with; None where there is none."""
    sha256, _, text = (key_of(work.file(CHECKPOINT)) or "").partition(" ")
    return chosen_before(recipe, text) if sha256 == dataset_sha256(dataset) else None


@dataclass(frozen=True)
class _Learned:
    heads: DefectHeads
    types: tuple[str, ...]
    history: History


def _learn(
    backbone: Backbone, roles: Split, spec: InputSpec, recipe: TrainConfig, work: Run, key: str
) -> _Learned | None:
    """Train the heads and, in place, the backbone; None when there is nothing to learn from."""
    if not (roles.has_heads or recipe.teaches):
        return None
    types, before = roles.defect_types, weights_of(backbone)
    net, history = train_heads(backbone, roles, types, spec, recipe, work.file(CHECKPOINT), key)
    after = net.backbone.state_dict()
    backbone.load_state_dict(after if roles.has_heads else halfway(before, after))
    return _Learned(net.heads, types, history)


def _state(
    features: PatchFeatures, banks: Sequence[dict[str, Tensor]], roles: Split, spec: InputSpec, recipe: TrainConfig
) -> dict[str, Any]:
    """Return the memory bank and, for two scales, the second one with its weight and place beside the first."""
    if len(banks) == 1 and not recipe.places:
        return dict(banks[0])
    scores = scores_of_goods(features, banks, roles.bank, spec, recipe)
    photos = prepared_photos([sample.path for sample in roles.fit], spec)

    def geometry(answer: Callable[[Tensor], Tensor]) -> MapGeometry:
        return rough_geometry(_cells(answer), photos, recipe.seed)

    heads = [normality_head(bank) for bank in banks]
    bank = geometry(lambda image: heads[0](features(image)))
    if recipe.places:
        places = collect_places(place_stages(features, spec), roles.bank, recipe)
        share = second_share(scores[0], places.scores(spread_goods(len(roles.bank)), recipe.top_k), recipe.place_weight)
        known = places.known()
        place = Place(known, share)
        shift = _shift(geometry(lambda image: place(features.backbone(image))[1]), bank)
        return {**banks[0], "place": {"known": known, "share": share, "shift": shift}}
    second = geometry(lambda image: turned(heads[1](features.scales(image, 2)[1])))
    facts = {"share": second_share(scores[0], scores[1]), "shift": _shift(bank, second), "turned": True}
    return {**banks[0], "second": {**banks[1], **facts}}


def _shift(grid: MapGeometry, added: MapGeometry) -> list[int]:
    """Return the cells of a grid, x and y, that another map is moved by to lie true where it is drawn over it."""
    drawn = (grid.stride - added.stride) / 2.0
    return [round((b + drawn - a) / grid.stride) for a, b in zip(grid.offset, added.offset, strict=True)]


def _fuse(normality: Normality, heads: DefectHeads, roles: Split, spec: InputSpec, recipe: TrainConfig) -> Fusion:
    """Weigh the three opinions on the validation images, and on artificial defects where real ones are too few."""
    examples = validation_examples(Photos(spec), roles.validation, (), recipe)
    rows = []
    with torch.inference_mode():
        for pixels, *_ in progress(examples, "fusion"):
            scales, anomaly_map, _ = normality(pixels[None])
            logits, parts = of_both([heads(stages) for stages in scales])
            summit = top_mean(logits, recipe.top_k)
            rows.append((float(top_mean(anomaly_map, recipe.top_k)), float(summit), float(parts[0, 0])))
    distances, summits, parts_ = zip(*rows, strict=True)
    return fit_fusion(distances, summits, parts_, [bool(defective) for _, _, defective, *_ in examples])


def _cells(answer: Callable[[Tensor], Tensor]) -> Callable[[Image], AnomalyMap]:
    """Return a function from a prepared image to the cells (h, w) of a map (1, 1, h, w)."""

    def cells(tensor: Image) -> AnomalyMap:
        with torch.inference_mode():
            return np.asarray(answer(as_floats(tensor))[0, 0].numpy())

    return cells


def _key(dataset: Dataset, recipe: TrainConfig) -> str:
    """Return the key of a run's checkpoint: the data's hash and the recipe."""
    return f"{dataset_sha256(dataset)} {recipe.model_dump_json()}"
