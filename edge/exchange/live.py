"""The live picture in run_dir: a JPEG that names the part that it shows, so that nobody pairs it with another part.

The name is a JPEG comment. It stands in the file of the picture, because two files can never be replaced at once.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge.core.files import write_atomically
from edge.exchange.health import LATEST, LATEST_RAW

SOI = b"\xff\xd8"
COMMENT = b"\xff\xfe"
_NAME = re.compile(rb"Linewatch (?:part (\d{1,19})|view)\Z")


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One live picture."""

    key: str  # names this picture and no other one
    part: int | None  # the part that it shows; None: what the camera sees, and no part's picture
    jpeg: bytes


def named(jpeg: bytes, part: int | None) -> bytes:
    """Return a JPEG with a comment that names its part; None: what the camera sees now."""
    text = b"Linewatch view" if part is None else b"Linewatch part %d" % part
    at = _after_first_segment(jpeg)
    return jpeg[:at] + COMMENT + (len(text) + 2).to_bytes(2, "big") + text + jpeg[at:]


def unnamed(jpeg: bytes) -> bytes:
    """Return a JPEG without the comment of named(), so that the same picture of two parts has the same bytes."""
    at = _after_first_segment(jpeg)
    if jpeg[at : at + 2] != COMMENT:
        return jpeg
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def write_live(run_dir: Path, heat: bytes, frame: bytes) -> None:
    """Replace both live pictures by JPEGs of named(): with heatmap and outline, and untouched. Raises OSError."""
    write_atomically(run_dir / LATEST_RAW, frame, durable=False)
    write_atomically(run_dir / LATEST, heat, durable=False)


def read_live(path: Path) -> LivePicture | None:
    """Return the picture in this file; None when there is none, or when it does not name its part."""
    try:
        with path.open("rb") as stream:
            written_ns = os.fstat(stream.fileno()).st_mtime_ns  # of this file: a newer one may have its name by now
            jpeg = stream.read()
    except OSError:
        return None
    at = _after_first_segment(jpeg)
    length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
    found = _NAME.match(jpeg[at + 4 : at + 2 + length]) if jpeg[at : at + 2] == COMMENT else None
    if found is None:
        return None
    part = None if found[1] is None else int(found[1])
    return LivePicture(f"{'view' if part is None else part}-{written_ns}", part, jpeg)


def _after_first_segment(jpeg: bytes) -> int:
    """Return where the segment after the start of the image ends; readers expect JFIF's own segment to be the first."""
    return 4 + int.from_bytes(jpeg[4:6], "big") if jpeg.startswith(SOI) else 0
