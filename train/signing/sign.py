"""Sign a bundle with a private key, and write the one file that carries it to a station."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edge.core.cli import OneLineParser
from edge.core.files import write_atomically
from edge.inference.bundle import MANIFEST, SIGNATURE, Bundle, open_bundle
from edge.inference.release.archive import archive_path, write_archive
from edge.inference.release.keys import MAX_SIGNATURES, Signature, key_id, signatures_of
from train.signing import SigningError


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train sign", description=__doc__)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder, e.g. models/NAME")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="private key that `keygen` made")
    args = parser.parse_args(argv)
    bundle, key = sign(args.bundle, args.key)
    release = bundle.manifest.release
    version = f", version {release.counter} of {release.product}" if release else ""
    print(f"sign: {archive_path(bundle.path)} ({bundle.title}{version}) is signed with key {key}")


def sign(folder: Path, key_file: Path) -> tuple[Bundle, str]:
    """Sign a verified bundle; returns it, and the key's id. Raises BundleError, SigningError and OSError.

    The manifest is not touched, so the digest stays. A signature of another key stays beside the new one.
    """
    bundle = open_bundle(folder)
    if bundle.manifest.release is None:
        raise SigningError(f"{folder}: names no product and no version; pack it again with `python -m train pack`")
    private = _read_private(key_file)
    key = key_id(private.public_key().public_bytes_raw())
    kept = [one for one in signatures_of(bundle) if one.key != key]
    if len(kept) >= MAX_SIGNATURES:
        raise SigningError(f"{folder}: {len(kept)} keys signed it already; remove {SIGNATURE} and sign anew")
    signatures = [*kept, Signature(key, private.sign(bundle.file(MANIFEST).read_bytes()))]
    write_atomically(bundle.file(SIGNATURE), b"".join(one.line() for one in signatures))
    bundle = open_bundle(folder)
    write_archive(bundle, archive_path(bundle.path))
    return bundle, key


def _read_private(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file that only its owner can read; raises SigningError and OSError."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SigningError(f"{path}: others than its owner can read or write it; run: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path}: holds no private key for bundles; make one with `python -m train keygen`")
    return key
