"""Stage pretrain: good images -> backbone.pt, weights for `fit --weights` that have seen the product, without labels.

SimSiam (Chen and He 2021): what the backbone says of one view of a part shall be foretold from another view of it. The
upper blocks (`unfreeze`) learn, slowly; the lower ones and every batch norm statistic stay as they are. Off unless
asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from edge.core.cli import OneLineParser
from train import TrainError
from train.config import Recipe, add_recipe_options, recipe_from
from train.data.augment import Augment
from train.data.batches import Photos
from train.data.dataset import Sample, dataset_sha256, read_dataset
from train.data.split import split
from train.network.backbones import Backbone
from train.network.train_heads import WARM_UP, learning
from train.run import Work, git_commit, progress, versions
from train.stages.fit import input_spec

WEIGHTS = "backbone.pt"
OUTPUT, NARROW = 256, 64  # what is compared; the predictor's bottleneck (a quarter, as in the paper)
WEIGHT_DECAY = 1e-4
COLLAPSED = 0.1  # spread below which the outputs say nothing any more


class PretrainError(TrainError):
    """Nothing could be learned from the good images alone."""


class SimSiam(nn.Module):
    """Two (N, 3, H, W) float 0..255 RGB views of N parts -> loss -1..1 and spread of the outputs.

    The spread is the standard deviation of the normalised outputs over the batch times the root of their length: about
    1 when they point everywhere, 0 when all parts look alike to the network (the paper's section 4.1).
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        seen = sum(backbone.channels[-2:])  # strides 8 and 16, those that describe a patch
        self.new = nn.ModuleDict({"projector": _projector(seen), "predictor": _predictor()})

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        outputs = [self.new["projector"](self._pooled(view)) for view in (first, second)]
        foretold = [self.new["predictor"](output) for output in outputs]
        alike = [
            functional.cosine_similarity(foretold[i], outputs[1 - i].detach()).mean()  # the other side stands still
            for i in range(2)
        ]
        spread = functional.normalize(outputs[0].detach()).std(dim=0).mean() * OUTPUT**0.5
        return -(alike[0] + alike[1]) / 2, spread

    def _pooled(self, view: Tensor) -> Tensor:
        return torch.cat([stage.mean(dim=(2, 3)) for stage in self.backbone(view)[-2:]], dim=1)

    def train(self, mode: bool = True) -> SimSiam:
        """The backbone's batch norm keeps its statistics."""
        super().train(mode)
        self.backbone.eval()
        return self


def _projector(seen: int) -> nn.Sequential:
    hidden = nn.Linear(seen, OUTPUT, bias=False), nn.BatchNorm1d(OUTPUT), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(OUTPUT, OUTPUT, bias=False), nn.BatchNorm1d(OUTPUT, affine=False))


def _predictor() -> nn.Sequential:
    hidden = nn.Linear(OUTPUT, NARROW, bias=False), nn.BatchNorm1d(NARROW), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(NARROW, OUTPUT))


class Views(TorchDataset[tuple[Tensor, Tensor]]):
    """Two variations of a good part; number i of an epoch is the same in every run."""

    def __init__(self, photos: Photos, goods: Sequence[Sample], recipe: Recipe) -> None:
        self._photos, self._goods, self._recipe = photos, goods, recipe
        self._augment = Augment(recipe)
        self.epoch = 0

    def __len__(self) -> int:
        return self._recipe.steps * self._recipe.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self._recipe.seed, self.epoch, index])
        image, mask = self._photos.load(self._goods[int(rng.integers(len(self._goods)))])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            return self._augment(image, mask, rng)[0], self._augment(image, mask, rng)[0]


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder in MVTec layout")
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    add_recipe_options(parser)
    args = parser.parse_args(argv)
    pretrain(args.data, recipe_from(args), Work(args.work))


def pretrain(data: Path, recipe: Recipe, work: Work) -> Path:
    """Write backbone.pt, a state dict of the whole network, and pretrain.json; reads only what `fit` fits to.

    Of the recipe: backbone, weights, size, flips, epochs, steps, batch, rates, seed, parts. Raises PretrainError.
    """
    if recipe.backbone_rate == 0 or recipe.unfreeze == "none":
        raise PretrainError("the backbone would learn nothing; give --unfreeze upper and a --backbone-rate such as 0.1")
    start = time.monotonic()
    dataset = read_dataset(data)
    goods = split(dataset, recipe).fit
    spec = input_spec(list(goods), recipe)
    torch.manual_seed(recipe.seed)
    net = SimSiam(Backbone.pretrained(recipe.backbone, recipe.weights))
    epochs = _train(net, Views(Photos(spec), goods, recipe), recipe)
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


def _train(net: SimSiam, views: Views, recipe: Recipe) -> list[dict[str, float]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device).to(memory_format=torch.channels_last)  # 20 times faster backwards through depthwise convolutions
    groups = learning(net.backbone, net.new, recipe)
    optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    rates, total = [group["lr"] for group in groups], recipe.epochs * recipe.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=total, pct_start=WARM_UP)
    epochs = []
    for epoch in progress(range(recipe.epochs), "pretraining, epochs"):
        net.train()
        views.epoch = epoch
        losses, spreads = [], []
        for pair in DataLoader(views, recipe.batch):
            first, second = (view.to(device).to(memory_format=torch.channels_last) for view in pair)
            loss, spread = net(first, second)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            spreads.append(float(spread))
        epochs.append({"loss": float(np.mean(losses)), "spread": float(np.mean(spreads))})
        _refuse_collapse(epochs[-1], recipe)
    return epochs


def _refuse_collapse(epoch: dict[str, float], recipe: Recipe) -> None:
    if not math.isfinite(epoch["loss"]) or not epoch["spread"] >= COLLAPSED:
        raise PretrainError(
            f"the outputs have collapsed (loss {epoch['loss']:.3f}, spread {epoch['spread']:.3f}, at least {COLLAPSED} "
            f"is needed); lower `rate` (now {recipe.rate:g}) or raise --batch (now {recipe.batch})"
        )
