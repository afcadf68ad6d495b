"""What a station keeps, for the scripts that back it up, restore it and move it: databases, ids and versions.

Nothing that is merged here goes back: ids, versions, retired keys and revoked bundles.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path


def copy(source: str, target: str) -> None:
    """Copy a file; a database as it is at one moment, also while others write it, into one file of mode 0600."""
    with Path(target).open("wb") as made:
        os.fchmod(made.fileno(), 0o600)
    if Path(source).suffix != ".db":
        shutil.copyfile(source, target)
        return
    uri = f"{Path(source).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")


def ids(mark: str, margin: str, *shown: str) -> None:
    """Raise the mark beside a history: no id is given again that a mark or a history shows.

    margin: parts that may have been judged after the history in shown[0] was copied, unless the mark is that history's.
    """
    from edge.history.marks import Mark, noted_id

    note = Mark(Path(mark))
    words = note.read()
    name, last = _head(shown[0])
    highest = [noted_id(word) or 0 for word in words[1:]]
    highest.append(last + (int(margin) if name not in words[:1] else 0))
    for path in shown[1:]:
        if path.endswith(".db"):
            highest.append(_head(path)[1])
        elif Path(path).is_file():
            highest += [noted_id(word) or 0 for word in Path(path).read_text(encoding="ascii").split()[1:3]]
    if words[:1] != [name] or max(highest) > min(noted_id(word) or 0 for word in words[1:]):
        note.write(name, f"{max(highest):020d}", f"{max(highest):020d}")
    note.sync()  # what shows these ids now may be removed next
    note.close()


def _head(database: str) -> tuple[str, int]:
    """Return the name and the last id of a history; ("none", 0) where there is none."""
    if not Path(database).is_file():
        return "none", 0
    with closing(sqlite3.connect(f"{Path(database).resolve().as_uri()}?mode=ro", uri=True)) as db:
        name, last = db.execute("SELECT history, max(last_id, reserved_to) FROM head").fetchone()
    return str(name), int(last)


def trust(backup: str, station: str) -> None:
    """Raise the versions of a station to those of a backup, and take over its retired keys and revoked bundles.

    A station without keys takes those of the backup; one without versions takes these with their audit, too.
    """
    from edge.inference.release.keys import read_guarded
    from edge.inference.release.trust import RETIRED, REVOKED, read_trust
    from edge.inference.release.versions import AUDIT, NOTES, read_versions, store_versions

    old, new = Path(backup), Path(station)
    theirs, ours = read_trust(old), read_trust(new)
    content: dict[str, object] = {
        RETIRED: _both_retired(ours.retired, theirs.retired),
        REVOKED: sorted(ours.revoked | theirs.revoked),
    }
    names = [path.name for path in sorted(old.glob("*.pub"))] if not ours.keys else []
    if not any((new / name).is_file() for name in NOTES):
        names += [name for name in (AUDIT, *NOTES) if (old / name).is_file()]  # acts first: a note without them is none
    for name in names:
        _replace(new / name, read_guarded(old / name))
    for name, words in content.items():
        if words:
            _replace(new / name, json.dumps(words, indent=1).encode() + b"\n")
    present, kept = read_versions(new), read_versions(old)
    highest = dict(present.highest)
    for product, counter in kept.highest.items():
        highest[product] = max(counter, highest.get(product, 0))
    if highest != dict(present.highest):
        store_versions(new, present.model_copy(update={"highest": highest}), "restore", "versions of a backup")


def _both_retired(
    ours: Mapping[str, Mapping[str, int]], theirs: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """Return the ends of keys that both lists leave; a product that a list does not name has no version left."""
    merged = {key: dict((ours.get(key) or theirs.get(key) or {}).items()) for key in {*ours, *theirs}}
    for key in ours.keys() & theirs.keys():
        products = {*ours[key], *theirs[key]}
        merged[key] = {name: min(ours[key].get(name, 0), theirs[key].get(name, 0)) for name in products}
    return merged


def _replace(path: Path, data: bytes) -> None:
    from edge.core.files import write_atomically

    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)
        path.chmod(0o644)


if __name__ == "__main__":
    {"copy": copy, "ids": ids, "trust": trust}[sys.argv[1]](*sys.argv[2:])
