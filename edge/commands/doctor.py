"""`edge doctor`: one page of facts for whoever is asked why the station does not work."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from edge import __version__
from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.types import EdgeError
from edge.exchange.health import read_health
from edge.history.eventlog import EventLog
from edge.inference.bundle import open_bundle
from edge.inference.cpu import cpu_tier

PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "numpy", "flask", "waitress")
VIDEO_CLASS = Path("/sys/class/video4linux")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="station.toml")


def run(arguments: argparse.Namespace) -> int:
    """Print the facts; returns 1 when one of them keeps the station from working."""
    config_file: Path | None = arguments.config
    print(f"linewatch   {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"packages    {', '.join(f'{name} {version(name)}' for name in PACKAGES)}")
    print(f"cpu         {cpu_tier()}, {os.cpu_count()} logical cores")
    print(f"cameras     {', '.join(_cameras()) or 'none found'}")
    if config_file is None:
        print("station     not looked at; give --config FILE")
        return 0
    try:
        config = load_config(config_file)
    except EdgeError as error:
        print(f"station     WRONG: {error}")
        return 1
    print(f"station     {config.name} ({config_file})")
    problems = [_bundle(config), _folders(config), _history(config)]
    _engine(config)
    return int(any(problems))


def _cameras() -> Iterator[str]:
    for entry in sorted(VIDEO_CLASS.glob("video*")):
        readable = "" if os.access(f"/dev/{entry.name}", os.R_OK | os.W_OK) else ", no access: join the group video"
        yield f"/dev/{entry.name} ({(entry / 'name').read_text(encoding='utf-8').strip()}{readable})"


def _bundle(config: StationConfig) -> bool:
    """Print one line about the bundle; returns True when something is wrong, like the functions below."""
    try:
        print(f"bundle      {open_bundle(config.bundle).title}, every file verified ({config.bundle})")
    except EdgeError as error:
        print(f"bundle      WRONG: {error}")
        return True
    return False


def _folders(config: StationConfig) -> bool:
    wrong = False
    for name, folder in (("state_dir", config.state_dir), ("run_dir", config.run_dir)):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        writable = os.access(existing, os.W_OK | os.X_OK)
        free_mb = shutil.disk_usage(existing).free // 1_000_000
        print(f"{name:<11} {'writable' if writable else 'WRONG: not writable'}, {free_mb} MB free ({folder})")
        wrong |= not writable
    return wrong


def _history(config: StationConfig) -> bool:
    if not config.events_db.exists():
        print("history     none yet")
        return False
    try:
        log = EventLog(config.events_db, read_only=True)
        counts = log.counts()
        log.close()
    except EdgeError as error:
        print(f"history     WRONG: {error}")
        return True
    print(f"history     {counts.total} parts: {counts.ok} OK, {counts.ng} NG, {counts.error} ERROR")
    return False


def _engine(config: StationConfig) -> None:
    try:
        health = read_health(config.run_dir)
    except EdgeError as error:
        print(f"engine      {error}")
        return
    detail = f": {health.detail}" if health.detail else ""
    print(f"engine      {health.state}{detail}, last wrote {health.written_at:%Y-%m-%d %H:%M:%S} UTC")
