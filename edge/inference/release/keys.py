"""Public keys and signatures: Ed25519 (RFC 8032) over the bytes of manifest.json exactly as they are stored."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, ValidationError, model_validator

from edge.inference.bundle import SIGNATURE, Bundle, BundleError, Count, Facts, ProductName

MAX_FILE_BYTES = 16 * 1024 * 1024  # of a file in the trust folder: some 50,000 acts in its audit
MAX_SIGNATURES = 8  # of one bundle, so that a new key can sign beside the old one
_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})\n")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NOBODY = 65534  # root, as a process without its own view of the users sees it

KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class PublicKey(Facts):
    """A key that a station trusts, with the product and the versions that it is trusted for."""

    algorithm: Literal["ed25519"]
    id: KeyId
    public: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # 32 bytes
    product: ProductName | None = None  # None: every product
    last_version: Count | None = None  # the key is over after this version; None: it has no end

    @model_validator(mode="after")
    def _id_fits(self) -> PublicKey:
        if self.id != key_id(bytes.fromhex(self.public)):
            raise ValueError("id: is not that of this key")
        return self


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a bundle's manifest."""

    key: str  # id
    value: bytes  # 64 bytes

    def line(self) -> bytes:
        """Return the line of manifest.sig that holds this signature."""
        return f"ed25519 {self.key} {self.value.hex()}\n".encode()


def key_id(public: bytes) -> str:
    """Return the name of a public key: the first 16 digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()[:16]


def read_public_key(path: Path) -> PublicKey:
    """Return the key in a .pub file; raises BundleError with one line."""
    try:
        return PublicKey.model_validate_json(read_guarded(path), strict=True)
    except ValidationError as error:
        raise BundleError(f"{path}: is no public key ({first_fault(error)}); copy it again, or remove it") from None


def signatures(path: Path, raw: bytes) -> list[Signature]:
    """Return the signatures in the content of a manifest.sig; path is for the message of a BundleError."""
    lines = raw.splitlines(keepends=True)
    found = [_LINE.fullmatch(line) for line in lines[: MAX_SIGNATURES + 1]]
    if not 1 <= len(lines) <= MAX_SIGNATURES or None in found:
        raise BundleError(f"{path}: {SIGNATURE} holds no signatures; sign the bundle again with `python -m train sign`")
    return [Signature(one[1].decode(), bytes.fromhex(one[2].decode())) for one in found if one is not None]


def signatures_of(bundle: Bundle) -> list[Signature]:
    """Return the signatures of a bundle, none when it is not signed; raises BundleError for a file that is none."""
    file = bundle.file(SIGNATURE)
    return signatures(bundle.path, file.read_bytes()) if file.is_file() else []


def holds(key: PublicKey, signature: Signature, message: bytes) -> bool:
    """Return True when this key signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)).verify(signature.value, message)
    except InvalidSignature:
        return False
    return True


def read_guarded(path: Path) -> bytes:
    """Return the content of a file in the trust folder; raises BundleError when others could have written it."""
    try:
        refuse_others(path)
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); let root own it, with mode 0644") from None
    if len(raw) > MAX_FILE_BYTES:
        raise BundleError(f"{path}: is too large for what it should hold; copy it again")
    return raw


def refuse_others(path: Path) -> None:
    """Raise BundleError when anybody but root can write a file, or the folders that lead to it; OSError when absent.

    A folder with the sticky bit, as /tmp has, may be open to all: nobody can exchange the entries of others there.
    """
    me = os.geteuid()
    for place in (path, *path.absolute().parents):
        facts = place.lstat() if place == path else place.stat()
        if stat.S_ISLNK(facts.st_mode):
            raise BundleError(f"{place}: is a link; put the file itself there")
        if facts.st_mode & _OTHERS_WRITE and not (stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX):
            raise BundleError(f"{place}: others than root can write it; run: chmod go-w {place}")
        if facts.st_uid not in {0, _NOBODY} or (facts.st_uid != 0 and me == 0):
            whose = "the user that runs this" if facts.st_uid == me else f"user {facts.st_uid}"
            raise BundleError(f"{place}: belongs to {whose}, who could exchange it; run: chown root:root {place}")


def first_fault(error: ValidationError) -> str:
    """Return what is wrong first, with its place, in one line."""
    first = error.errors()[0]
    where = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
    return f"{where}{first['msg'].removeprefix('Value error, ')}"[:300]
