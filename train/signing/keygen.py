"""Make a key pair: the private key stays with whoever releases bundles, the public one goes to the stations."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from edge.core.cli import OneLineParser
from edge.inference.release.keys import PublicKey, first_fault, key_id
from train.signing import SigningError


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train keygen", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the two files")
    parser.add_argument("--product", metavar="NAME", help="sign this product only")
    parser.add_argument("--last-version", type=int, metavar="N", help="the key is over after this version")
    args = parser.parse_args(argv)
    key = keygen(args.out, args.product, args.last_version)
    print(f"keygen: {args.out}/{key.id}.key is the private key: keep it off the network, and keep a copy in a safe")
    print(f"keygen: {args.out}/{key.id}.pub goes into the trust folder of every station")


def keygen(folder: Path, product: str | None = None, last_version: int | None = None) -> PublicKey:
    """Write ID.key (PKCS #8 in PEM, mode 0600) and ID.pub into a folder; raises SigningError and OSError."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    try:
        key = PublicKey(
            algorithm="ed25519", id=key_id(public), public=public.hex(), product=product, last_version=last_version
        )
    except ValidationError as error:
        raise SigningError(f"the key cannot be limited so: {first_fault(error)}; correct the options") from None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle = os.open(folder / f"{key.id}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secret)
    (folder / f"{key.id}.pub").write_text(key.model_dump_json(exclude_none=True) + "\n", encoding="ascii")
    return key
