"""The facts for whoever helps from afar: storage, versions, and all of it in one zip file without a secret."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from datetime import UTC, datetime
from typing import Any

from edge.config.cameras import without_secrets
from edge.core.versions import program_versions
from edge.exchange.health import METRICS, Health
from edge.history.csv_export import as_csv
from edge.web.service.faults import last_faults
from edge.web.station import Station

LAST_ROWS = 500
HIDDEN = frozenset({"user", "own_limit"})  # names of people; passwords and keys are in files that nobody opens
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
README = """Diagnostics of a Linewatch station.

station.json   station.toml as it is read. Addresses show their host only, and no file that it names is opened.
health.json    the engine's own account of itself, when it last wrote one
metrics.prom   its counters
versions.json  what runs here
storage.json   disk, history and pictures
faults.json    the last faults, each with its remedy
rows.csv       the last rows of the history
The log is not in here: run `journalctl -u linewatch-engine` on the station.
"""

Facts = dict[str, Any]


def storage_facts(station: Station, health: Health | None) -> Facts:
    """Return how full the disk is, how long the history is, and how far pictures reach back."""
    config = station.config
    disk = shutil.disk_usage(config.state_dir if config.state_dir.exists() else "/")
    pictures = health.pictures if health else None
    with station.history() as log:
        rows = log.counts().total if log else 0
        oldest = {
            kind: (row.at.isoformat(timespec="seconds") if log and number and (row := log.get(number)) else None)
            for kind, number in (
                ("oldest_ok", pictures.oldest_ok if pictures else None),
                ("oldest_other", pictures.oldest_other if pictures else None),
            )
        }
    return {
        "free_mb": disk.free // 1_000_000,
        "disk_mb": disk.total // 1_000_000,
        "rows": rows,
        "history_mb": round(config.events_db.stat().st_size / 1e6, 1) if config.events_db.exists() else 0.0,
        "pictures_mb": pictures.mb if pictures else None,
        "max_image_mb": config.storage.max_image_mb,
        "keep_free_mb": config.storage.keep_free_mb,
        **oldest,
    }


def version_facts(health: Health | None) -> dict[str, str]:
    """Return the versions of programs, and the bundle that judges."""
    found = program_versions()
    if health is not None:
        found |= {"bundle": health.bundle, "signed by": health.signed_by or "nobody", "CPU tier": health.cpu_tier}
    return found


def diagnostics(station: Station) -> bytes:
    """Return a zip file; raises HistoryError when the history cannot be read."""
    health, metrics = station.engine().health, station.config.run_dir / METRICS
    with station.history() as log:
        rows = log.recent(LAST_ROWS)[::-1] if log else []
    texts = {
        "README.txt": README,
        "station.json": _json(_plain(station.config.model_dump(mode="json"))),
        "health.json": _json(_plain(health.model_dump(mode="json")) if health else None),
        "versions.json": _json(version_facts(health)),
        "storage.json": _json(storage_facts(station, health)),
        "faults.json": _json(last_faults(station)),
        "rows.csv": "".join(as_csv(rows)),
        "metrics.prom": metrics.read_text(encoding="utf-8") if metrics.is_file() else "",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in texts.items():
            packed.writestr(name, text)
    return stream.getvalue()


def file_name() -> str:
    """Return the name under which a browser stores the diagnostics."""
    return f"linewatch-diagnostics-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip"


def _json(facts: object) -> str:
    return json.dumps(facts, indent=1, ensure_ascii=False)


def _plain(value: Any, key: str = "") -> Any:
    """Return a configuration, or a report, with everything hidden that may be secret."""
    if isinstance(value, dict):
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, key) for inner in value]
    if isinstance(value, str) and value:
        if key in HIDDEN:
            return "***"
        return without_secrets(value) if key == "source" else _ADDRESS.sub(lambda one: without_secrets(one[0]), value)
    return value
