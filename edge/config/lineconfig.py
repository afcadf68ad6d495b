"""[trigger] and [[output]] of station.toml: how a station hears of a part, and how it tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
GpioLine = Annotated[int, Field(ge=0, le=1023)]
OutputName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
FAKE_CHIP = "fake"  # lines in memory: for demos, tests and trials


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FreeRunTriggerConfig(Section):
    """Inspect rate_hz times a second, whatever is in view."""

    type: Literal["free_run"]
    rate_hz: Annotated[float, Field(gt=0, le=100)]

    @property
    def page_button(self) -> bool:
        return False


class SoftwareTriggerConfig(Section):
    """Inspect when the page, or POST /api/trigger, says so."""

    type: Literal["software"]

    @property
    def page_button(self) -> bool:
        return True


class ModbusTriggerConfig(Section):
    """Inspect at each rising edge of the coil TRIGGER; needs an [[output]] of type modbus."""

    type: Literal["modbus"]
    page_button: bool = False  # the page may trigger as well


class GpioTriggerConfig(Section):
    """Inspect at each edge of a GPIO line, e.g. of a light barrier."""

    type: Literal["gpio"]
    chip: str = "/dev/gpiochip0"
    line: GpioLine
    edge: Literal["rising", "falling"] = "rising"
    debounce_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0  # edges this soon after another one are bounces
    page_button: bool = False


TriggerConfig = Annotated[
    FreeRunTriggerConfig | SoftwareTriggerConfig | ModbusTriggerConfig | GpioTriggerConfig,
    Field(discriminator="type"),
]


class MemoryOutputConfig(Section):
    """Tells nobody; what a station without [[output]] has."""

    type: Literal["memory"]
    name: OutputName = "memory"


class ModbusOutputConfig(Section):
    """A Modbus TCP server with the registers of docs/io.md."""

    type: Literal["modbus"]
    name: OutputName = "modbus"
    host: str = "127.0.0.1"
    port: Port = 502


class GpioOutputConfig(Section):
    """One pulse a part, on the line of its verdict."""

    type: Literal["gpio"]
    name: OutputName = "gpio"
    chip: str = "/dev/gpiochip0"
    ok_line: GpioLine
    ng_line: GpioLine | None = None
    error_line: GpioLine | None = None
    pulse_ms: Annotated[float, Field(ge=1, le=5000)] = 50.0
    active_low: bool = False
    safe: Literal["inactive", "error"] = "inactive"  # error: error_line is active while the outputs are safe

    @property
    def lines(self) -> list[int]:
        return [line for line in (self.ok_line, self.ng_line, self.error_line) if line is not None]

    @model_validator(mode="after")
    def _lines_make_sense(self) -> GpioOutputConfig:
        if len(set(self.lines)) < len(self.lines):
            raise ValueError(f"ok_line, ng_line and error_line share a line of {self.lines}; give each its own")
        if self.safe == "error" and self.error_line is None:
            raise ValueError("safe = 'error' needs an error_line; add it or use safe = 'inactive'")
        return self


class MqttOutputConfig(Section):
    """Each inspection as a JSON message with QoS 1; kept in state_dir/outbox until the broker has it."""

    type: Literal["mqtt"]
    name: OutputName = "mqtt"
    host: str = Field(min_length=1)
    port: Port | None = None  # 1883, with TLS 8883
    topic: Annotated[str, Field(pattern=r"^[^+#\s]+$")] | None = None  # prefix; linewatch/STATION by default
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    user: str | None = None
    password_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None  # the system's authorities by default
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @model_validator(mode="after")
    def _keys_belong_together(self) -> MqttOutputConfig:
        if not self.tls and (self.tls_ca_file or self.tls_cert_file or self.tls_key_file):
            raise ValueError("tls_ca_file, tls_cert_file and tls_key_file need tls = true; add it")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together; give both or neither")
        if self.password_file is not None and self.user is None:
            raise ValueError("password_file needs user; add it")
        return self


class WebhookOutputConfig(Section):
    """Each inspection as a signed POST; kept in state_dir/outbox until it is answered with 2xx."""

    type: Literal["webhook"]
    name: OutputName = "webhook"
    url: str
    secret_file: Path  # at least 16 bytes; shared with the receiver
    timeout_s: Annotated[PositiveFloat, Field(le=60)] = 5.0

    @model_validator(mode="after")
    def _url_is_http(self) -> WebhookOutputConfig:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {self.url!r} is no http:// or https:// address; correct it")
        if parts.username or parts.password:
            raise ValueError("url holds a password; the body is signed with secret_file instead")
        return self


OutputConfig = Annotated[
    MemoryOutputConfig | ModbusOutputConfig | GpioOutputConfig | MqttOutputConfig | WebhookOutputConfig,
    Field(discriminator="type"),
]
Trigger = FreeRunTriggerConfig | SoftwareTriggerConfig | ModbusTriggerConfig | GpioTriggerConfig
Output = MemoryOutputConfig | ModbusOutputConfig | GpioOutputConfig | MqttOutputConfig | WebhookOutputConfig
FILES = ("secret_file", "password_file", "tls_ca_file", "tls_cert_file", "tls_key_file")
TAGS = frozenset({"free_run", "software", "modbus", "gpio", "memory", "mqtt", "webhook"})


def check_line(trigger: Trigger, outputs: tuple[Output, ...], page: tuple[str, int]) -> None:
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


def _names_differ(outputs: tuple[Output, ...]) -> None:
    names: set[str] = set()
    for number, output in enumerate(outputs):
        if output.name in names:
            raise ValueError(f"output.{number}.name: {output.name!r} is already used by another output; give it a name")
        names.add(output.name)


def _claims(trigger: Trigger, outputs: tuple[Output, ...]) -> Iterator[tuple[str, str]]:
    """(key, what it takes for itself): a GPIO line belongs to one, and so does a port."""
    if isinstance(trigger, GpioTriggerConfig):
        yield "trigger.line", f"line {trigger.line} of {trigger.chip}"
    for number, output in enumerate(outputs):
        if isinstance(output, GpioOutputConfig):
            yield from ((f"output.{number}", f"line {line} of {output.chip}") for line in output.lines)
        elif isinstance(output, ModbusOutputConfig):
            yield f"output.{number}.port", f"port {output.port}"


def _pulses_fit(period_ms: float, outputs: tuple[Output, ...]) -> None:
    for number, output in enumerate(outputs):
        if isinstance(output, GpioOutputConfig) and output.pulse_ms >= period_ms:
            raise ValueError(
                f"output.{number}.pulse_ms: {output.pulse_ms:g} ms does not end before the next part, "
                f"trigger.rate_hz gives {period_ms:g} ms; shorten it"
            )


def with_base(output: Output, base: Path) -> Output:
    """The same output with its files relative to base."""
    given = {name: getattr(output, name, None) for name in FILES}
    return output.model_copy(update={name: base / path for name, path in given.items() if path is not None})
