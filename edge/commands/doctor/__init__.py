"""`edge doctor`: one page of facts for whoever is asked why the station does not work."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge.commands.doctor.computer import computer_findings
from edge.commands.doctor.findings import Finding, Level
from edge.commands.doctor.running import running_findings
from edge.commands.doctor.station import station_findings
from edge.config.load import load_config
from edge.core.types import EdgeError

COLUMN = 12  # characters of a name, before the words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="station.toml")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Print the facts; returns 1 when one of them keeps the station from working."""
    found = [*computer_findings(), *_of_station(arguments.config)]
    works = all(one.level is not Level.WRONG for one in found)
    if getattr(arguments, "json", False):
        print(json.dumps({"works": works, "findings": [one.facts() for one in found]}, indent=1))
    else:
        for one in found:
            mark = "" if one.level is Level.FACT else f"{one.level.value.upper()}: "
            print(f"{one.name:<{COLUMN}}{mark}{one.words}")
    return int(not works)


def _of_station(file: Path | None) -> list[Finding]:
    if file is None:
        return [Finding("station", "not looked at; give --config FILE")]
    try:
        config = load_config(file)
    except EdgeError as error:
        return [Finding("station", str(error), Level.WRONG)]
    return [
        Finding("station", f"{config.name} ({file})"),
        *station_findings(config, file),
        *running_findings(config, file),
    ]
