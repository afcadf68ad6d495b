"""The trust folder of a station: public keys, what was retired or revoked. It decides which bundle may judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from edge.inference.bundle import MANIFEST, Bundle, BundleError, Count, ProductName, Sha256, sha256_bytes
from edge.inference.release.keys import (
    KeyId,
    PublicKey,
    first_fault,
    holds,
    read_guarded,
    read_public_key,
    refuse_others,
    signatures_of,
)

KEY_FILES = "*.pub"
RETIRED = "retired.json"  # key -> product -> the last version that the key is still trusted for
REVOKED = "revoked.json"  # digests of bundles that never judge again
MAX_KEYS = 64
T = TypeVar("T")

_RETIRED = TypeAdapter(dict[KeyId, dict[ProductName, Count]])
_REVOKED = TypeAdapter(list[Sha256])


@dataclass(frozen=True, slots=True)
class Trust:
    """What a station believes about bundles, apart from which version it has seen."""

    folder: Path
    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    retired: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()

    def signer(self, bundle: Bundle, required: bool) -> str | None:
        """Return the key that vouches for a verified bundle, None for a bundle that nobody here vouches for.

        Raises BundleError for a revoked bundle, for a forged signature, and, where a signature is required, for
        anything but a good one by a key that is trusted for this product and version.
        """
        if bundle.digest in self.revoked:
            raise BundleError(f"{bundle.path}: was revoked ({self.folder / REVOKED}); install a newer bundle")
        message = bundle.file(MANIFEST).read_bytes()
        if sha256_bytes(message) != bundle.digest:
            raise BundleError(f"{bundle.path}: {MANIFEST} was changed while it was read; copy the whole bundle again")
        faults = []
        for signature in signatures_of(bundle):
            key = self.keys.get(signature.key)
            if key is None:
                faults.append(f"key {signature.key} is not known here; put its .pub file into {self.folder}")
            elif not holds(key, signature, message):
                raise BundleError(f"{bundle.path}: the signature of key {key.id} is forged; do not use this bundle")
            elif (fault := self._unfit(key, bundle)) is not None:
                faults.append(fault)
            else:
                return key.id
        if not required:
            return None
        raise BundleError(f"{bundle.path}: {'; '.join(faults) or _UNSIGNED}")

    def _unfit(self, key: PublicKey, bundle: Bundle) -> str | None:
        """Return why a key that did sign a bundle is not trusted for it."""
        release = bundle.manifest.release
        if release is None:
            return "the manifest names no product and no version; pack and sign the bundle again"
        if key.product not in {None, release.product}:
            return f"key {key.id} is for {key.product}, not for {release.product}; sign with a key for this product"
        ends = [] if key.last_version is None else [("expired", key.last_version)]
        if key.id in self.retired:
            ends.append(("was retired", self.retired[key.id].get(release.product, 0)))
        for word, last in ends:
            if release.counter > last:
                until = f"after version {last}" if last else "for every version"
                return (
                    f"key {key.id} {word} {until} of {release.product}, this is version {release.counter}; "
                    "sign with the present key"
                )
        return None


_UNSIGNED = (
    "is not signed; sign it with `python -m train sign`, "
    'or set bundle_signatures = "optional" in station.toml to take unsigned bundles'
)


def read_trust(folder: Path) -> Trust:
    """Read the trust folder, which may be absent; raises BundleError when others than root could have written it."""
    try:
        names = sorted(folder.glob(KEY_FILES)) if folder.is_dir() else []
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read ({error.strerror}); run: chmod 0755 {folder}") from None
    if not folder.is_dir():
        return Trust(folder)
    refuse_others(folder)
    if len(names) > MAX_KEYS:
        raise BundleError(f"{folder}: holds {len(names)} keys; at most {MAX_KEYS} are read, remove the old ones")
    keys: dict[str, PublicKey] = {}
    for path in names:
        key = read_public_key(path)
        if key.id in keys:
            raise BundleError(f"{path}: key {key.id} is there twice, maybe with other limits; remove all files but one")
        keys[key.id] = key
    retired = _read(_RETIRED, folder / RETIRED) or {}
    revoked = _read(_REVOKED, folder / REVOKED) or []
    return Trust(folder, keys, retired, frozenset(revoked))


def _read(shape: TypeAdapter[T], path: Path) -> T | None:
    """Return what a file of the trust folder holds, None when it is not there."""
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return shape.validate_json(read_guarded(path), strict=True)
    except ValidationError as error:
        raise BundleError(f"{path}: {first_fault(error)}; correct it, see docs/reference/bundle.md") from None
