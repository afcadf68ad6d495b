"""Compiled models kept from start to start: a folder of blobs, each under the digest of all that it depends on.

A runtime trusts the blob it is given. OpenVINO 2026.4 refuses one that was cut off, but loads one with a flipped bit
and answers other scores, some of them within a reference's tolerance. So each file begins with the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.core.files import write_atomically
from edge.inference.cpu import read_cpu

KEPT = 8  # recipes times settings of one station; the oldest go
SUFFIX = ".blob"
DIGEST_BYTES = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BlobStore:
    """One station's compiled models. Whatever is wrong with a blob, the model is compiled again."""

    folder: Path

    def path(self, model_sha256: str, runtime: str, options: Mapping[str, object]) -> Path:
        """Where the blob of a model lies: another model, runtime version, CPU, cap or option is another file.

        runtime: its name and full version.
        """
        cpu = read_cpu()
        facts = [
            model_sha256,
            runtime,
            cpu.model,
            cpu.features,
            cpu.tier,
            sorted((k, str(v)) for k, v in options.items()),
        ]
        return self.folder / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}{SUFFIX}"

    def read(self, path: Path) -> bytes | None:
        """The blob as it was written; None where there is none, or where it is not what was written."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s: the compiled model cannot be read (%s); compiled again", path, error.strerror)
            return None
        blob = content[DIGEST_BYTES:]
        if hashlib.sha256(blob).digest() != content[:DIGEST_BYTES]:
            log.warning("%s: the compiled model is damaged; compiled again", path)
            return None
        return blob

    def refuse(self, path: Path, why: str) -> None:
        """Say that the runtime did not take a blob that is whole."""
        cause = (why.strip().splitlines() or ["no cause given"])[-1].strip()
        log.warning("%s: the compiled model does not load (%s); compiled again", path, cause)

    def write(self, path: Path, blob: bytes) -> None:
        """Keep a blob, and only the newest few; a folder that cannot be written to costs time, not parts."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, hashlib.sha256(blob).digest() + blob)
            newest = sorted(self.folder.glob(f"*{SUFFIX}"), key=lambda one: one.stat().st_mtime_ns, reverse=True)
            for old in newest[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: the compiled model cannot be kept (%s); each start compiles", path, error.strerror)
