"""Does a file hold exactly one picture, of a kind that is read? What OpenCV would pass over in silence is refused."""

from __future__ import annotations

import re
import struct

from edge.inference.container.tiff import SEVERAL, tiff_fault

KINDS = "PNG, JPEG, BMP, TIFF or WebP"
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # that ends the coded data of a JPEG scan
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers that no length follows
_ANIMATED = 0x02  # flag of a VP8X chunk


def container_fault(data: bytes, most_pixels: int) -> str | None:
    """Return in one line why an encoded image must not be decoded; None when it may be.

    OpenCV reads the first of several pictures, and more kinds of files than are stated. Damage that a decoder
    reports (JPEG, PNG, WebP, BMP) is not looked for here.
    """
    if data.startswith(JPEG_START):
        return SEVERAL if data.find(JPEG_START, _jpeg_end(data)) >= 0 else None
    if data.startswith(PNG_START):
        return _png_fault(data)
    if data.startswith((b"II", b"MM")):
        return tiff_fault(data, most_pixels)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_fault(data)
    return None if data.startswith(b"BM") else f"not a readable image; use {KINDS}"


def _jpeg_end(data: bytes) -> int:
    """Return where the first picture of a JPEG ends; thumbnails inside its segments are passed over."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if marker == 0xDA:
            found = _MARKER.search(data, at)
            at = found.start() if found else len(data)
    return at


def _png_fault(data: bytes) -> str | None:
    at = len(PNG_START)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"acTL":
            return SEVERAL
        if kind == b"IEND":
            break
    return SEVERAL if data.find(PNG_START, at) >= 0 else None


def _webp_fault(data: bytes) -> str | None:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        flags = data[at + 8] if kind == b"VP8X" and at + 8 < len(data) else 0
        if kind in (b"ANIM", b"ANMF", b"RIFF") or flags & _ANIMATED:
            return SEVERAL
        at += 8 + length + length % 2
    return None
