"""Compare what a station installs with known vulnerabilities, without a network.

Usage: advisories.py ADVISORIES.zip LOCK|sbom.json

ADVISORIES.zip is the database of OSV for PyPI: one JSON of the OSV schema 1 for each advisory. LOCK is a
requirements file with `==`, sbom.json that of an installation archive. Ends with 1 where something is affected, with 2
where an answer is impossible.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LARGEST = 16 * 1024 * 1024  # bytes of one advisory
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


class AuditError(Exception):
    """Nothing can be said."""


def main(arguments: list[str]) -> int:
    """Print a line for each package that an advisory affects."""
    try:
        if len(arguments) != 2:
            raise AuditError("give the advisories (all.zip of OSV for PyPI) and a lock file or sbom.json")
        packages = installed(Path(arguments[1]))
        count, found = 0, []
        for advisory in advisories(Path(arguments[0])):
            count += 1
            found += [line for entry in advisory.get("affected", []) for line in _lines(advisory, entry, packages)]
        if not count:
            raise AuditError(f"{arguments[0]}: holds no advisory; fetch it anew")
    except AuditError as error:
        sys.stderr.write(f"linewatch: {error}\n")
        return 2
    lines = sorted(set(found))
    sys.stdout.write("\n".join([*lines, f"{len(packages)} packages, {count} advisories, {len(lines)} affect\n"]))
    return 1 if found else 0


def installed(path: Path) -> set[tuple[str, str]]:
    """Return name and version of the packages in a lock file or a CycloneDX list. Raises AuditError.

    A package may have a version for each Python.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            pairs = [(one["name"], one["version"]) for one in json.loads(text)["components"]]
        else:
            pairs = PINNED.findall(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditError(f"{path}: is no lock file and no sbom.json ({error}); give requirements/base.lock") from None
    if not pairs:
        raise AuditError(f"{path}: names no package with its version; give requirements/base.lock or sbom.json")
    return {(canonicalize_name(name), version) for name, version in pairs}


def advisories(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each advisory that was not withdrawn. Raises AuditError where the archive cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".json"):
                    if entry.file_size > LARGEST:
                        raise AuditError(f"{path}: {entry.filename} is too large to be an advisory; fetch it anew")
                    advisory = json.loads(archive.read(entry))
                    if not advisory.get("withdrawn"):
                        yield advisory
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise AuditError(f"{path}: is no archive of advisories ({error}); fetch all.zip of OSV for PyPI") from None


def _lines(advisory: dict[str, Any], entry: dict[str, Any], packages: set[tuple[str, str]]) -> Iterator[str]:
    package = entry.get("package", {})
    name = canonicalize_name(package.get("name", ""))
    if package.get("ecosystem", "").partition(":")[0] != "PyPI":
        return
    for version in [version for own, version in packages if own == name]:
        if not is_affected(version, entry.get("versions", []), entry.get("ranges", [])):
            continue
        names = ", ".join([advisory.get("id", "?"), *advisory.get("aliases", [])])
        fixed = [
            event["fixed"] for one in entry.get("ranges", []) for event in one.get("events", []) if "fixed" in event
        ]
        remedy = f"fixed in {', '.join(fixed)}" if fixed else "no fixed version is known"
        yield f"{name} {version}: {names}: {advisory.get('summary', 'no summary')}; {remedy}"


def is_affected(version: str, versions: Iterable[str], ranges: Iterable[dict[str, Any]]) -> bool:
    """Say whether an advisory affects a version: it is listed, or in a range (OSV schema, "Evaluation").

    What cannot be compared counts as affected.
    """
    try:
        own = Version(version)
        if any(own == Version(one) for one in versions if _is_version(one)):
            return True
        return any(_in_range(own, one["events"]) for one in ranges if one.get("type") == "ECOSYSTEM")
    except (InvalidVersion, KeyError, TypeError):
        return True


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _in_range(own: Version, events: list[dict[str, str]]) -> bool:
    within = False
    for kind, at in sorted((pair for event in events for pair in event.items()), key=_place):
        if kind == "introduced":
            within = within or at == "0" or own >= Version(at)
        elif kind == "fixed":
            within = within and own < Version(at)
        elif kind == "last_affected":
            within = within and own <= Version(at)
    return within


def _place(event: tuple[str, str]) -> tuple[Version, bool]:
    kind, at = event
    return Version("0.dev0") if at == "0" else Version(at), kind == "introduced"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
