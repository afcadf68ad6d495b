"""station.toml -> StationConfig. A key nobody knows, or a value that cannot be, is an error that names it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from edge.config.lineconfig import FILES, TAGS, OutputConfig, Section, TriggerConfig, check_line, with_base
from edge.core.types import EdgeError


class ConfigError(EdgeError):
    """station.toml cannot be used; the message names the key, the value and the remedy."""


class FolderCameraConfig(Section):
    """Replays the images of a folder as if parts passed by; for demos, tests and trials."""

    type: Literal["folder"]
    path: Path
    fps: Annotated[float, Field(gt=0, le=1000)] = 30.0
    seconds_per_image: PositiveFloat = 1.0


class VideoCameraConfig(Section):
    """Anything OpenCV opens: a V4L2 device (/dev/v4l/by-id/...), an RTSP or HTTP URL, a video file."""

    type: Literal["video"]
    source: str = Field(min_length=1)
    width: PositiveInt | None = None
    height: PositiveInt | None = None
    fps: PositiveFloat | None = None
    loop: bool = False  # start a video file again when it ends
    # Of a V4L2 device, in its driver's units (v4l2-ctl --list-ctrls): set when opened, and read back.
    exposure: PositiveFloat | None = None
    gain: Annotated[float, Field(ge=0)] | None = None
    white_balance_k: PositiveFloat | None = None

    @property
    def is_device(self) -> bool:
        """Whether source is a V4L2 device, not a stream or a file."""
        return self.source.isdigit() or self.source.startswith("/dev/")

    @property
    def is_file(self) -> bool:
        """Whether source is a video file."""
        return not self.is_device and "://" not in self.source

    @model_validator(mode="after")
    def _controls_need_a_device(self) -> Self:
        for key in ("exposure", "gain", "white_balance_k"):
            if getattr(self, key) is not None and not self.is_device:
                raise ValueError(f"{key} can only be set on a V4L2 device (/dev/...); remove it")
        return self


class GenicamCameraConfig(Section):
    """A GigE Vision or USB3 Vision camera, through Aravis (Debian: libaravis-0.8-0)."""

    type: Literal["genicam"]
    device: str = Field(
        min_length=1
    )  # Vendor-Model-Serial as arv-tool-0.8 lists it, or an address; "Fake_1" for trials
    width: PositiveInt | None = None
    height: PositiveInt | None = None
    fps: PositiveFloat | None = None
    pixel_format: Literal["Mono8", "BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8", "RGB8", "BGR8"] | None = None
    exposure_us: PositiveFloat | None = None  # set when opened, and read back
    gain_db: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _a_region_has_two_sides(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together; give both or neither")
        return self


CameraConfig = Annotated[
    FolderCameraConfig | VideoCameraConfig | GenicamCameraConfig,
    Field(discriminator="type"),
]


class InspectionConfig(Section):
    # At most 2 s: with a lost camera the loop waits so long for each part, and must still report in time.
    deadline_ms: Annotated[float, Field(ge=10, le=2000)] = 100.0
    runtime: Literal["openvino", "onnxruntime"] = "openvino"
    threads: Annotated[int, Field(ge=0, le=64)] = 0  # 0: what `edge tune` measured, or else the runtime decides
    tuned: bool = True  # follow the profile of `edge tune`, where there is one
    watch_drift: bool = True  # wants different parts: not where the same one is inspected again and again


class QualityConfig(Section):
    """How far a picture may be from the commissioned ones (`edge commission`) before it is not judged."""

    frozen_frames: Annotated[int, Field(ge=0, le=10_000)] = 5  # byte-identical ones in a row; 0: repeats are fine
    min_focus: Annotated[float, Field(gt=0, lt=1)] = 0.5  # share of the commissioned sharpness
    max_exposure_shift: Annotated[float, Field(ge=1, le=255)] = 30.0  # of the mean, grey levels
    max_colour_shift: Annotated[float, Field(ge=1, le=255)] = 15.0  # of red or blue against green, grey levels
    max_move: Annotated[float, Field(gt=0, le=1)] = 0.04  # of the picture's width
    max_changed: Annotated[float, Field(gt=0, le=1)] = 0.4  # share of the picture that looks different


class StorageConfig(Section):
    """Which pictures are kept; rows are never deleted."""

    max_image_mb: Annotated[int, Field(ge=10)] = 2000  # the oldest OK parts' pictures go first, then the oldest others'
    keep_free_mb: Annotated[int, Field(ge=0)] = 200  # left free on the disk for rows; pictures go first
    ok_every: Annotated[int, Field(ge=1)] = 1  # pictures of every k-th OK part; of every NG and ERROR


class PageConfig(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    stations: tuple[Path, ...] = ()  # station.toml of further engines, which this page shows too


DEFAULT_RECIPE = "default"  # the name that the key `bundle` goes by
RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class StationConfig(Section):
    """The whole of station.toml; relative paths are relative to the file."""

    name: str = Field(min_length=1, max_length=80)
    bundle: Path  # the recipe "default"
    state_dir: Path  # events.db and images/: must survive a restart
    run_dir: Path  # latest.jpg, health.json, requests/: a tmpfs
    camera: CameraConfig
    trigger: TriggerConfig
    output: tuple[OutputConfig, ...] = ()  # none: the station only watches
    inspection: InspectionConfig = InspectionConfig()
    recipes: dict[RecipeName, Path] = Field(default_factory=dict)  # further bundles, chosen while it runs
    quality: QualityConfig = QualityConfig()
    storage: StorageConfig = StorageConfig()
    page: PageConfig = PageConfig()

    @field_validator("recipes")
    @classmethod
    def _default_is_the_bundle(cls, recipes: dict[str, Path]) -> dict[str, Path]:
        if DEFAULT_RECIPE in recipes:
            raise ValueError(f"{DEFAULT_RECIPE!r} is the name of the key `bundle`; choose another one")
        return recipes

    @model_validator(mode="after")
    def _line_makes_sense(self) -> StationConfig:
        check_line(self.trigger, self.output, (self.page.host, self.page.port))
        fps, deadline_ms = self.camera.fps, self.inspection.deadline_ms
        if fps is not None and 1e3 / fps >= deadline_ms:
            raise ValueError(
                f"inspection.deadline_ms: {deadline_ms:g} ms is over before a camera of {fps:g} frames a second "
                f"gives a frame ({1e3 / fps:.0f} ms); raise it, or camera.fps"
            )
        return self

    @property
    def bundles(self) -> dict[str, Path]:
        """Recipe name -> bundle folder; the default first."""
        return {DEFAULT_RECIPE: self.bundle, **self.recipes}

    def baseline(self, recipe: str) -> Path:
        """Where the commissioned picture of a recipe is kept."""
        return self.state_dir / f"baseline-{recipe}.json"

    def tuning(self, recipe: str) -> Path:
        """Where `edge tune` keeps how a recipe's model uses this CPU best."""
        return self.state_dir / f"tuning-{recipe}.json"

    @property
    def compiled_dir(self) -> Path:
        """Models as they were compiled at an earlier start."""
        return self.state_dir / "compiled"

    @property
    def events_db(self) -> Path:
        return self.state_dir / "events.db"

    @property
    def images_dir(self) -> Path:
        return self.state_dir / "images"


def load_config(path: Path) -> StationConfig:
    """Read and validate a station.toml; raises ConfigError with one line."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; copy an example station.toml there") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        config = StationConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first_error(error)}") from None
    return _absolute(config, path.resolve().parent)


def check_camera(config: StationConfig) -> None:
    """Raise ConfigError when what a folder or file camera shows is not there; a device may come later."""
    camera = config.camera
    if isinstance(camera, FolderCameraConfig) and not camera.path.is_dir():
        raise ConfigError(f"camera.path: {camera.path} is no folder; put images there, or correct the path")
    if isinstance(camera, VideoCameraConfig) and camera.is_file and not Path(camera.source).is_file():
        raise ConfigError(f"camera.source: {camera.source} is no file; correct the path")


def check_files(config: StationConfig) -> None:
    """Raise ConfigError when a bundle, another station's file, or a file that an output needs is not there."""
    for name, bundle in config.bundles.items():
        key = "bundle" if name == DEFAULT_RECIPE else f"recipes.{name}"
        if not bundle.is_dir():
            raise ConfigError(f"{key}: {bundle}: no such bundle folder; copy the bundle there, or correct the path")
    for number, other in enumerate(config.page.stations):
        if not other.is_file():
            raise ConfigError(f"page.stations.{number}: {other} is no file; correct the path, or remove it")
    for number, output in enumerate(config.output):
        for key in FILES:
            path = getattr(output, key, None)
            if path is not None and not os.access(path, os.R_OK):
                raise ConfigError(
                    f"output.{number}.{key}: {path} cannot be read; create it, readable to the engine only"
                )


def _first_error(error: ValidationError) -> str:
    """One line: the key, what it holds, what it should."""
    first = error.errors()[0]
    tags = TAGS | {"folder", "video", "genicam"}
    key = ".".join(str(part) for part in first["loc"] if part not in tags) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its spelling"
    if first["type"] == "missing":
        return f"{key}: missing; add it"
    if first["type"] == "value_error":  # of this project's own: it names what is wrong, and what to do
        words = first["msg"].removeprefix("Value error, ")
        return words if not first["loc"] else f"{key}: {words}"
    value: Any = first.get("input")
    shown = "" if isinstance(value, dict) else f" (got {value!r})"
    return f"{key}: {first['msg']}{shown}"


def _absolute(config: StationConfig, base: Path) -> StationConfig:
    camera = config.camera
    if isinstance(camera, FolderCameraConfig):
        camera = camera.model_copy(update={"path": base / camera.path})
    elif isinstance(camera, VideoCameraConfig) and camera.is_file:
        camera = camera.model_copy(update={"source": str(base / camera.source)})
    paths = {key: base / getattr(config, key) for key in ("bundle", "state_dir", "run_dir")}
    output = tuple(with_base(one, base) for one in config.output)
    recipes = {name: base / path for name, path in config.recipes.items()}
    page = config.page.model_copy(update={"stations": tuple(base / path for path in config.page.stations)})
    return config.model_copy(update={**paths, "camera": camera, "recipes": recipes, "page": page, "output": output})
