"""The input that is chosen by itself: as large as this CPU judges in time, where the recipe names no size."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from edge.inference.preprocess import InputSpec
from train.config import TrainConfig
from train.data.input_spec import own_size, spec_of, with_scales
from train.data.split import Split
from train.int8.latency import affordable_side, measure_latency, predicted_ms, prepare_ms, read_target, slowed
from train.network.backbones import Backbone
from train.network.heads import DefectHeads
from train.network.model import PatchFeatures

DEFAULT_BUDGET_MS = 40.0  # p50 of preparing and judging a photograph at two scales
THREADS = 2  # of the runtime, where the shipped model is timed
LEAST_SIDE = 256  # pixels a side that an input with places keeps, if it has them, however slow the CPU is
SMALLEST = 64  # that a recipe may ask for
SMALLEST_OF_TWO = 300  # pixels a side of the larger input; below it the smaller one sees too few cells


def in_time(recipe: TrainConfig, roles: Split) -> TrainConfig:
    """Return the recipe with its scales decided, and with a smaller side where two would take too long on this CPU."""
    own = own_size(roles.fit, recipe)
    recipe = with_scales(recipe, own, roles.has_heads)
    if not (recipe.scales == 2 or recipe.places) or not is_open(recipe):
        return recipe
    spec = spec_of(own, recipe)
    features = PatchFeatures(Backbone(recipe.backbone), recipe.patch_stride).eval()
    heads = DefectHeads(features.backbone.channels, len(roles.defect_types)).eval() if roles.has_heads else None
    before_ms, infer_ms = prepare_ms(roles.fit[0].path, spec), predicted_ms(features, spec, recipe, heads)
    whole_ms = before_ms + infer_ms
    side = affordable_side(spec.width * spec.height, before_ms, infer_ms, DEFAULT_BUDGET_MS)
    if side < SMALLEST_OF_TWO and not recipe.places:
        print(f"fit: one scale; two would take {whole_ms:.0f} ms of {DEFAULT_BUDGET_MS:g} ms on this CPU{slowed()}")
        return recipe.model_copy(update={"scales": 1})
    least = min(LEAST_SIDE, int((spec.width * spec.height) ** 0.5))
    recipe = with_side(recipe, own, max(least, side))
    chosen = spec_of(own, recipe)
    ms = before_ms + infer_ms * chosen.width * chosen.height / (spec.width * spec.height)
    more = "" if chosen == spec else f"; {spec.width}x{spec.height} would take {whole_ms:.0f} ms"
    print(
        f"fit: {judged_by(recipe)}, {chosen.width}x{chosen.height}"
        f"{'' if recipe.places else ' and half of it'}, about {ms:.0f} ms of "
        f"{DEFAULT_BUDGET_MS:g} ms on this CPU{more}{slowed()}"
    )
    return recipe


def slower_than_predicted(model: Path, spec: InputSpec, photo: Path) -> str | None:
    """Time a shipped model on a photograph; return in one line that it takes longer than was predicted, and the remedy.

    None where it does not take longer than DEFAULT_BUDGET_MS, with THREADS as on a small station.
    """
    _, ms = measure_latency(model, spec, photo, read_target(None), THREADS)
    if ms <= DEFAULT_BUDGET_MS:
        return None
    return (
        f"a photograph takes {ms:.0f} ms with {THREADS} threads on this CPU, over the default budget of "
        f"{DEFAULT_BUDGET_MS:g} ms; train with --latency-budget-ms {DEFAULT_BUDGET_MS:g}, which measures, or a smaller "
        f"--side"
        f"{slowed()}"
    )


def judged_by(recipe: TrainConfig) -> str:
    """Return what a recipe judges an input by."""
    return "one scale and places" if recipe.places else "two scales" if recipe.scales == 2 else "one scale"


def is_open(recipe: TrainConfig) -> bool:
    """Return whether the recipe leaves the size of the input to what this CPU judges in time."""
    return recipe.side is None and not recipe.native


def with_side(recipe: TrainConfig, own: tuple[float, float], side: int) -> TrainConfig:
    """Return the recipe with the least side that gives the same input, for photographs of a (height, width).

    Measured times differ from run to run; the recipe differs only where the input does.
    """
    chosen = spec_of(own, recipe.model_copy(update={"side": side}))
    while side > SMALLEST and spec_of(own, recipe.model_copy(update={"side": side - 1})) == chosen:
        side -= 1
    return recipe.model_copy(update={"side": side})


def chosen_before(recipe: TrainConfig, text: str) -> TrainConfig | None:
    """Return the recipe of an interrupted run where it differs from this one in what was chosen by time alone.

    text: that recipe as JSON. None where another input may be meant.
    """
    try:
        before = TrainConfig.model_validate_json(text)
    except ValidationError:
        return None
    same = before.model_copy(update={"side": recipe.side, "scales": recipe.scales})
    return before if is_open(recipe) and recipe.scales in (0, before.scales) and same == recipe else None
