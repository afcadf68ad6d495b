"""`edge check-config`: validate a station.toml, the files that it names, and its camera's settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.cameras.latency import timing_doubts, with_latency
from edge.config.cameras import VideoCameraConfig
from edge.config.load import check_camera, check_files, load_config
from edge.config.outputs import GpioOutputConfig, OutputConfig
from edge.config.station import StationConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    """Print one line about a valid file, and its warnings; raises ConfigError for any other."""
    config = with_latency(load_config(arguments.file))
    check_files(config)
    check_camera(config)
    outputs = ", ".join(_named(output) for output in config.output) or "none"
    facts = f"{config.camera.type} camera, {config.trigger.type} trigger, outputs: {outputs}"
    print(f"{arguments.file}: {config.name}, {facts}: valid")
    for doubt in (*timing_doubts(config), *_stream_doubts(config)):
        print(f"warning: {doubt}")
    return 0


def _named(output: OutputConfig) -> str:
    """Return the type of an output, and the line rate where its pulses bound it."""
    if not isinstance(output, GpioOutputConfig):
        return output.type
    rate, pulse, gap = output.parts_per_second, output.pulse_ms, output.gap_ms
    return f"gpio (under {rate:.1f} parts/s: {pulse:g} ms pulse + {gap:g} ms gap + the time of a verdict)"


def _stream_doubts(config: StationConfig) -> list[str]:
    """Return one line when pictures come from a stream in which one lost piece can spoil many of them."""
    camera = config.camera
    if not isinstance(camera, VideoCameraConfig) or camera.is_device or camera.is_file:
        return []
    if camera.source.lower().startswith(("http://", "https://")):
        return []
    return [
        "camera.source: with H.264, H.265 or MPEG-4 only damage that the decoder reports is seen; "
        "motion JPEG is checked picture by picture"
    ]
