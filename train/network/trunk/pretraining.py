"""SimSiam (Chen and He 2021): what the backbone says of one view of a part is foretold from another view of it.

The upper blocks (`unfreeze`) learn, slowly; the lower ones and every batch norm statistic stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from train.config import TrainConfig
from train.data.augment import Augment
from train.data.batches import Photos
from train.data.dataset import Sample
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.train_heads import WARM_UP, learning
from train.run import progress

OUTPUT, NARROW = 256, 64  # what is compared; the predictor's bottleneck (a quarter, as in the paper)
WEIGHT_DECAY = 1e-4
COLLAPSED = 0.1  # spread below which the outputs say nothing any more


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

    def __init__(self, photos: Photos, goods: Sequence[Sample], recipe: TrainConfig) -> None:
        self._photos, self._goods, self._recipe = photos, goods, recipe
        self._augment = Augment(recipe)
        self.epoch = 0

    def __len__(self) -> int:
        return self._recipe.steps * self._recipe.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self._recipe.seed, self.epoch, index])
        image, mask = self._photos.load(self._goods[int(rng.integers(len(self._goods)))])
        return self._augment(image, mask, rng)[0], self._augment(image, mask, rng)[0]


def learn_views(net: SimSiam, views: Views, recipe: TrainConfig) -> list[dict[str, float]]:
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


def _refuse_collapse(epoch: dict[str, float], recipe: TrainConfig) -> None:
    if not math.isfinite(epoch["loss"]) or not epoch["spread"] >= COLLAPSED:
        raise NetworkError(
            f"the outputs have collapsed (loss {epoch['loss']:.3f}, spread {epoch['spread']:.3f}, at least {COLLAPSED} "
            f"is needed); lower `rate` (now {recipe.rate:g}) or raise --batch (now {recipe.batch})"
        )
