"""Everything that decides what comes out of a training run: one TOML, validated, recorded in the bundle."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from edge.core.types import Bits
from edge.inference.part import Follow
from edge.inference.part.align import Align
from edge.inference.preprocess import Crop, Polygon
from train import TrainError


class TrainConfigError(TrainError):
    """The settings of a training run that cannot be used."""


# Of profile nano, where nobody says otherwise.
NANO = {"bank": 2000, "scales": 1, "place": "off", "limit": "split"}
EPOCHS, EPOCHS_WITH_LABELS = 14, 28


class TrainConfig(BaseModel):
    """One product's settings; train/configs/*.toml hold examples with the result to expect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["full", "nano"] = "full"  # nano: a small student of the backbone judges (decision 34)
    backbone: str = "tf_efficientnet_lite0"  # any timm network with features at strides 8 and 16
    weights: Path | None = None  # a state dict for it; none: the installed package, else timm's hub
    side: Annotated[int, Field(ge=64, le=2048)] | None = None  # width x height is about side^2; none: from the images
    scales: Literal[0, 1, 2] = 0  # 2: the input and the input averaged 2 x 2 are both judged; 0: from the images
    native: bool = False  # the images' own resolution: nothing is shrunk, small defects stay as large as they are
    bits: Bits | None = None  # that a sample of a 16-bit photo uses; none: found in the good images
    crop: Crop | Literal["auto"] | None = "auto"  # the inspected rectangle, frame pixels; auto: found where it is safe
    # on: the region moves and turns with the part; auto: where parts move, and all good ones are found
    follow: Follow | Literal["auto", "on"] | None = "auto"
    # on: what each place of good parts shows is judged, too; auto: where a trial says that it finds more (decision 30)
    place: Literal["auto", "on", "off"] = "auto"
    place_weight: Annotated[float, Field(gt=0, le=100)] = 1.0  # of places, against the bank with 1
    align: Align | None = None  # how photos are laid over the reference; found where places are judged
    ignore: tuple[Polygon, ...] = ()  # polygons that are not judged, pixels of the photo; of `reference` with follow
    reference: str | None = None  # file name of the good photo that a followed part is compared with; none: chosen
    patch_stride: Literal[8, 16] = 16  # pixels of the model's input from one map cell to the next
    fine_weight: Annotated[float, Field(gt=0, le=2)] = 0.5  # weight of the stride-8 features against the stride-16 ones
    bank: Annotated[int, Field(ge=16, le=20_000)] = 4000  # normal patches kept, of all scales together
    candidates: Annotated[int, Field(ge=1000)] = 100_000  # patches they are chosen from
    top_k: Annotated[int, Field(ge=1, le=100)] = 5  # map cells averaged into the score
    limit: Literal["auto", "split", "cross"] = "auto"  # goods that set the threshold: kept back, or all (decision 16)
    holdout_share: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2  # good images kept back for the threshold
    outliers: Annotated[int, Field(ge=0, le=20)] = 1  # good parts far beyond the rest that set neither bank nor limit
    group_regex: str | None = None  # its first group names the physical part in a file name
    group_gap: Annotated[int, Field(ge=0)] = 0  # numbers this close are one part (train/data/parts.py)
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01  # wanted share of good parts rejected
    calibration_images: PositiveInt = 64  # good images that set the INT8 ranges
    # The heads that learn from defects; they are absent when there are neither labels nor artificial defects.
    labelled: Annotated[int, Field(ge=0)] = 0  # defects drawn from test/ to train on; those in train/ are always used
    artificial: bool = True  # without labels, artificial defects teach the backbone; with labels they are drawn anyway
    unfreeze: Literal["none", "upper", "all"] = "upper"  # which of the backbone's blocks learn; batch norm never does
    epochs: Annotated[int, Field(ge=0, le=1000)] = 0  # 0: EPOCHS, or EPOCHS_WITH_LABELS
    steps: Annotated[int, Field(ge=1)] = 100  # batches an epoch
    minutes: Annotated[float, Field(gt=0)] = 30.0  # that the heads may learn; a slow machine does fewer epochs
    batch: Annotated[int, Field(ge=2, le=512)] = 8
    rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3  # peak learning rate of the heads
    backbone_rate: Annotated[float, Field(ge=0, le=1)] = (
        0.5  # times `rate`, for the deepest block; half for each group below
    )
    patience: Annotated[int, Field(ge=1)] = 12  # epochs that tell the validation images apart worse until the end
    flips: bool = True  # mirrored parts are good parts, too
    turn: Annotated[float, Field(ge=0, le=180)] = 8.0  # degrees that a part may be turned by
    light: Annotated[float, Field(ge=0, le=1)] = 0.5  # log of the factor by which light and contrast may vary
    mixing: bool = False  # MixUp and CutMix
    boxes: bool = False  # learn to locate defects by the boxes in DATA/boxes, in place of memory bank and heads
    box_types: tuple[str, ...] = ()  # names of the types 1, 2, 3 ... in DATA/boxes; none: the words there are names
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = (
        0.2  # of the labelled defects, for early stopping and calibration
    )
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("crop", "follow", mode="before")
    @classmethod
    def _off_is_none(cls, value: object) -> object:
        return None if value in ("off", False) else "on" if value is True else value

    @model_validator(mode="before")
    @classmethod
    def _of_profile(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("profile") != "nano":
            return data
        said = {key: value for key, value in data.items() if key not in NANO or value not in ("auto", 0)}
        return {**NANO, **said}

    def with_epochs(self, labels: bool) -> TrainConfig:
        """Return the settings with the epochs decided: real defects are worth twice as many as artificial ones."""
        usual = EPOCHS_WITH_LABELS if labels else EPOCHS
        return self.model_copy(update={"epochs": self.epochs or usual})

    @property
    def places(self) -> bool:
        """Whether places are judged, as far as it is decided."""
        return self.place == "on"

    @property
    def teaches(self) -> bool:
        """Whether artificial defects teach the backbone where there are no labels."""
        return self.artificial and self.unfreeze != "none" and self.backbone_rate > 0

    @property
    def region(self) -> Crop | None:
        """The inspected rectangle, as far as it is decided; None: the whole photo."""
        return self.crop if isinstance(self.crop, Crop) else None

    @property
    def followed(self) -> Follow | None:
        """The way that the part is found, as far as it is decided; None: the region stays where it is."""
        return self.follow if isinstance(self.follow, Follow) else None

    @model_validator(mode="after")
    def _one_size(self) -> TrainConfig:
        if self.native and self.side is not None:
            raise ValueError("side and native = true are two sizes; leave one out")
        return self

    @model_validator(mode="after")
    def _small(self) -> TrainConfig:
        asked = {
            "boxes": self.boxes,
            "labelled": self.labelled > 0,
            "place = on": self.place == "on",
            "scales = 2": self.scales == 2,
        }
        if self.profile == "nano" and any(asked.values()):
            what = next(key for key, value in asked.items() if value)
            raise ValueError(
                f"profile = nano learns from good photos and judges once; leave {what} out, or the profile"
            )
        return self


OPTIONS: dict[str, type] = {
    "backbone": str,
    "weights": Path,
    "side": int,
    "bits": int,
    "scales": int,
    "patch_stride": int,
    "fine_weight": float,
    "bank": int,
    "top_k": int,
    "holdout_share": float,
    "outliers": int,
    "group_regex": str,
    "alpha": float,
    "seed": int,
    "labelled": int,
    "epochs": int,
    "steps": int,
    "minutes": float,
    "batch": int,
    "rate": float,
    "backbone_rate": float,
    "patience": int,
    "turn": float,
    "light": float,
}
SWITCHES = ("native", "artificial", "flips", "mixing", "boxes")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --config FILE and one option for each common key of TrainConfig."""
    parser.add_argument("--config", type=Path, help="settings of one product, e.g. train/configs/cookie.toml")
    for key, kind in OPTIONS.items():
        default = TrainConfig.model_fields[key].default
        parser.add_argument(f"--{key.replace('_', '-')}", type=kind, help=f"default {default}")
    for key in SWITCHES:
        default = TrainConfig.model_fields[key].default
        parser.add_argument(f"--{key}", action=argparse.BooleanOptionalAction, help=f"default {default}")
    what = "the inspected rectangle, frame pixels; default auto: round the parts, where that is safe"
    parser.add_argument("--crop", type=_crop, metavar="auto|X,Y,W,H|off", help=what)
    what = "judge what good parts show at each place, too; default auto: where a trial says that it finds more"
    parser.add_argument("--place", choices=("auto", "on", "off"), help=what)
    what = "let the region move and turn with the part; default auto: where parts move and all good ones are found"
    parser.add_argument("--follow", choices=("auto", "on", "off"), help=what)
    what = "nano: a small student judges, in less time and a little worse; default full"
    parser.add_argument("--profile", choices=("full", "nano"), help=what)
    parser.add_argument("--unfreeze", choices=("none", "upper", "all"), help="default upper")
    parser.add_argument("--limit", choices=("auto", "split", "cross"), help="default auto")


def _crop(text: str) -> str | dict[str, int]:
    """Return what `crop` of a TOML would hold."""
    if text in ("auto", "off"):
        return text
    try:
        x, y, width, height = map(int, text.split(","))
        return Crop(x=x, y=y, width=width, height=height).model_dump()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no region; use auto, off, or X,Y,W,H in pixels of the photo, e.g. 100,80,640,480"
        ) from None


def config_from(args: argparse.Namespace) -> TrainConfig:
    """Return the settings of a parsed command line: defaults, then --config, then single options.

    Raises TrainConfigError.
    """
    data: dict[str, Any] = {}
    if args.config is not None:
        try:
            data = tomllib.loads(args.config.read_text(encoding="utf-8"))
        except OSError as error:
            raise TrainConfigError(f"{args.config}: cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrainConfigError(f"{args.config}: not valid TOML: {error}") from None
    keys = (*OPTIONS, *SWITCHES, "unfreeze", "crop", "follow", "place", "limit", "profile")
    data |= {key: getattr(args, key) for key in keys if getattr(args, key) is not None}
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key, fact = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        raise TrainConfigError(
            f"recipe: {key}: {fact} (got {first['input']!r})" if key else f"recipe: {fact}"
        ) from None
