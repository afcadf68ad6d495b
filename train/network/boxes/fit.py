"""Photos with labelled boxes -> model.pt of a grid detector and fit.json, as `fit` writes them for other networks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.config import TrainConfig
from train.data.dataset import GOOD, Dataset, Sample, dataset_sha256, read_dataset
from train.data.input_spec import input_spec, own_size
from train.data.region import inspected
from train.data.region.picture import report_region
from train.data.split import Split, split
from train.network.backbones import Backbone
from train.network.boxes import BoxesError
from train.network.boxes.labels import FOLDER, Label, has_boxes, read_labels, types_of
from train.network.boxes.learn import train_boxes
from train.network.boxes.network import BoxInspectionNet, BoxNet
from train.network.boxes.windows import Windows
from train.network.saved import save_network, saved_state
from train.run import HEADS, FitReport, Run, git_commit, versions

SMALL = 0.1  # quantile of the boxes' sides that the input's size follows
SMALL_PX = 24  # pixels of the input that this side has, at least, where the photos have them
LARGEST_SIDE = 1024  # of the input; a larger one takes too long on the device


def fit_boxes(data: Path, recipe: TrainConfig, work: Run) -> FitReport:
    """Train a detector on all labelled defects and the good images that are not held out; write model.pt and fit.json.

    Raises BoxesError when labels are missing or cannot be meant.
    """
    start = time.monotonic()
    dataset = read_dataset(data)
    dataset, recipe, region_words = inspected(dataset, recipe)
    roles, defects, labels = _roles(dataset, recipe)
    types = types_of(labels, recipe.box_types)
    goods = [*roles.fit, *(sample for sample in roles.validation if sample.label == GOOD)]
    recipe = _with_side(recipe.with_epochs(labels=False), labels, own_size(goods, recipe))
    spec = input_spec(goods, recipe)
    windows = Windows(spec, labels, goods, types, recipe)
    half_side = _half_side(windows, defects)
    net = BoxNet(Backbone.pretrained(recipe.backbone, recipe.weights), len(types), half_side)
    history = train_boxes(net, windows, recipe)
    work.folder.mkdir(parents=True, exist_ok=True)
    save_network(work, {"boxes": net.state_dict(), "types": list(types), "half_side": half_side})
    work.write_report(HEADS, {"epochs": history, "kept_epoch": len(history)})
    report_region(work, dataset, recipe, region_words)
    report = FitReport(
        recipe=recipe,
        data=dataset.root.resolve(),
        dataset_sha256=dataset_sha256(dataset),
        input=spec,
        fit_images=dataset.names(goods),
        holdout_images=dataset.names(roles.holdout),
        defect_images=dataset.names(defects),
        left_out_images=dataset.names(roles.left_out),
        boxes=types,
        feature_channels=0,
        bank_rows=0,
        seconds=round(time.monotonic() - start, 1),
        git_commit=git_commit(),
        versions=versions(),
    )
    work.file("fit.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    count = sum(len(labels[sample]) for sample in defects)
    print(
        f"fit: {count} boxes of {len(types)} types on {len(defects)} photos, {len(goods)} good images, "
        f"{len(roles.holdout)} held out, {spec.width}x{spec.height}, {report.seconds:.0f} s"
    )
    return report


def _roles(dataset: Dataset, recipe: TrainConfig) -> tuple[Split, list[Sample], Mapping[Sample, Sequence[Label]]]:
    """Return the roles, the labelled defects to learn from, and their boxes; nothing is kept for validation."""
    if not has_boxes(dataset.root):
        raise BoxesError(f"{dataset.root / FOLDER}: is missing; it holds the boxes, NAME.txt for each defective photo")
    roles = split(dataset, recipe.model_copy(update={"limit": "split"}))
    defects = [*roles.defects, *(sample for sample in roles.validation if sample.label != GOOD)]
    if not defects:
        raise BoxesError(
            f"{dataset.root}: holds no labelled defect to learn from; put photos into train/TYPE, or give --labelled N"
        )
    return roles, defects, read_labels(dataset.root, defects, recipe.box_types)


def _with_side(recipe: TrainConfig, labels: Mapping[Sample, Sequence[Label]], own: tuple[float, float]) -> TrainConfig:
    """Return the recipe with a side at which small boxes are still SMALL_PX wide; photos are never enlarged for it."""
    if recipe.side is not None or recipe.native:
        return recipe
    sides = [min(right - left, bottom - top) for boxes in labels.values() for left, top, right, bottom, _ in boxes]
    share = min(1.0, SMALL_PX / float(np.quantile(sides, SMALL)))
    side = min(LARGEST_SIDE, max(64, round((own[0] * own[1]) ** 0.5 * share)))
    return recipe.model_copy(update={"side": side})


def _half_side(windows: Windows, defects: Sequence[Sample]) -> float:
    """Return half the side of the usual box, in pixels of the input: the median of their geometric means."""
    boxes = np.concatenate([windows.load(sample)[1] for sample in defects])
    return float(np.median(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))) / 2


def load_boxes(work: Run) -> BoxInspectionNet:
    """Return the trained detector of a run, ready to be exported."""
    state: dict[str, Any] = saved_state(work)
    recipe = work.fit_report().recipe
    if "boxes" not in state:
        raise BoxesError(f"{work.folder}: is no run of boxes; run `python -m train fit --boxes` again")
    net = BoxNet(Backbone(recipe.backbone), len(state["types"]), state["half_side"])
    net.load_state_dict(state["boxes"])
    return BoxInspectionNet(net).eval()
