"""`edge doctor`: one page of facts for whoever is asked why the station does not work."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from edge import __version__
from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.core.types import EdgeError
from edge.exchange.health import read_health
from edge.history.eventlog import EventLog
from edge.inference.bundle import open_bundle
from edge.inference.cpu import cpu_tier, require_cpu
from edge.inference.release.trust import read_trust
from edge.inference.release.versions import admitted, read_audit

PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "numpy", "flask", "waitress")
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # Linewatch is not older
VIDEO_CLASS = Path("/sys/class/video4linux")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="station.toml")


def run(arguments: argparse.Namespace) -> int:
    """Print the facts; returns 1 when one of them keeps the station from working."""
    config_file: Path | None = arguments.config
    print(f"linewatch   {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"packages    {', '.join(f'{name} {version(name)}' for name in PACKAGES)}")
    slow = _cpu()
    print(f"cameras     {', '.join(_cameras()) or 'none found'}")
    if config_file is None:
        print("station     not looked at; give --config FILE")
        return int(slow)
    try:
        config = load_config(config_file)
    except EdgeError as error:
        print(f"station     WRONG: {error}")
        return 1
    print(f"station     {config.name} ({config_file})")
    problems = [slow, _clock(config), _bundles(config), _trust(config), _folders(config), _history(config)]
    _engine(config)
    return int(any(problems))


def _cameras() -> Iterator[str]:
    for entry in sorted(VIDEO_CLASS.glob("video*")):
        readable = "" if os.access(f"/dev/{entry.name}", os.R_OK | os.W_OK) else ", no access: join the group video"
        yield f"/dev/{entry.name} ({(entry / 'name').read_text(encoding='utf-8').strip()}{readable})"


def _cpu() -> bool:
    """Print one line about the CPU; returns True when something is wrong, like the functions below."""
    try:
        require_cpu()
    except EdgeError as error:
        print(f"cpu         WRONG: {error}")
        return True
    print(f"cpu         {cpu_tier()}, {os.cpu_count()} logical cores")
    return False


def _clock(config: StationConfig) -> bool:
    """No clock can be right that is before the time at which the bundle was made."""
    now = datetime.now(UTC)
    try:
        made = open_bundle(config.bundle).manifest.created
    except EdgeError:
        made = EARLIEST  # the line about the bundle says what is wrong with it
    if now >= max(made if made.tzinfo else made.replace(tzinfo=UTC), EARLIEST):
        print(f"clock       {now:%Y-%m-%d %H:%M:%S} UTC")
        return False
    print(
        f"clock       WRONG: it says {now:%Y-%m-%d %H:%M} UTC; run: timedatectl set-ntp true, or set it with "
        "timedatectl set-time. Parts get their verdicts all the same, with wrong dates"
    )
    return True


def _bundles(config: StationConfig) -> bool:
    wrong = False
    for recipe, path in config.bundles.items():
        try:
            bundle = open_bundle(Path(os.path.realpath(path)))
            key = admitted(bundle, recipe, config.bundle_trust, config.bundle_signatures == "required")
        except EdgeError as error:
            print(f"bundle      WRONG: {recipe}: {error}")
            wrong = True
            continue
        origin = f"signed by key {key}" if key else 'NOT SIGNED, which bundle_signatures = "optional" takes'
        print(f"bundle      {recipe}: {bundle.title}, every file verified, {origin} ({path})")
    return wrong


def _trust(config: StationConfig) -> bool:
    folder = config.bundle_trust
    try:
        keys, acts = read_trust(folder).keys, read_audit(folder)
    except EdgeError as error:
        print(f"trust       WRONG: {error}")
        return True
    last = f", the last act: {acts[-1]['act']} by {acts[-1]['who']} at {acts[-1]['at']}" if acts else ""
    print(f"trust       {len(keys)} {'key' if len(keys) == 1 else 'keys'} ({folder}){last}")
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
