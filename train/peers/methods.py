"""The peers' networks: anomalib's PatchCore and PaDiM, trained on the good photographs and written as ONNX.

anomalib is imported only here and only when a peer is asked for: it is an extra of the workstation.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import timm
import torch
from torch import Tensor, nn

from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.int8.graph import OPSET
from train.int8.onnx_export import quiet
from train.network.backbones import Backbone
from train.network.bank import image_tensor
from train.peers import PeersError
from train.run import progress

NEIGHBOURS = 9  # of PatchCore's score (Roth et al. 2022), anomalib's default
PADIM_FEATURES = 100  # of each place, drawn at random (Defard et al. 2021), anomalib's default for a small backbone


class Bytes(nn.Module):
    """A peer that takes `image` (1, height, width, 3) uint8 RGB and answers `score` (1,) and `anomaly_map`."""

    def __init__(self, model: nn.Module, name: str) -> None:
        """model: float, answers pred_score and anomaly_map; name: the backbone, whose statistics it is shown."""
        super().__init__()
        self.model = model
        config = timm.get_pretrained_cfg(name)
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(config.std).view(1, 3, 1, 1))

    def shown(self, image: Tensor) -> Tensor:
        """Return the peer's input of (1, 3, height, width) float 0..255."""
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.model(self.shown(image.permute(0, 3, 1, 2).float()))
        return answer.pred_score.reshape(1), answer.anomaly_map


def need_anomalib() -> None:
    """Raise PeersError when anomalib is not installed."""
    if importlib.util.find_spec("anomalib") is None:
        raise PeersError(
            "anomalib is not installed; run `pip install 'linewatch[train,compare]'` in an environment of its own, "
            "or compare bundles alone by --peers none"
        )


def train_peer(method: str, photos: Sequence[Path], spec: InputSpec, recipe: TrainConfig, model: Path) -> None:
    """Train a method of METHODS on good photographs and write it as an ONNX file of fixed shape."""
    torch.manual_seed(recipe.seed)
    with quiet(), torch.inference_mode():
        peer = METHODS[method](photos, spec, recipe).eval()
    example = torch.zeros(1, spec.height, spec.width, 3, dtype=torch.uint8)
    with quiet(), torch.no_grad():
        torch.onnx.export(
            peer,
            (example,),
            str(model),
            input_names=["image"],
            output_names=["score", "anomaly_map"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )


def _patchcore(photos: Sequence[Path], spec: InputSpec, recipe: TrainConfig) -> Bytes:
    """Return PatchCore with the memory bank of the recipe's size, chosen from as many candidates as the product's."""
    model = _torch_model("patchcore").PatchcoreModel(
        layers=_layers(recipe)[-2:], backbone=recipe.backbone, pre_trained=False, num_neighbors=NEIGHBOURS
    )
    peer = _shown_all(model, photos, spec, recipe)
    patches = torch.vstack(model.embedding_store)
    patches = patches[torch.randperm(len(patches))[: recipe.candidates]]
    if len(patches) <= recipe.bank:
        raise PeersError(
            f"{len(photos)} good images give {len(patches)} patches, a bank of {recipe.bank} needs more; "
            f"add good images or ask for a smaller --bank"
        )
    model.embedding_store = [patches]
    model.subsample_embedding(recipe.bank / len(patches))
    return peer


def _padim(photos: Sequence[Path], spec: InputSpec, recipe: TrainConfig) -> Bytes:
    """Return PaDiM: a normal distribution of the features at each place of the photograph."""
    model = _torch_model("padim").PadimModel(
        backbone=recipe.backbone, layers=_layers(recipe), pre_trained=False, n_features=PADIM_FEATURES
    )
    peer = _shown_all(model, photos, spec, recipe)
    model.fit()
    return peer


METHODS: dict[str, Callable[[Sequence[Path], InputSpec, TrainConfig], Bytes]] = {
    "patchcore": _patchcore,
    "padim": _padim,
}


def _torch_model(name: str) -> ModuleType:
    return importlib.import_module(f"anomalib.models.image.{name}.torch_model")


def _layers(recipe: TrainConfig) -> list[str]:
    """Return timm's names of the stages at strides 4, 8 and 16."""
    return list(Backbone(recipe.backbone).stages.feature_info.module_name())


def _shown_all(model: nn.Module, photos: Sequence[Path], spec: InputSpec, recipe: TrainConfig) -> Bytes:
    """Give the model the product's weights and show it every photograph, which it stores the features of."""
    backbone = model.feature_extractor.feature_extractor
    known = Backbone.pretrained(recipe.backbone, recipe.weights).whole_state(recipe.weights)
    backbone.load_state_dict({key: known[key] for key in backbone.state_dict()})
    peer = Bytes(model, recipe.backbone).train()
    for path in progress(photos, "peer"):
        model(peer.shown(image_tensor(path, spec)))
    return peer
