"""[[output]] of station.toml: whom the station tells of a part, one class for each kind of output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from edge.config.section import GivenPath, GpioLine, Host, Port, Section, host_name

FILES = ("secret_file", "password_file", "tls_ca_file", "tls_cert_file", "tls_key_file")
OutputName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class MemoryOutputConfig(Section):
    """An output that tells nobody; a station without [[output]] has this one."""

    type: Literal["memory"]
    name: OutputName = "memory"


class ModbusOutputConfig(Section):
    """A Modbus TCP server; docs/reference/io.md lists its registers."""

    type: Literal["modbus"]
    name: OutputName = "modbus"
    host: Host = "127.0.0.1"
    port: Port = 502


class GpioOutputConfig(Section):
    """GPIO lines: each part gives one pulse on the line of its verdict."""

    type: Literal["gpio"]
    name: OutputName = "gpio"
    chip: str = "/dev/gpiochip0"
    ok_line: GpioLine
    ng_line: GpioLine | None = None
    error_line: GpioLine | None = None
    pulse_ms: Annotated[float, Field(ge=1, le=5000)] = 50.0
    gap_ms: Annotated[float, Field(ge=1, le=1000)] = 10.0  # no line is active so long between two pulses
    active_low: bool = False
    safe: Literal["inactive", "error"] = "inactive"  # error: error_line is active while the outputs are safe

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines in use."""
        return [line for line in (self.ok_line, self.ng_line, self.error_line) if line is not None]

    @property
    def parts_per_second(self) -> float:
        """The most parts a second that its pulses allow; the time of a verdict comes on top."""
        return 1e3 / (self.pulse_ms + self.gap_ms)

    @model_validator(mode="after")
    def _lines_make_sense(self) -> GpioOutputConfig:
        if len(set(self.lines)) < len(self.lines):
            raise ValueError(f"ok_line, ng_line and error_line share a line of {self.lines}; give each its own")
        if self.safe == "error" and self.error_line is None:
            raise ValueError("safe = 'error' needs an error_line; add it or use safe = 'inactive'")
        return self


class MqttOutputConfig(Section):
    """An MQTT broker: it gets each inspection as a JSON message with QoS 1. state_dir/outbox keeps the others."""

    type: Literal["mqtt"]
    name: OutputName = "mqtt"
    host: Host
    port: Port | None = None  # 1883, with TLS 8883
    topic: Annotated[str, Field(pattern=r"^[^+#\s]+$")] | None = None  # prefix; linewatch/STATION by default
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    user: str | None = None
    password_file: GivenPath | None = None
    tls: bool = False
    tls_ca_file: GivenPath | None = None  # the system's authorities by default
    tls_cert_file: GivenPath | None = None
    tls_key_file: GivenPath | None = None

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
    """An HTTP receiver: it gets each inspection as a signed POST, again until it answers with 2xx."""

    type: Literal["webhook"]
    name: OutputName = "webhook"
    url: str
    secret_file: GivenPath  # at least 16 bytes; shared with the receiver
    timeout_s: Annotated[float, Field(ge=0.01, le=60)] = 5.0

    @model_validator(mode="after")
    def _url_is_http(self) -> WebhookOutputConfig:
        try:
            parts = urlsplit(self.url)
            whole = self.url.isprintable() and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of the brackets, or of the port
            whole = False
        if not whole:
            raise ValueError(f"url {self.url!r} is no http:// or https:// address; correct it")
        host_name(parts.hostname or "")
        if parts.username or parts.password:
            raise ValueError("url holds a password; the body is signed with secret_file instead")
        return self


OutputConfig = Annotated[
    MemoryOutputConfig | ModbusOutputConfig | GpioOutputConfig | MqttOutputConfig | WebhookOutputConfig,
    Field(discriminator="type"),
]


def with_base(output: OutputConfig, base: Path) -> OutputConfig:
    """Return the output with its relative file paths made absolute from base."""
    given = {name: getattr(output, name, None) for name in FILES}
    return output.model_copy(update={name: base / path for name, path in given.items() if path is not None})
