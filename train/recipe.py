"""Everything that decides what comes out of a training run: one TOML, validated, recorded in the bundle."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from edge.preprocess import Crop
from train.errors import TrainError


class RecipeError(TrainError):
    """A recipe that cannot be used."""


class Recipe(BaseModel):
    """One product's settings; train/configs/*.toml hold examples with the result to expect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "tf_efficientnet_lite0"  # any timm network with features at strides 8 and 16
    weights: Path | None = None  # a state dict for it; none: the installed package, else timm's hub
    side: Annotated[int, Field(ge=64, le=2048)] | None = None  # width x height is about side^2; none: from the images
    crop: Crop | None = None  # the inspected rectangle, frame pixels
    patch_stride: Literal[8, 16] = 16  # pixels of the model's input from one map cell to the next
    fine_weight: Annotated[float, Field(gt=0, le=2)] = 0.5  # weight of the stride-8 features against the stride-16 ones
    bank: Annotated[int, Field(ge=16, le=20_000)] = 4000  # normal patches kept
    candidates: Annotated[int, Field(ge=1000)] = 100_000  # patches the bank is chosen from
    top_k: Annotated[int, Field(ge=1, le=100)] = 5  # map cells averaged into the score
    holdout_share: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2  # good images kept back for the threshold
    group_regex: str | None = None  # its first group names the physical part in a file name
    group_gap: Annotated[int, Field(ge=0)] = 0  # numbers this close are one part (train/parts.py)
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01  # wanted share of good parts rejected
    calibration_images: PositiveInt = 64  # good images that set the INT8 ranges
    seed: Annotated[int, Field(ge=0)] = 0


OPTIONS: dict[str, type] = {
    "backbone": str,
    "weights": Path,
    "side": int,
    "patch_stride": int,
    "fine_weight": float,
    "bank": int,
    "top_k": int,
    "holdout_share": float,
    "group_regex": str,
    "alpha": float,
    "seed": int,
}


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """--config FILE and one option for each of the recipe's common keys."""
    parser.add_argument("--config", type=Path, help="a recipe (train/configs/*.toml)")
    for key, kind in OPTIONS.items():
        default = Recipe.model_fields[key].default
        parser.add_argument(f"--{key.replace('_', '-')}", type=kind, help=f"default {default}")


def recipe_from(args: argparse.Namespace) -> Recipe:
    """The recipe of a parsed command line: defaults, then --config, then single options. Raises RecipeError."""
    data: dict[str, Any] = {}
    if args.config is not None:
        try:
            data = tomllib.loads(args.config.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"{args.config}: cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{args.config}: not valid TOML: {error}") from None
    data |= {key: getattr(args, key) for key in OPTIONS if getattr(args, key) is not None}
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"recipe: {key}: {first['msg']} (got {first['input']!r})") from None
