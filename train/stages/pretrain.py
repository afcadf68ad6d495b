"""Stage pretrain: good images -> backbone.pt, weights for `fit --weights` that have seen the product, without labels.

SimSiam (Chen and He 2021): what the backbone says of one view of a part shall be foretold from another view of it. The
upper blocks (`unfreeze`) learn, slowly; the lower ones and every batch norm statistic stay as they are. Off unless
asked for.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from edge.core.cli import OneLineParser
from train.config import TrainConfig, add_options, config_from
from train.data.batches import Photos
from train.data.dataset import dataset_sha256, read_dataset
from train.data.input_spec import input_spec
from train.data.region import inspected
from train.data.split import split
from train.network.backbones import Backbone
from train.network.trunk.pretraining import SimSiam, Views, learn_views
from train.run import Run, git_commit, versions
from train.stages import StageError

WEIGHTS = "backbone.pt"


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    add_options(parser)
    args = parser.parse_args(argv)
    pretrain(args.data, config_from(args), Run(args.work))


def pretrain(data: Path, recipe: TrainConfig, work: Run) -> Path:
    """Write backbone.pt, a state dict of the whole network, and pretrain.json; it learns from what `fit` fits to.

    Of the recipe: backbone, weights, size, region, flips, epochs, steps, batch, rates, seed, parts. Raises StageError.
    """
    if recipe.backbone_rate == 0 or recipe.unfreeze == "none":
        raise StageError("the backbone would learn nothing; give --unfreeze upper and a --backbone-rate such as 0.1")
    if "LOCAL_RANK" in os.environ:
        raise StageError("pretraining runs in one process; start it without torchrun")
    start = time.monotonic()
    dataset, recipe, _ = inspected(read_dataset(data), recipe)
    recipe = recipe.with_epochs(labels=False)
    goods = split(dataset, recipe).fit
    spec = input_spec(list(goods), recipe)
    torch.manual_seed(recipe.seed)
    net = SimSiam(Backbone.pretrained(recipe.backbone, recipe.weights))
    epochs = learn_views(net, Views(Photos(spec), goods, recipe), recipe)
    work.folder.mkdir(parents=True, exist_ok=True)
    path = work.file(WEIGHTS)
    draft = path.with_suffix(".draft")
    torch.save(net.backbone.cpu().whole_state(recipe.weights), draft)
    draft.replace(path)
    facts = {
        "recipe": recipe.model_dump(mode="json"),
        "dataset_sha256": dataset_sha256(dataset),
        "images": [sample.path.relative_to(dataset.root).as_posix() for sample in goods],
        "input": f"{spec.width}x{spec.height}",
        "epochs": epochs,
        "seconds": round(time.monotonic() - start, 1),
        "git_commit": git_commit(),
        "versions": versions(),
    }
    work.write_report("pretrain.json", facts)
    print(
        f"pretrain: {len(goods)} good images, loss {epochs[0]['loss']:.3f} to {epochs[-1]['loss']:.3f}, "
        f"spread {epochs[-1]['spread']:.2f} (collapsed: 0), {facts['seconds']} s; use it: --weights {path}"
    )
    return path
