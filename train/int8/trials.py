"""The cost of INT8: the same held-out images through the float and the INT8 file; the first good attempt ships."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from edge.core.types import Image
from edge.inference.detector import Detector
from edge.inference.preprocess import Box, InputSpec, prepare, view_of
from edge.inference.usable import load_photo
from train.data.dataset import GOOD, read_dataset
from train.data.parts import part_names
from train.int8.ranges import Observer
from train.int8.switched import Switched, parts_in_bank
from train.measure.threshold import MIN_HOLDOUT, set_threshold
from train.run import FitReport

MAX_AUROC_DROP = 0.002
MAX_FLIPS = 0.005  # share of images whose verdict INT8 changes, each file with the threshold its own scores set
MOST_GOODS = 60  # held-out goods that are marked and scored: bounds the time
MARKS = (0.5, 0.25, 0.12)  # how far a marked square is turned over: plain, faint, hardly there


@dataclass(frozen=True, slots=True)
class Settings:
    """One way to quantise."""

    what: str
    observer: Observer = "minmax"  # how an activation's range follows from the values seen
    images: int = 64  # good images the ranges are measured on


@dataclass(frozen=True, slots=True)
class Trial:
    """The effect of one way to quantise on the scores of the held-out images."""

    settings: Settings
    auroc_drop: float | None  # None: there are no defects to tell from goods
    correlation: float  # Spearman, INT8 scores against float scores
    flips: float
    images: int

    @property
    def most_flips(self) -> float:
        """Return the allowed share of changed verdicts: one image at least, which is no evidence."""
        return max(MAX_FLIPS, 1 / self.images)

    @property
    def passed(self) -> bool:
        return (self.auroc_drop or 0.0) <= MAX_AUROC_DROP and self.flips <= self.most_flips

    @property
    def loss(self) -> tuple[float, float]:
        """Return the excess over the limits, in units of them, then the disorder of the scores: lower is better."""
        over = max(0.0, (self.auroc_drop or 0.0) / MAX_AUROC_DROP - 1) + max(0.0, self.flips / self.most_flips - 1)
        return over, 1.0 - self.correlation

    @property
    def words(self) -> str:
        drop = "no defects to tell" if self.auroc_drop is None else f"image AUROC {-self.auroc_drop:+.4f}"
        return f"{self.settings.what}: {drop}, correlation {self.correlation:.4f}, verdicts changed {self.flips:.2%}"

    def facts(self, chosen: bool) -> dict[str, Any]:
        """Return the trial as quantize.json and the report hold it."""
        numbers = {key: value for key, value in asdict(self).items() if key not in ("settings", "images")}
        return {"what": self.settings.what, **numbers, "chosen": chosen}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Prepared images that no weight, range or bank row comes from, and which of them show a defect."""

    tensors: tuple[Image, ...]
    defective: NDArray[np.bool_]
    source: str
    alpha: float = 0.01  # of the recipe: verdicts are those of the threshold that will ship
    parts: tuple[int | None, ...] = ()  # the part of each that is in the bank, without which it is scored
    groups: tuple[str, ...] = ()  # the part that each good one shows; none: each is a part of its own
    cross: bool = False
    outliers: int = 0

    def scores(self, model: Path, spec: InputSpec, switched: Path) -> NDArray[np.float64]:
        """(N,) scores of a model file through the device's code; switched: the file with the switches, if needed."""
        if not self.parts:
            detector = Detector(model, spec)
            return np.array([detector.predict_prepared(tensor).score for tensor in self.tensors])
        one = Switched(switched, model, spec)
        found = []
        for tensor, part in zip(self.tensors, self.parts, strict=True):
            one.without(part)
            found.append(one.detector.predict_prepared(tensor).score)
        return np.array(found)


def held_out(report: FitReport) -> HeldOut:
    """Return the held-out goods and the validation images; without a labelled defect, also the goods with marks.

    A run of boxes keeps no labelled defect back. It is compared on those that it learned from: both files know them.
    """
    names = report.limit_images
    goods = names[:: max(1, len(names) // MOST_GOODS)][:MOST_GOODS]
    known = (*report.validation_images, *(report.defect_images if report.boxes else ()))
    kept = [report.data / name for name in known]
    spec, files = report.input, [*(report.data / name for name in goods), *kept]
    bad = [False for _ in goods] + [path.parent.name != GOOD for path in kept]
    tensors = [prepare(load_photo(path, spec), spec) for path in files]
    numbers = parts_in_bank(report) if report.cross else {}
    parts = [numbers.get(name) for name in (*goods, *known)]
    source = (
        f"{len(goods)} held-out goods, {len(known)} labelled photos"
        if report.boxes
        else f"{len(files)} held-out images"
    )
    if not any(bad):
        rng = np.random.default_rng(report.recipe.seed)
        for path in files:
            image = load_photo(path, spec)
            view = view_of(image, spec)  # of the part as it was: a mark may hide it
            tensors += [prepare(marked(image, view.box, share, rng), spec, view) for share in MARKS]
        bad += [True] * (len(tensors) - len(bad))
        parts += [part for part in parts for _ in MARKS]
        source = f"{len(files)} held-out goods, and each with {len(MARKS)} synthetic marks"
    recipe, dataset = report.recipe, read_dataset(report.data)
    shown = part_names(dataset.train_good, recipe.group_regex, recipe.group_gap)
    part_of = dict(zip(dataset.names(dataset.train_good), shown, strict=True))
    groups = tuple(part_of[name] for name in (*goods, *known) if PurePosixPath(name).parent.name == GOOD)
    in_bank = tuple(parts) if report.cross else ()
    return HeldOut(tuple(tensors), np.array(bad), source, recipe.alpha, in_bank, groups, report.cross, recipe.outliers)


def marked(image: Image, box: Box, share: float, rng: np.random.Generator) -> Image:
    """Return the image with a square of a tenth of the inspected box's side, moved by a share of the greys."""
    x, y, width, height = box
    side = min(max(8, min(width, height) // 10), width, height)
    left, top = x + int(rng.integers(max(1, width - side))), y + int(rng.integers(max(1, height - side)))
    found = image.copy()
    part = found[top : top + side, left : left + side].astype(np.int16)
    towards = 1 if part.mean() < 128 else -1
    found[top : top + side, left : left + side] = np.clip(part + round(255 * share) * towards, 0, 255).astype(np.uint8)
    return found


def compare(settings: Settings, images: HeldOut, int8: NDArray[np.float64], fp32: NDArray[np.float64]) -> Trial:
    """Measure a trial from the two files' scores of the same images."""
    drop = None
    if images.defective.any() and not images.defective.all():
        drop = float(roc_auc_score(images.defective, fp32) - roc_auc_score(images.defective, int8))
    flips = float(np.mean(_rejected(images, int8) != _rejected(images, fp32)))
    return Trial(settings, drop, float(spearmanr(int8, fp32).statistic), flips, len(int8))


def _rejected(images: HeldOut, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Verdicts with the threshold that these scores of the goods set, as `calibrate` does."""
    goods = scores[~images.defective]
    if len(goods) < MIN_HOLDOUT:
        return np.zeros(len(scores), np.bool_)
    return scores >= set_threshold(goods.tolist(), images.alpha, images.groups, images.cross, images.outliers).value


def ways(images: int) -> tuple[Settings, ...]:
    """Return the ways to quantise in the order in which they are tried, until one keeps the limits.

    images: how many good ones set the ranges.
    """
    return (
        Settings("ranges: extremes", "minmax", images),
        Settings("ranges: 99.99 % quantiles", "percentile", images),
        Settings("ranges: KL divergence", "kl", images),
    )


def over_limits(tried: int) -> str:
    """Say that no way to quantise kept the limits, and what to do."""
    return (
        f"INT8 changes more than is allowed, in {'each of ' if tried > 1 else ''}{tried} way{'s' * (tried > 1)} tried: "
        f"image AUROC may fall by {MAX_AUROC_DROP:g} and {MAX_FLIPS:.1%} of the verdicts may change. "
        "Compare int8 and fp32 in the report; more good images or another --side may help"
    )


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the first trial that keeps the limits, else the trial that is least over them."""
    return next((trial for trial in trials if trial.passed), min(trials, key=lambda trial: trial.loss))
