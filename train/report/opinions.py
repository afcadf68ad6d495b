"""What the three opinions said of a part: the distance, the segmentation, and Grad-CAM of the classification head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from edge.core.types import Image
from edge.inference.preprocess import InputSpec, prepare
from edge.inference.usable import load_photo
from train.data.dataset import GOOD
from train.network.bank import as_floats
from train.network.heads import DefectHeads
from train.network.model import InspectionNet, mean_map, moved, of_both
from train.report.pictures import WIDTH, Entry, Panel, best_catches, jpeg, small, worst_escapes

SHOWN = 2  # catches and escapes each
COLOUR = (255, 70, 206)  # BGR, of the heatmap's ramp
OPACITY = 0.65  # where a map is highest

Cells = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Opinions:
    """The answer of each opinion to one part; every map (h, w) covers the model's input evenly."""

    picture: Image  # (height, width, 3) uint8 BGR, the model's input
    distance: Cells  # from good parts, at least 0
    segmentation: Cells  # log odds that a place is defective
    class_map: Cells  # Grad-CAM of "this part is defective", at least 0
    terms: tuple[float, float, float]  # log odds that each adds where the part's score comes from
    changed: float  # rank correlation of class_map with that of random heads: near 1, it would explain nothing


def opinion_panels(
    network: InspectionNet, spec: InputSpec, root: Path, images: Sequence[Entry], threshold: float
) -> list[Panel]:
    """Return what the opinions said of some catches, escapes and a typical good part; none for a network without heads.

    images: of evaluate.json, files relative to root. Words compare the log odds with those of the good part.
    """
    goods = sorted((image for image in images if image["label"] == GOOD), key=lambda image: image["score"])
    typical = goods[len(goods) // 2]
    good = opinions_of(network, spec, root / typical["file"])
    if good is None:
        return []
    chosen = [*best_catches(images, threshold)[:SHOWN], *worst_escapes(images, threshold)[:SHOWN]]
    shown = [(image["file"], opinions_of(network, spec, root / image["file"])) for image in chosen]
    panels = [_panel(file, one, _compared(one, good)) for file, one in shown if one is not None]
    return [*panels, _panel(typical["file"], good, "a typical good part, which the others are compared with")]


def _compared(one: Opinions, good: Opinions) -> str:
    distance, segmentation, part = (mine - its for mine, its in zip(one.terms, good.terms, strict=True))
    return (
        f"log odds beyond those of the typical good part: distance {distance:+.1f}, segmentation {segmentation:+.1f}, "
        f"classification {part:+.1f}"
    )


def _panel(file: str, one: Opinions, words: str) -> Panel:
    pictures = [("photo", one.picture)]
    for what, cells in (
        ("distance", one.distance),
        ("segmentation", one.segmentation),
        ("classification, Grad-CAM", one.class_map),
    ):
        pictures.append((what, painted(one.picture, cells)))
    if one.class_map.max() > 0:
        words += f"; with random heads Grad-CAM's rank correlation with this map is {one.changed:.2f}"
    else:
        words += "; nothing speaks for a defect to the classification head, so its map is empty"
    return Panel(file, words + ".", tuple((what, jpeg(small(picture, WIDTH))) for what, picture in pictures))


def grad_cam(heads: DefectHeads, stages: list[Tensor], output: int = 0) -> Tensor:
    """Return where an output of the classification head comes from, (1, 1, h, w) at the coarsest stage, at least 0.

    Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): the channels of the last feature map, weighed by the mean of
    the output's gradient. output: 0 for "defective", then the types of defect. stages: the backbone's, one image.
    """
    with torch.enable_grad():
        coarse = stages[-1].detach().clone().requires_grad_()
        _, parts = heads([*(stage.detach() for stage in stages[:-1]), coarse])
        (gradient,) = torch.autograd.grad(parts[0, output], coarse)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return functional.relu((weights * coarse.detach()).sum(dim=1, keepdim=True))


def of_scales(heads: DefectHeads, scales: Sequence[list[Tensor]], shift: tuple[int, int]) -> Tensor:
    """Return the mean of Grad-CAM at one or two scales, (1, 1, H/4, W/4), where it lies on the photo.

    scales: the backbone's stages at each; the second one's are turned. shift: cells of the heads' map (x, y) that the
    coarse features look beside their own.
    """
    found = []
    for stages in scales:
        cells = functional.interpolate(grad_cam(heads, stages), size=stages[0].shape[-2:], mode="bilinear")
        found.append(moved(cells, *shift))
    return mean_map(found)


def randomised(heads: DefectHeads, seed: int = 1) -> DefectHeads:
    """Return the same heads with random weights: their map must be another one (Adebayo et al. 2018)."""
    found = copy.deepcopy(heads)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in found.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                module.reset_parameters()
    return found.eval()


def opinions_of(network: InspectionNet, spec: InputSpec, photo: Path) -> Opinions | None:
    """Return what the float network's opinions say of a photo; None for a network without heads."""
    if network.heads is None or network.fusion is None:
        return None
    tensor = prepare(load_photo(photo, spec), spec)
    with torch.no_grad():
        scales, anomaly_map, _ = network.normality(as_floats(tensor))
        logits, parts = of_both([network.heads(stages) for stages in scales])
        terms = network.terms(anomaly_map, logits, parts[:, :1], network.fusion)
        top = (terms[0] + terms[1]).flatten().topk(network.normality.top_k).indices
        distance, segmentation = (float(term.flatten()[top].mean()) for term in terms[:2])
    class_map, other = (of_scales(heads, scales, network.shift) for heads in (network.heads, randomised(network.heads)))
    return Opinions(
        picture=np.ascontiguousarray(tensor[0][..., ::-1]),
        distance=_cells(terms[0] / network.fusion.normality),
        segmentation=_cells(logits),
        class_map=_cells(class_map),
        terms=(distance, segmentation, float(terms[2])),
        changed=rank_correlation(_cells(class_map), _cells(other)),
    )


def rank_correlation(one: Cells, other: Cells) -> float:
    """Return Spearman's correlation of two maps; 0 where one of them is the same everywhere."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def painted(picture: Image, cells: Cells) -> Image:
    """Paint an (h, w) map over a picture: nothing at its median and below, most where it is highest."""
    height, width = picture.shape[:2]
    low, high = float(np.median(cells)), float(cells.max())
    share = np.clip((cells - low) / max(high - low, 1e-9), 0.0, 1.0).astype(np.float32)
    opacity = OPACITY * np.asarray(cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    colour = np.full_like(picture, COLOUR)
    return np.asarray(cv2.blendLinear(picture, colour, 1.0 - opacity, opacity), np.uint8)


def _cells(maps: Tensor) -> Cells:
    return np.asarray(maps[0, 0].numpy(), np.float32)
