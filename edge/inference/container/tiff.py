"""Is a TIFF whole? OpenCV decodes one without stopping at libtiff's errors, so that damage would look like a part.

TIFF 6.0 (Adobe 1992): directory in section 2, LZW in section 13, PackBits in section 9; Deflate is zlib's.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

SEVERAL = "the file holds several pictures; save the one to be judged as a file of its own"
DAMAGED = "the TIFF is damaged; take or export the image again"
UNKNOWN = "; save it as PNG, or as TIFF with 8 or 16 bits, uncompressed or with LZW, Deflate or PackBits"
WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, OFFSETS, SAMPLES, ROWS, COUNTS = 256, 257, 258, 259, 262, 273, 277, 278, 279
PLANES, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, INNER, FORMAT = 284, 322, 323, 324, 325, 330, 339
_TYPES = {1: "B", 3: "H", 4: "I"}  # of values that are read
MOST_BYTES = 512 * 1024 * 1024  # of one strip or tile, decoded
CHUNK = 1024 * 1024  # bytes that are inflated at a time
FEW_CLEARS = 64  # an encoder clears its table when it is full or useless, and not after each few bytes
_CLEAR, _END, _FIRST = 256, 257, 258  # LZW codes; _FIRST is the first entry of the table
_MOST = 4097  # codes between two clears, at most

Tags = dict[int, Sequence[int]]


def tiff_fault(data: bytes, most_pixels: int) -> str | None:
    """Return in one line why a TIFF must not be decoded; None when it is whole and holds one picture.

    One of more than most_pixels is not looked into: the decoder refuses it.
    """
    order = "<" if data.startswith(b"II") else ">"
    try:
        if struct.unpack_from(f"{order}H", data, 2)[0] != 42:
            return "not a TIFF that is read" + UNKNOWN
        tags, following = _directory(data, order)
        if following or INNER in tags:
            return SEVERAL
        if tags[WIDTH][0] * tags[HEIGHT][0] > most_pixels:
            return None
        return _unknown(tags) or _torn(data, tags)
    except (struct.error, KeyError, IndexError, ZeroDivisionError, zlib.error):
        return DAMAGED


def _directory(data: bytes, order: str) -> tuple[Tags, int]:
    """Return the numbers of the first directory by tag, and where the next directory lies (0: nowhere)."""
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, at)
    tags: Tags = {}
    for place in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
        if kind not in _TYPES or not 0 < count <= len(data):
            continue
        layout = f"{order}{count}{_TYPES[kind]}"
        inside = struct.calcsize(layout) <= 4
        tags[tag] = struct.unpack_from(
            layout, data, place + 8 if inside else struct.unpack_from(f"{order}I", data, place + 8)[0]
        )
    return tags, int(struct.unpack_from(f"{order}I", data, at + 2 + 12 * entries)[0])


def _unknown(tags: Tags) -> str | None:
    bits, compression = set(tags.get(BITS, (1,))), tags.get(COMPRESSION, (1,))[0]
    if bits not in ({1}, {8}, {16}) or set(tags.get(FORMAT, (1,))) != {1}:
        return f"a TIFF with samples of {max(bits)} bits is not read" + UNKNOWN
    if compression not in _DECODED or tags[COLOURS][0] > 3:
        return f"a TIFF of compression {compression} and colour model {tags[COLOURS][0]} is not read" + UNKNOWN
    return None


def _torn(data: bytes, tags: Tags) -> str | None:
    """Compare what each strip or tile decodes to with what the picture needs."""
    width, height, samples = tags[WIDTH][0], tags[HEIGHT][0], tags.get(SAMPLES, (1,))[0]
    separate = tags.get(PLANES, (1,))[0] == 2
    bits = tags.get(BITS, (1,))[0] * (1 if separate else samples)
    tiled = TILE_WIDTH in tags
    across, down = (tags[TILE_WIDTH][0], tags[TILE_HEIGHT][0]) if tiled else (width, tags.get(ROWS, (height,))[0])
    offsets, counts = (tags[TILE_OFFSETS], tags[TILE_COUNTS]) if tiled else (tags[OFFSETS], tags[COUNTS])
    down = down if tiled else min(height, down)
    below, number = math.ceil(height / down), math.ceil(height / down) * math.ceil(width / across)
    line = (across * bits + 7) // 8
    wanted = number * (samples if separate else 1)
    if len(offsets) != wanted or len(counts) != wanted or line * down > MOST_BYTES:
        return DAMAGED
    decoded = _DECODED[tags.get(COMPRESSION, (1,))[0]]
    for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        rows = down if tiled else min(down, height - index % below * down)
        piece = data[offset : offset + count]
        if len(piece) < count or decoded(piece, line * down) not in (line * rows, line * down):
            return DAMAGED
    return None


def _stored(piece: bytes, most: int) -> int:
    return min(len(piece), most)


def _inflated(piece: bytes, most: int) -> int:
    """Return the length that Deflate decodes to, 0 without the check sum at its end; raises zlib.error."""
    stream, length = zlib.decompressobj(), 0
    while not stream.eof and length <= most:
        some = len(stream.decompress(piece, CHUNK))
        piece, length = stream.unconsumed_tail, length + some
        if not some and not piece:
            return 0
    return length if stream.eof else 0


def _unpacked(piece: bytes, most: int) -> int:
    """Return the length that PackBits decode to; 0 when the last run is cut, or for a run that no encoder writes."""
    at = length = 0
    while at < len(piece) and length <= most:
        head = piece[at]
        if head == 128:
            return 0
        at += head + 2 if head < 128 else 2
        length += head + 1 if head < 128 else 257 - head
    return length if at == len(piece) else 0


def _lzw(piece: bytes, most: int) -> int:
    """Return the length that LZW decodes to, 0 for a code that no encoder writes. Nothing is decoded.

    Between two clears the n-th code has a known width and so a known place: all are read at once.
    """
    raw = np.frombuffer(piece + bytes(4), np.uint8)
    start, last, length, clears = 0, 8 * len(piece), 0, 0
    while start + 9 <= last and length <= most:
        if clears > FEW_CLEARS + length // FEW_CLEARS:
            return 0
        clears += 1
        places, widths = start + _PLACES, _WIDTHS
        fitting = int(np.searchsorted(places + widths, last, side="right"))
        places, widths = places[:fitting], widths[:fitting]
        at = places >> 3
        first, second, third = (raw[at + more].astype(np.int64) for more in range(3))
        words = (first << 16) | (second << 8) | third
        codes = ((words >> (24 - (places & 7) - widths)) & ((1 << widths) - 1)).astype(np.int64)
        ends = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        used = int(ends[0]) if len(ends) else len(codes)
        if (codes[:used] > _FIRST - 1 + np.arange(used)).any():
            return 0
        length += _strings(codes[:used])
        if not len(ends) or codes[used] == _END:
            break
        start = int(places[used] + widths[used])
    return length


def _strings(codes: NDArray[np.int64]) -> int:
    """Return the summed lengths of the strings that (N,) codes after a clear stand for.

    Entry j of the table is one longer than the string of code j, which may be an earlier entry: the depth of each
    entry in this forest is found by doubling the jumps.
    """
    root = len(codes)
    jump = np.append(np.where(codes >= _FIRST, codes - _FIRST, root), root)
    depth = np.append(np.ones(root, np.int64), 0)
    while (jump != root).any():
        depth, jump = depth + depth[jump], jump[jump]
    return int(np.where(codes >= _FIRST, depth[np.clip(codes - _FIRST, 0, root)] + 1, 1).sum())


# Widths grow one code early (section 13): the table has 257 + n entries before code n is read.
_WIDTHS = np.searchsorted([511, 1023, 2047], _FIRST - 1 + np.arange(_MOST), side="right") + 9
_PLACES = np.concatenate([[0], np.cumsum(_WIDTHS)[:-1]])
_DECODED: dict[int, Callable[[bytes, int], int]] = {
    1: _stored,
    5: _lzw,
    8: _inflated,
    32946: _inflated,
    32773: _unpacked,
}
