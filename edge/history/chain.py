"""A tamper-evident chain: each row's hash covers every field of the row and the hash of the row before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

GENESIS = "0" * 64  # what stands for the row before the first one


def row_hash(previous: str, fields: Mapping[str, str | int | float | None]) -> str:
    """sha256, 64 hex digits, over the previous row's hash and all fields in a canonical encoding.

    The encoding is JSON in ASCII: names sorted, no spaces, numbers in their shortest form that reads back
    exactly. A real number must be a float, and never minus zero: SQLite gives both back so.
    """
    text = json.dumps([previous, sorted(fields.items())], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
