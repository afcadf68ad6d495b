"""station.toml as a StationConfig: every key, its bounds, and which keys cannot go together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from edge.config.cameras import CameraConfig
from edge.config.outputs import GpioOutputConfig, ModbusOutputConfig, OutputConfig
from edge.config.section import GivenPath, Host, Port, Section
from edge.config.shift import ShiftConfig
from edge.config.triggers import FreeRunTriggerConfig, GpioTriggerConfig, ModbusTriggerConfig, TriggerConfig
from edge.core.catalogue import known_languages
from edge.core.types import EdgeError


class ConfigError(EdgeError):
    """station.toml cannot be used; the message names the key, the value and the remedy."""


class InspectionConfig(Section):
    """[inspection]: the deadline of a part, and how the model runs."""

    # At most 2 s: with a lost camera the loop waits so long for each part, and must still report in time.
    deadline_ms: Annotated[float, Field(ge=10, le=2000)] = 100.0
    runtime: Literal["openvino", "onnxruntime"] = "openvino"
    threads: Annotated[int, Field(ge=0, le=64)] = 0  # 0: the runtime decides
    watch_drift: bool = True  # wants different parts: not where the same one is inspected again and again


class QualityConfig(Section):
    """[quality]: the limits beyond which a picture differs too much from the commissioned ones to be judged."""

    frozen_frames: Annotated[int, Field(ge=0, le=10_000)] = 5  # byte-identical ones in a row; 0: repeats are fine
    min_focus: Annotated[float, Field(ge=0.001, lt=1)] = 0.5  # share of the commissioned sharpness
    max_exposure_shift: Annotated[float, Field(ge=1, le=255)] = 30.0  # of the mean, grey levels
    max_colour_shift: Annotated[float, Field(ge=1, le=255)] = 15.0  # of red or blue against green, grey levels
    max_move: Annotated[float, Field(ge=0.0001, le=1)] = 0.04  # of the picture's width
    max_changed: Annotated[float, Field(ge=0.001, le=1)] = 0.4  # share of the picture that looks different


class StorageConfig(Section):
    """[storage]: the limits of the stored pictures; rows are never deleted."""

    # The oldest OK parts' pictures go first, then the oldest others'.
    max_image_mb: Annotated[int, Field(ge=10, le=10**9)] = 2000
    keep_free_mb: Annotated[int, Field(ge=0, le=10**9)] = 200  # left free on the disk for rows; pictures go first
    ok_every: Annotated[int, Field(ge=1, le=10**9)] = 1  # pictures of every k-th OK part; of every NG and ERROR


BROWSERS = "auto"  # the language that the browser asks for


class PageConfig(Section):
    """[page]: the address of the page, and the other stations that it shows."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    # station.toml of further engines, which this page shows too
    stations: Annotated[tuple[GivenPath, ...], Field(strict=False)] = ()
    tls: bool = False  # HTTPS: with the certificate below, or with one that the page makes for itself
    certificate: GivenPath | None = None  # PEM, with the chain
    private_key: GivenPath | None = None  # PEM, without a passphrase
    idle_minutes: Annotated[float, Field(ge=1, le=720)] = 15.0  # until an operator or engineer has to sign in again
    guests_may_look: bool = False  # whoever reaches the page is a viewer; only doing something needs a sign-in
    language: str = BROWSERS  # until a person chooses another one on the page

    @field_validator("language")
    @classmethod
    def _language_is_known(cls, language: str) -> str:
        if language not in (BROWSERS, *known_languages()):
            raise ValueError(f"{language!r} is not known; take {', '.join(known_languages())} or {BROWSERS}")
        return language

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> PageConfig:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key go together; give both, or neither")
        if self.certificate is not None and not self.tls:
            raise ValueError("certificate: is used with tls = true only; add it, or remove the certificate")
        return self

    @property
    def scheme(self) -> str:
        """The scheme of the page's address."""
        return "https" if self.tls else "http"


PAGE_DIR = "page"  # in state_dir
DEFAULT_RECIPE = "default"  # the name that the key `bundle` goes by
RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class StationConfig(Section):
    """The whole of station.toml; relative paths are relative to the file."""

    name: str = Field(min_length=1, max_length=80)
    bundle: GivenPath  # the recipe "default"
    state_dir: GivenPath  # events.db and images/: must survive a restart
    run_dir: GivenPath  # latest.jpg, health.json, sockets: a tmpfs
    camera: CameraConfig
    trigger: TriggerConfig
    output: Annotated[tuple[OutputConfig, ...], Field(strict=False)] = ()  # none: the station only watches
    inspection: InspectionConfig = InspectionConfig()
    recipes: dict[RecipeName, GivenPath] = Field(default_factory=dict)  # further bundles, chosen while it runs
    quality: QualityConfig = QualityConfig()
    storage: StorageConfig = StorageConfig()
    page: PageConfig = PageConfig()
    shift: ShiftConfig = ShiftConfig()
    bundle_signatures: Literal["required", "optional"] = "required"  # optional: unsigned bundles judge, too
    bundle_trust: GivenPath = Path("trust")  # folder of the public keys and of the versions that judged

    @field_validator("recipes")
    @classmethod
    def _default_is_the_bundle(cls, recipes: dict[str, Path]) -> dict[str, Path]:
        if DEFAULT_RECIPE in recipes:
            raise ValueError(f"{DEFAULT_RECIPE!r} is the name of the key `bundle`; choose another one")
        return recipes

    @model_validator(mode="after")
    def _line_makes_sense(self) -> StationConfig:
        _check_line(self.trigger, self.output, (self.page.host, self.page.port))
        fps, deadline_ms = self.camera.fps, self.inspection.deadline_ms
        if fps is not None and 1e3 / fps >= deadline_ms:
            raise ValueError(
                f"inspection.deadline_ms: {deadline_ms:g} ms is over before a camera of {fps:g} frames a second "
                f"gives a frame ({1e3 / fps:.0f} ms); raise it, or camera.fps"
            )
        return self

    @property
    def bundles(self) -> dict[str, Path]:
        """The bundle folder of each recipe by its name; the default comes first."""
        return {DEFAULT_RECIPE: self.bundle, **self.recipes}

    def baseline(self, recipe: str) -> Path:
        """Return the file that holds the commissioned picture of a recipe."""
        return self.state_dir / f"baseline-{recipe}.json"

    @property
    def page_dir(self) -> Path:
        """The folder of what the page writes: state_dir/page where an installation made it, else state_dir.

        With it the page needs no right to write where the engine writes.
        """
        own = self.state_dir / PAGE_DIR
        return own if own.is_dir() else self.state_dir

    @property
    def events_db(self) -> Path:
        """The file of the history."""
        return self.state_dir / "events.db"

    @property
    def images_dir(self) -> Path:
        """The folder of the stored pictures."""
        return self.state_dir / "images"


def _check_line(trigger: TriggerConfig, outputs: tuple[OutputConfig, ...], page: tuple[str, int]) -> None:
    """Raise ValueError, one line, when trigger, outputs and the page's address cannot go together."""
    _names_differ(outputs)
    taken: dict[str, str] = {f"port {page[1]}": "page.port"}
    for key, what in _claims(trigger, outputs):
        if what in taken:
            raise ValueError(f"{key}: {what} is already used by {taken[what]}; give each its own")
        taken[what] = key
    if sum(isinstance(output, ModbusOutputConfig) for output in outputs) > 1:
        raise ValueError("output: two of type modbus; one server serves every PLC, remove the other")
    if isinstance(trigger, ModbusTriggerConfig) and not any(isinstance(o, ModbusOutputConfig) for o in outputs):
        raise ValueError("trigger.type: 'modbus' needs an [[output]] of type modbus; add it")
    if isinstance(trigger, FreeRunTriggerConfig):
        _pulses_fit(1e3 / trigger.rate_hz, outputs)


def _names_differ(outputs: tuple[OutputConfig, ...]) -> None:
    """Raise ValueError when two outputs have the same name."""
    names: set[str] = set()
    for number, output in enumerate(outputs):
        if output.name in names:
            raise ValueError(f"output.{number}.name: {output.name!r} is already used by another output; give it a name")
        names.add(output.name)


def _claims(trigger: TriggerConfig, outputs: tuple[OutputConfig, ...]) -> Iterator[tuple[str, str]]:
    """Yield (key, resource) for each GPIO line and each port that only one part of the station may use."""
    if isinstance(trigger, GpioTriggerConfig):
        yield "trigger.line", f"line {trigger.line} of {trigger.chip}"
    for number, output in enumerate(outputs):
        if isinstance(output, GpioOutputConfig):
            yield from ((f"output.{number}", f"line {line} of {output.chip}") for line in output.lines)
        elif isinstance(output, ModbusOutputConfig):
            yield f"output.{number}.port", f"port {output.port}"


def _pulses_fit(period_ms: float, outputs: tuple[OutputConfig, ...]) -> None:
    """Raise ValueError when a GPIO pulse and its gap are longer than the time from part to part."""
    for number, output in enumerate(outputs):
        if isinstance(output, GpioOutputConfig) and output.pulse_ms + output.gap_ms >= period_ms:
            raise ValueError(
                f"output.{number}.pulse_ms: {output.pulse_ms:g} ms and a gap_ms of {output.gap_ms:g} do not end "
                f"before the next part, trigger.rate_hz gives {period_ms:g} ms; shorten it"
            )
