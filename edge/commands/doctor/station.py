"""What the doctor finds about the files of a station: clock, bundles, keys, rights, folders, history, certificate."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

import edge
from edge.commands.doctor.findings import Finding, Level, look_if
from edge.config.station import StationConfig
from edge.core.types import EdgeError, Verdict
from edge.history.eventlog import EventLog
from edge.inference.bundle import BundleError, open_bundle
from edge.inference.release.keys import refuse_others
from edge.inference.release.trust import read_trust
from edge.inference.release.versions import admitted, read_audit
from edge.web.access.certificate import OWN_CERTIFICATE

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # Linewatch is not older
LAST_ROWS = 200
ENDS_SOON = timedelta(days=30)


def station_findings(config: StationConfig, file: Path) -> Iterator[Finding]:
    """Yield what the files of the station show; file: its station.toml."""
    yield _clock(config)
    yield from _bundles(config)
    yield _trust(config)
    yield _rights(config, file)
    yield from _folders(config)
    yield from _history(config)
    if config.page.tls:
        yield certificate(config.page.certificate or config.page_dir / OWN_CERTIFICATE, datetime.now(UTC))


def _clock(config: StationConfig) -> Finding:
    """No clock can be right that is before the time at which the bundle was made."""
    now = datetime.now(UTC)
    try:
        made = open_bundle(config.bundle).manifest.created
    except EdgeError:
        made = EARLIEST  # the line about the bundle says what is wrong with it
    if now >= max(made if made.tzinfo else made.replace(tzinfo=UTC), EARLIEST):
        return Finding("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")
    words = (
        f"it says {now:%Y-%m-%d %H:%M} UTC; run: timedatectl set-ntp true, or set it with "
        "timedatectl set-time. Parts get their verdicts all the same, with wrong dates"
    )
    return Finding("clock", words, Level.WRONG)


def _bundles(config: StationConfig) -> Iterator[Finding]:
    for recipe, path in config.bundles.items():
        try:
            bundle = open_bundle(Path(os.path.realpath(path)))
            key = admitted(bundle, recipe, config.bundle_trust, config.bundle_signatures == "required")
        except EdgeError as error:
            yield Finding("bundle", f"{recipe}: {error}", Level.WRONG)
            continue
        origin = f"signed by key {key}" if key else 'NOT SIGNED, which bundle_signatures = "optional" takes'
        yield Finding("bundle", f"{recipe}: {bundle.title}, every file verified, {origin} ({path})")


def _trust(config: StationConfig) -> Finding:
    folder = config.bundle_trust
    try:
        keys, acts = read_trust(folder).keys, read_audit(folder)
    except EdgeError as error:
        return Finding("trust", str(error), Level.WRONG)
    last = f", the last act: {acts[-1]['act']} by {acts[-1]['who']} at {acts[-1]['at']}" if acts else ""
    return Finding("trust", f"{len(keys)} {'key' if len(keys) == 1 else 'keys'} ({folder}){last}")


def _rights(config: StationConfig, file: Path) -> Finding:
    """Name the first of what decides the verdicts that others than root could exchange."""
    bundles = [Path(os.path.realpath(path)) for path in config.bundles.values()]
    for place in (Path(edge.__file__).parent, file.resolve(), *bundles):
        try:
            refuse_others(place)
        except BundleError as error:
            return Finding("rights", str(error), Level.LOOK)
        except OSError as error:
            return Finding("rights", f"{place}: cannot be looked at ({error.strerror})", Level.LOOK)
    return Finding("rights", "only root can write the program, station.toml and the bundles")


def _folders(config: StationConfig) -> Iterator[Finding]:
    for name, folder in (("state_dir", config.state_dir), ("run_dir", config.run_dir)):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        free_mb = shutil.disk_usage(existing).free // 1_000_000
        words = f"{free_mb} MB free ({folder})"
        if not os.access(existing, os.W_OK | os.X_OK):
            yield Finding(
                name, f"not writable, {words}; run this as the engine's user, or look at the owner", Level.WRONG
            )
            continue
        tight = name == "state_dir" and free_mb < config.storage.keep_free_mb
        yield look_if(name, f"writable, {words}", "pictures are not kept any more: make room" if tight else "")


def _history(config: StationConfig) -> Iterator[Finding]:
    if not config.events_db.exists():
        yield Finding("history", "none yet")
        return
    try:
        log = EventLog(config.events_db, read_only=True)
        counts, rows = log.counts(), log.recent(LAST_ROWS)
        log.close()
    except EdgeError as error:
        yield Finding("history", str(error), Level.WRONG)
        return
    yield Finding("history", f"{counts.total} parts: {counts.ok} OK, {counts.ng} NG, {counts.error} ERROR")
    faults = [row for row in rows if row.verdict is Verdict.ERROR]
    if faults:
        reasons = ", ".join(f"{name} {n}" for name, n in Counter(row.reason.value for row in faults).most_common())
        last = f"the last was part {faults[0].id}: {faults[0].detail or faults[0].reason.value}"
        yield Finding("faults", f"{len(faults)} of the last {len(rows)} parts: {reasons}; {last}", Level.LOOK)


def certificate(path: Path, now: datetime) -> Finding:
    """Return when the page's certificate ends."""
    try:
        end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except OSError as error:
        return Finding("certificate", f"{path}: cannot be read ({error.strerror})", Level.LOOK)
    except ValueError:
        return Finding("certificate", f"{path}: is no certificate in PEM; put the page's there", Level.WRONG)
    words = f"{'ended' if end < now else 'ends'} {end:%Y-%m-%d} ({path})"
    if end < now:
        return Finding("certificate", f"{words}; replace it, and restart the page", Level.WRONG)
    return look_if("certificate", words, "replace it soon" if end - now < ENDS_SOON else "")
