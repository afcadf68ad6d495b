"""Signed bundles around the tiny model, and trust folders."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.inference.bundle import MANIFEST, SIGNATURE, Bundle, open_bundle, write_bundle
from edge.inference.release.keys import Signature, key_id

# A station believes files of root only; another user's tests cannot make such files.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a trust folder")


class Signer:
    """A private key, and what it signs."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    def trusted_in(self, folder: Path, **limits: object) -> Path:
        """Put the public key into a trust folder; limits: product, last_version."""
        folder.mkdir(mode=0o755, exist_ok=True)
        path = folder / f"{self.id}.pub"
        facts = {"algorithm": "ed25519", "id": self.id, "public": self.public.hex(), **limits}
        path.write_text(json.dumps(facts))
        path.chmod(0o644)
        return path

    def sign(self, bundle: Bundle) -> Bundle:
        """Add this key's signature to a bundle."""
        value = self.key.sign(bundle.file(MANIFEST).read_bytes())
        with bundle.file(SIGNATURE).open("ab") as stream:
            stream.write(Signature(self.id, value).line())
        return open_bundle(bundle.path)


def released(tiny: Bundle, folder: Path, counter: int, product: str = "flange", **changes: Any) -> Bundle:
    """Write the tiny bundle as this version of a product into a folder; changes: further keys of the manifest."""
    facts = tiny.manifest.model_dump(exclude={"format", "files"}) | {
        "name": product,
        "version": str(counter),
        "release": {"product": product, "counter": counter},
        **changes,
    }
    files = {name: tiny.file(name) for name in tiny.manifest.files}
    return write_bundle(folder / f"{product}-{counter}", facts, files)
