"""The line of a station, opened as station.toml says. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from edge.config.outputs import GpioOutputConfig, ModbusOutputConfig, MqttOutputConfig, WebhookOutputConfig
from edge.config.outputs import OutputConfig as OutputSection
from edge.config.station import StationConfig
from edge.config.triggers import FreeRunTriggerConfig, GpioTriggerConfig, ModbusTriggerConfig
from edge.line import LineError
from edge.line.gpio_chip import Chip, open_chip
from edge.line.modbus_server import HANGS_AFTER_S, ModbusServer
from edge.line.outputs import Output
from edge.line.outputs.delivery import Carrier, Delivery
from edge.line.outputs.gpio import GpioOutput
from edge.line.outputs.memory import MemoryOutput
from edge.line.outputs.modbus import ModbusOutput
from edge.line.outputs.mqtt import MqttCarrier
from edge.line.outputs.outbox import Outbox
from edge.line.outputs.webhook import WebhookCarrier
from edge.line.triggers import Trigger
from edge.line.triggers.free_run import FreeRun
from edge.line.triggers.gate import Gate, GatedTrigger, Source
from edge.line.triggers.gpio import GpioTrigger
from edge.line.triggers.modbus import ModbusTrigger
from edge.line.triggers.software import SoftwareTrigger

LEAST_RELEASE_S = 0.2  # without a sign of the inspection loop, which goes round each 0.05 s


@dataclass(frozen=True, slots=True)
class Line:
    """The trigger and the outputs of one station; the caller closes it."""

    trigger: Trigger
    outputs: Sequence[Output]
    modbus: ModbusServer | None  # for the recipe that a PLC selects

    def open(self, admits: Callable[[], bool], tell: Callable[[bool], None]) -> None:
        """Accept triggers from now on; Trigger.open says what the two calls are for."""
        self.trigger.open(admits, tell)
        if self.modbus is not None:
            self.modbus.ready_while(admits)

    def check(self) -> None:
        """Raise WorkerError when a thread of a trigger or an output is dead."""
        self.trigger.check()
        for output in self.outputs:
            output.check()

    def close(self) -> None:
        """Make every output safe and close it, even when one of them fails; then close the trigger."""
        with ExitStack() as stack:
            stack.callback(self.trigger.close)
            for output in self.outputs:
                stack.callback(output.close)
            for output in self.outputs:
                stack.callback(output.leave)


def open_line(config: StationConfig) -> Line:
    """Open trigger and outputs, all safe; raises EdgeError when one cannot be had, and then leaves none open."""
    with ExitStack() as failed:
        chips: dict[str, Chip] = {}
        modbus = _modbus(config)
        if modbus is not None:
            failed.callback(modbus.close)
        outputs: list[Output] = []
        for section in config.output:
            outputs.append(_output(section, config, chips, modbus))
            failed.callback(outputs[-1].close)
        trigger = _trigger(config, chips, modbus)
        failed.pop_all()
    return Line(trigger, outputs or [MemoryOutput()], modbus)


def _modbus(config: StationConfig) -> ModbusServer | None:
    for section in config.output:
        if isinstance(section, ModbusOutputConfig):
            free_run = isinstance(config.trigger, FreeRunTriggerConfig)
            deadline_s = config.inspection.deadline_ms / 1e3
            longest_s = max(deadline_s, LEAST_RELEASE_S) if free_run else HANGS_AFTER_S
            return ModbusServer(section.host, section.port, longest_s)
    return None


def _output(
    section: OutputSection, config: StationConfig, chips: dict[str, Chip], modbus: ModbusServer | None
) -> Output:
    if isinstance(section, MqttOutputConfig):
        return _report(MqttCarrier(section, config.name), config, section.name)
    if isinstance(section, WebhookOutputConfig):
        return _report(WebhookCarrier(section), config, section.name)
    if isinstance(section, GpioOutputConfig):
        return GpioOutput(_chip(chips, section.chip), section)
    if isinstance(section, ModbusOutputConfig) and modbus is not None:
        return ModbusOutput(modbus)
    return MemoryOutput()


def _report(carrier: Carrier, config: StationConfig, name: str) -> Delivery:
    return Delivery(carrier, Outbox(config.state_dir / "outbox" / name, config.events_db, config.name))


def _chip(chips: dict[str, Chip], name: str) -> Chip:
    if name not in chips:
        chips[name] = open_chip(name)
    return chips[name]


def _trigger(config: StationConfig, chips: dict[str, Chip], modbus: ModbusServer | None) -> Trigger:
    section = config.trigger
    if isinstance(section, FreeRunTriggerConfig):
        return FreeRun(section.rate_hz)
    gate = Gate()
    sources: list[Source] = []
    if isinstance(section, GpioTriggerConfig):
        chip = _chip(chips, section.chip)
        sources.append(GpioTrigger(gate, chip, section.line, section.edge, section.debounce_ms))
    if isinstance(section, ModbusTriggerConfig):
        if modbus is None:
            raise LineError("trigger.type: 'modbus' needs an [[output]] of type modbus; add it")
        sources.append(ModbusTrigger(gate, modbus))
    if section.page_button:
        sources.append(SoftwareTrigger(gate, config.run_dir))
    return GatedTrigger(gate, sources)
