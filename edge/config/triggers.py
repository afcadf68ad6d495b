"""[trigger] of station.toml: how the station hears of a part, one class for each kind of trigger."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge.config.section import GpioLine, Section


class FreeRunTriggerConfig(Section):
    """A trigger that inspects rate_hz times a second, whatever is in view."""

    type: Literal["free_run"]
    rate_hz: Annotated[float, Field(ge=1e-5, le=100)]

    @property
    def page_button(self) -> bool:
        return False


class SoftwareTriggerConfig(Section):
    """A trigger on the page, which POST /api/trigger pulls too."""

    type: Literal["software"]

    @property
    def page_button(self) -> bool:
        return True


class ModbusTriggerConfig(Section):
    """A trigger at each rising edge of the coil TRIGGER; it needs an [[output]] of type modbus."""

    type: Literal["modbus"]
    page_button: bool = False  # the page may trigger as well


class GpioTriggerConfig(Section):
    """A trigger at each edge of a GPIO line, e.g. of a light barrier."""

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
