"""The network that ships: one backbone, a normality head, two more where defects were learned; one static graph."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.network.backbones import Backbone, turned
from train.network.fusion import PART_LIMIT, SOFTNESS, Fusion
from train.network.heads import DefectHeads

BANK_ROWS = 512


class PatchFeatures(nn.Module):
    """(1, 3, H, W) float 0..255 RGB -> (1, C, H/s, W/s), a patch every s = 8 or 16 pixels: two stages side by side.

    Locally aware patch features as in PatchCore (Roth et al. 2022, section 3.1): with s = 8 each stage is averaged
    over 3x3 and the coarse one enlarged, with s = 16 the fine one is averaged over 2x2, which has a quarter of the
    patches (docs/decisions/0005). The average does not count its padding: OpenVINO's INT8 pooling pads with 0
    instead of the zero point otherwise.
    """

    def __init__(self, backbone: Backbone, stride: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.stride = stride
        self.fine_channels = backbone.channels[-2]

    def forward(self, image: Tensor) -> Tensor:
        return self.patches(self.backbone(image))

    def scales(self, image: Tensor, count: int) -> tuple[Tensor, ...]:
        """Return the patches of the image and, for two scales, those of the image averaged 2 x 2 and turned."""
        return tuple(self.patches(stages) for stages in self.stages(image, count))

    def stages(self, image: Tensor, count: int) -> tuple[list[Tensor], ...]:
        """Return the backbone's stages of the image and, for two scales, of the image averaged 2 x 2 and turned."""
        return self.backbone.two_scales(image) if count == 2 else (self.backbone(image),)

    def patches(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the patches from the backbone's stages."""
        fine, coarse = stages[-2:]
        coarse = functional.avg_pool2d(coarse, 3, 1, 1, count_include_pad=False)
        if self.stride == 16:
            return torch.cat([functional.avg_pool2d(fine, 2), coarse], dim=1)
        fine = functional.avg_pool2d(fine, 3, 1, 1, count_include_pad=False)
        coarse = functional.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], dim=1)


class NormalityHead(nn.Module):
    """Features (1, C, h, w) -> (1, 1, h, w) distance to the nearest of N normal patches, per standardised channel.

    |q - m|^2 = |q|^2 - 2 q.m + |m|^2, so the memory bank is a 1x1 convolution followed by a minimum over
    channels: no index, and it quantises like any other layer. It is computed BANK_ROWS rows at a time, so that what
    the minimum reads is still in the cache and a large input does not need N maps at once.
    """

    def __init__(self, mean: Tensor, std: Tensor, bank: Tensor) -> None:
        """mean, std: (C,) of the features; bank: (N, C) standardised normal patches."""
        super().__init__()
        channels = bank.shape[1]
        self.register_buffer("mean", mean.view(1, channels, 1, 1))
        self.register_buffer("std", std.view(1, channels, 1, 1))
        self.bank = nn.ModuleList(_distances(rows) for rows in bank.tensor_split(-(-len(bank) // BANK_ROWS)))

    def forward(self, features: Tensor) -> Tensor:
        query = (features - self.mean) / self.std
        nearest = functools.reduce(torch.minimum, (rows(query).amin(dim=1, keepdim=True) for rows in self.bank))
        squared = (query * query).sum(dim=1, keepdim=True) + nearest
        return squared.clamp_min(0.0).sqrt() / features.shape[1] ** 0.5


def _distances(rows: Tensor) -> nn.Conv2d:
    """(N, C) normal patches -> the convolution that gives -2 q.m + |m|^2 for each."""
    convolution = nn.Conv2d(rows.shape[1], len(rows), 1)
    with torch.no_grad():
        convolution.weight.copy_(-2.0 * rows[:, :, None, None])
        convolution.bias.copy_((rows * rows).sum(dim=1))
    return convolution


class SecondScale(nn.Module):
    """A memory bank of the photographs averaged 2 x 2 and turned by 180 degrees, added to that of the whole resolution.

    What is larger than the cells of the first scale see is told by the second (docs/decisions/0013), and turned it
    sees each edge of the photograph with other padding (docs/decisions/0018).
    """

    def __init__(self, head: NormalityHead, share: float, shift: tuple[int, int] = (0, 0)) -> None:
        """share: weight of this scale's map and score, 0..1; the first scale's have the rest.

        shift: cells of the first scale's map (x, y) that this one is moved by to lie true beside it.
        """
        super().__init__()
        self.head = head
        self.share = share
        self.shift = shift

    def added(self, first: Tensor, own: Tensor) -> Tensor:
        """Return the weighted sum of the first scale's map (1, 1, h, w) and this one's, which has fewer cells.

        own: still turned, as the head answers.
        """
        finer = functional.interpolate(turned(own), size=first.shape[-2:], mode="bilinear", align_corners=False)
        return (1.0 - self.share) * first + self.share * moved(finer, *self.shift)


class Place(nn.Module):
    """How far each place is from what good parts show there, added to the distance from the memory bank.

    A bank knows which patches there are, not where they belong (docs/decisions/0030). Each cell of the stages at
    strides 8 and 16 has a mean and a spread of its own; how channels vary together is alike at all places of a stage.
    Both stages count alike.
    """

    def __init__(
        self, known: Sequence[tuple[Tensor, Tensor, Tensor]], share: float, shift: tuple[int, int] = (0, 0)
    ) -> None:
        """known, at stride 8 and at stride 16: mean and spread of good parts, (1, C, h, w) each, and the (C, C) matrix
        that makes their channels independent.

        share: weight of this map and score, 0..1; shift: cells of this map (x, y) that the memory bank's is moved by to
        lie true beside it.
        """
        super().__init__()
        self.fine, self.coarse = (_Known(*stage) for stage in known)
        self.share = share
        self.shift = shift

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The backbone's stages, the last two (1, C, h, w) at strides 8 and 16 -> two maps (1, 1, h, w) at stride 8.

        The first is judged: the root of the mean square of what both stages are away. The second is drawn: their
        geometric mean, which is high where both are, and so as sharp as the fine one.
        """
        fine, coarse = self.fine(stages[-2]), self.coarse(stages[-1])
        finer = functional.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return ((fine + finer) / 2.0).sqrt(), (fine * finer).sqrt().sqrt()

    def added(self, bank: Tensor, own: Tensor) -> Tensor:
        """Return the weighted sum of the bank's map (1, 1, h, w), which may have fewer cells, and this one's."""
        finer = functional.interpolate(bank, size=own.shape[-2:], mode="bilinear", align_corners=False)
        return (1.0 - self.share) * moved(finer, *self.shift) + self.share * own


class _Known(nn.Module):
    """What good parts show at each place of a stage."""

    def __init__(self, mean: Tensor, spread: Tensor, independent: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.independent = nn.Conv2d(len(independent), len(independent), 1, bias=False).requires_grad_(False)
        with torch.no_grad():
            self.independent.weight.copy_(independent[:, :, None, None])

    def forward(self, stage: Tensor) -> Tensor:
        """(1, C, h, w) -> (1, 1, h, w), the mean square of how far the stage is away (Mahalanobis)."""
        away = (stage - self.mean) / self.spread  # a product with a constant would be quantised as a weight
        apart = self.independent(away)
        return (apart * apart).mean(dim=1, keepdim=True)


class Normality(nn.Module):
    """Image (1, 3, H, W) float 0..255 RGB -> stages of each scale, distances from normal (1, 1, h, w), score (1,)."""

    def __init__(
        self, features: PatchFeatures, head: NormalityHead, top_k: int, second: SecondScale | Place | None = None
    ) -> None:
        """top_k: cells of an opinion's map that make its score; second: an opinion beside the memory bank."""
        super().__init__()
        self.features = features
        self.head = head
        self.top_k = top_k
        self.second = second

    def forward(self, image: Tensor) -> tuple[tuple[list[Tensor], ...], Tensor, Tensor]:
        scales = self.features.stages(image, 2 if isinstance(self.second, SecondScale) else 1)
        first = self.head(self.features.patches(scales[0]))
        if self.second is None:
            return scales, first, top_mean(first, self.top_k)
        if isinstance(self.second, Place):
            second, drawn = self.second(scales[0])
        else:
            drawn = second = self.second.head(self.features.patches(scales[1]))
        share = self.second.share
        score = (1.0 - share) * top_mean(first, self.top_k) + share * top_mean(second, self.top_k)
        return scales, self.second.added(first, drawn), score


class InspectionNet(nn.Module):
    """The exported network: image (1, 3, H, W) float 0..255 RGB -> score (1,), anomaly_map (1, 1, h, w).

    Without the heads that learn from defects, the map is the normality map at stride s. With them it is at stride 4,
    softplus(log odds / 16) / ln 2 of the three opinions added up (train.network.fusion): 1 at even odds, never
    negative, and never falling when an opinion rises; the part's own logit moves the whole map, within limits.

    The score is the mean of the map's highest values: one hot cell is noise more often than a defect is that small,
    since every cell has already seen 3x3 patches. Of two scales each has such a score, and the weighted sum is the
    network's: a sum of maps would lose what stands at other places of the two.

    With the heads it answers the shares of the types, where there are two or more, and the class map. Of two scales the
    heads look at both, and what they say is the mean (docs/decisions/0035).
    """

    def __init__(
        self,
        normality: Normality,
        heads: DefectHeads | None = None,
        fusion: Fusion | None = None,
        shift: tuple[int, int] = (0, 0),
    ) -> None:
        """heads and fusion: both or neither.

        shift: cells of the heads' map (x, y) that the normality map is moved by to lie true beside theirs, which the
        masks taught where to look.
        """
        super().__init__()
        self.normality = normality
        self.heads = heads
        self.fusion = fusion
        self.shift = shift

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        scales, anomaly_map, score = self.normality(image)
        learned: tuple[Tensor, ...] = ()
        if self.heads is not None and self.fusion is not None:
            said = [self.heads.explained(stages) for stages in scales]
            logits, parts = of_both([(marked, part) for marked, part, _ in said])
            class_map = mean_map([self.class_map(*of, marked) for marked, _, of in said])
            anomaly_map = self._fused(anomaly_map, logits, parts[:, :1], self.fusion)
            score = top_mean(anomaly_map, self.normality.top_k)
            learned = (parts[:, 1:].softmax(dim=1),) if parts.shape[1] > 2 else ()
            learned = *learned, class_map
        return score, anomaly_map, *learned

    def class_map(self, of_coarse: Tensor, of_fine: Tensor, logits: Tensor) -> Tensor:
        """Return where the classification head's "defective" comes from, (1, 1, H/4, W/4): its mean is the logit.

        The coarse features look beside their cells, by as many cells at each scale, so their map is moved as the
        normality map is.
        """
        coarse, fine = (
            functional.interpolate(one, size=logits.shape[-2:], mode="bilinear", align_corners=False)
            for one in (of_coarse, of_fine)
        )
        return moved(coarse, *self.shift) + fine

    def terms(self, anomaly_map: Tensor, logits: Tensor, part: Tensor, fusion: Fusion) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each opinion adds to the log odds: distance and segmentation (1, 1, H/4, W/4), part (1, 1)."""
        finer = functional.interpolate(anomaly_map, size=logits.shape[-2:], mode="bilinear", align_corners=False)
        finer = moved(finer, *self.shift)
        of_part = fusion.classification * part.clamp(-PART_LIMIT, PART_LIMIT)
        return fusion.normality * finer, fusion.segmentation * logits, of_part

    def _fused(self, anomaly_map: Tensor, logits: Tensor, part: Tensor, fusion: Fusion) -> Tensor:
        distance, segmentation, of_part = self.terms(anomaly_map, logits, part, fusion)
        odds = distance + segmentation + (of_part + fusion.bias)[:, :, None, None]
        return functional.softplus(odds / SOFTNESS) / math.log(2.0)


def of_both(scales: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the mean of what the heads say at one or two scales: a map (1, 1, h, w), as fine as the first, and (1, K).

    scales: of each its map and its logits of the part.
    """
    maps, parts = zip(*scales, strict=True)
    return mean_map(maps), parts[0] if len(parts) == 1 else (parts[0] + parts[1]) / 2.0


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean of the maps (1, 1, h, w) of one or two scales, as fine as the first.

    The second scale's picture was averaged 2 x 2 and turned by 180 degrees, and its map is still turned.
    """
    if len(maps) == 1:
        return maps[0]
    finer = functional.interpolate(turned(maps[1]), size=maps[0].shape[-2:], mode="bilinear", align_corners=False)
    return (maps[0] + finer) / 2.0


def moved(maps: Tensor, x: int, y: int) -> Tensor:
    """(N, C, h, w) -> the same size, moved right by x and down by y cells; what comes in repeats the edge."""
    if (x, y) == (0, 0):
        return maps
    height, width = maps.shape[-2:]
    padded = functional.pad(maps, (max(x, 0), max(-x, 0), max(y, 0), max(-y, 0)), mode="replicate")
    left, top = max(-x, 0), max(-y, 0)
    return padded[..., top : top + height, left : left + width]


def top_mean(maps: Tensor, count: int) -> Tensor:
    """(N, 1, h, w) -> (N,): the mean of each map's highest values."""
    return torch.topk(maps.flatten(1), count, dim=1).values.mean(dim=1)
