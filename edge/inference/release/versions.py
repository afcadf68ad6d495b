"""Which bundle judges by each recipe, and how far each product's version went: it never goes back by itself.

The note lies in the trust folder, twice, each with a checksum. Whoever resets a station or restores a backup leaves
the trust folder as it is.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from edge.core.files import make_folder, remedy, write_atomically
from edge.inference.bundle import Bundle, BundleError, Count, Facts, ProductName, Release, Sha256, sha256_bytes
from edge.inference.release.keys import first_fault, read_guarded
from edge.inference.release.trust import read_trust

NOTES = ("versions.json", "versions.copy.json")  # the same content: a power cut damages one of them at most
AUDIT = "audit.jsonl"  # one line for each act, chained
GENESIS = "0" * 64


class Activated(Facts):
    """A bundle that was activated on this station."""

    folder: str  # its name in the folder of the bundles
    digest: Sha256
    title: str
    release: Release | None = None


class Activation(Facts):
    """An activation that nobody confirmed yet: both bundles may judge, and the station may go back by itself."""

    recipe: str
    new: Activated
    old: Activated | None = None


class Versions(Facts):
    """The note of versions."""

    serial: int = Field(default=0, ge=0)  # rises with each write
    highest: Mapping[ProductName, Count] = Field(default_factory=dict)  # of each product, that was confirmed
    active: Mapping[str, Activated] = Field(default_factory=dict)  # by recipe
    previous: Mapping[str, Activated] = Field(default_factory=dict)  # by recipe: what judged before
    activation: Activation | None = None
    audit_end: Sha256 = GENESIS  # hash of the last act

    def fault(self, bundle: Bundle, recipe: str, activated: bool) -> str | None:
        """Return why this bundle must not judge by this recipe; activated: it must have been activated here."""
        known = self._known(recipe)
        if activated and bundle.digest not in {one.digest for one in known}:
            return f"was not activated for recipe {recipe!r}; run `python -m edge bundle activate`"
        return self.rollback_fault(bundle.manifest.release, recipe)

    def rollback_fault(self, release: Release | None, recipe: str | None = None) -> str | None:
        """Return why a version is too old for this station; recipe: the one that is to judge with it, if any.

        A bundle that names no version may be older than any. So it never follows one with a version by itself.
        """
        product, counter = (self.product(recipe or ""), 0) if release is None else (release.product, release.counter)
        highest = 0 if product is None else self.highest.get(product, 0)
        if counter >= highest:
            return None
        if release is None:
            return (
                f"names no version, and version {highest} of {product} judged here already; pack it anew, or let the "
                f"engineer run `python -m edge bundle allow-rollback --product {product} --to 0`"
            )
        return (
            f"is version {release.counter} of {release.product}, and version {highest} judged here already; "
            "install a newer one, or let the engineer run `python -m edge bundle allow-rollback`"
        )

    def product(self, recipe: str) -> str | None:
        """Return the product that a recipe judges, None when none was activated."""
        one = self.active.get(recipe)
        return None if one is None or one.release is None else one.release.product

    def _known(self, recipe: str) -> list[Activated]:
        found = [self.active[recipe]] if recipe in self.active else []
        if self.activation is not None and self.activation.recipe == recipe:
            found += [one for one in (self.activation.new, self.activation.old) if one is not None]
        return found


def admitted(bundle: Bundle, recipe: str, folder: Path, required: bool) -> str | None:
    """Return the key that vouches for a bundle which may judge by this recipe, None where nobody does.

    folder: the trust folder. required: without a good signature and an activation nothing judges. Raises BundleError.
    """
    key = read_trust(folder).signer(bundle, required)
    fault = read_versions(folder).fault(bundle, recipe, required)
    if fault is not None:
        raise BundleError(f"{bundle.path}: {fault}")
    return key


def read_versions(folder: Path) -> Versions:
    """Return the note of versions, an empty one where nothing was activated yet; raises BundleError when damaged."""
    found: list[Versions] = []
    faults: list[str] = []
    for path in (folder / name for name in NOTES):
        if os.path.lexists(path):
            try:
                found.append(_parsed(read_guarded(path)))
            except ValueError as error:
                faults.append(f"{path}: {error}")
    if not found and (faults or _told_of_notes(folder)):
        fault = faults[0] if faults else f"{folder / NOTES[0]}: is gone, and {AUDIT} tells of versions that judged here"
        way = f"put {folder} back from a backup, or move {AUDIT} and the notes away and activate the newest bundle"
        raise BundleError(f"{fault}; {way}")
    return max(found, key=lambda note: note.serial, default=Versions())


def _told_of_notes(folder: Path) -> bool:
    """Say whether the audit holds an act that needs a note; before the first one it can only announce activations."""
    if not os.path.lexists(folder / AUDIT):
        return False
    return any(json.loads(line).get("act") != "activate" for line in _lines(folder / AUDIT, GENESIS))


def _parsed(raw: bytes) -> Versions:
    body, _, checksum = raw.removesuffix(b"\n").rpartition(b"\n")
    if sha256_bytes(body).encode() != checksum:
        raise ValueError("is damaged: its checksum does not fit")
    try:
        return Versions.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise ValueError(f"is no note of versions ({first_fault(error)})") from None


def store_versions(folder: Path, versions: Versions, act: str, why: str = "", who: str | None = None) -> Versions:
    """Write the note after its act was noted in the audit; returns what was written. Raises BundleError.

    who: the person at the page for whom it is done; None: whoever started this process.
    """
    try:
        make_folder(folder, 0o755)
        end = _announce(folder / AUDIT, versions, act, why, who or _who())
        noted = versions.model_copy(update={"serial": versions.serial + 1, "audit_end": end})
        body = noted.model_dump_json().encode()
        for name in NOTES:
            write_atomically(folder / name, body + b"\n" + sha256_bytes(body).encode() + b"\n")
            (folder / name).chmod(0o644)
    except OSError as error:
        raise BundleError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); {remedy(error)}"
        ) from None
    return noted


def _announce(path: Path, versions: Versions, act: str, why: str, who: str) -> str:
    """Append an act to the audit, on the disk; returns its hash. Raises BundleError and OSError."""
    lines = _lines(path, versions.audit_end)
    previous = sha256_bytes(lines[-1]) if lines else GENESIS
    at = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"at": at, "who": who, "act": act, "why": why, "previous": previous}).encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as stream:
        stream.truncate(sum(len(one) + 1 for one in lines))  # what a power cut left of an act
        stream.seek(0, os.SEEK_END)
        stream.write(line + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    return sha256_bytes(line)


def read_audit(folder: Path) -> list[dict[str, str]]:
    """Return every act, oldest first; raises BundleError when an act was altered, removed or put in.

    A kill may leave acts at the end that the note of versions does not know: they were announced and not done.
    """
    lines = _lines(folder / AUDIT, read_versions(folder).audit_end)
    return [{key: str(value) for key, value in json.loads(line).items()} for line in lines]


def _lines(path: Path, end: str) -> list[bytes]:
    """Return the whole lines of an audit whose chain holds and reaches the act with the hash `end`."""
    lines = read_guarded(path).split(b"\n")[:-1] if os.path.lexists(path) else []
    hashes = [GENESIS]
    for number, line in enumerate(lines, 1):
        try:
            whole = json.loads(line)["previous"] == hashes[-1]
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise BundleError(f"{path}: line {number} was altered, or lines before it are missing; ask who could do so")
        hashes.append(sha256_bytes(line))
    if end not in hashes:
        raise BundleError(f"{path}: its last acts are missing; ask who could remove them, put it back from a backup")
    return lines


def _who() -> str:
    """Return the person who started this, as far as sudo says."""
    user = os.environ.get("SUDO_USER")
    try:
        return user or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
