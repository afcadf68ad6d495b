"""multipart/x-mixed-replace, as cameras send it: from bytes that come in pieces to whole parts, all of them bounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message

MAX_PART = 32 * 1024 * 1024  # bytes of one picture
MAX_HEAD = 16 * 1024  # bytes of one part's header lines
_NEWLINE = re.compile(rb"\r?\n")


class PartsError(Exception):
    """The stream is not, or no longer, made of parts; only a new connection can help."""


@dataclass(frozen=True, slots=True)
class Part:
    """One picture as it was sent."""

    body: bytes
    headers: dict[str, str]  # names in lower case
    torn: bool = False  # it ended before its announced length


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary that a Content-Type names, empty when it names none; None when it is not multipart."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_maintype() != "multipart":
        return None
    named = message.get_param("boundary") or ""
    return str(named).strip().strip('"').encode("latin-1", "replace")


class Parts:
    """Takes a stream apart. `more` returns the next bytes, empty at the end of the stream."""

    def __init__(self, boundary: bytes, more: Callable[[], bytes]) -> None:
        self._named = boundary
        self._more = more
        self._held = bytearray()
        self._mark = b""  # the delimiter with the end of line before it, as this camera writes it

    def next(self) -> Part:
        """Wait for the next part; raises PartsError when a bound is passed or the stream ends."""
        if not self._mark:
            self._mark = b"\n" + self._first_delimiter()
        else:
            self._held[:0] = b"\n"  # a length that counts the end of line, too, has taken it
            self._to_mark()
            self._take(len(self._mark))
            if self._line().startswith(b"--"):
                raise PartsError("the camera ended the stream")
        headers = self._head()
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > 0:
            return self._of_length(int(length), headers)
        return Part(self._to_mark(), headers)

    def _first_delimiter(self) -> bytes:
        """Read up to the first delimiter line: cameras write the boundary with dashes before it, or without."""
        passed = 0
        while passed <= MAX_HEAD:
            line = self._line().rstrip()
            if line.startswith(b"--") or (self._named and line == self._named):
                return line
            passed += len(line) + 1
        raise PartsError(f"no part begins within {MAX_HEAD} bytes")

    def _head(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        size = 0
        while line := self._line():
            size += len(line)
            if size > MAX_HEAD:
                raise PartsError(f"the header lines of a part exceed {MAX_HEAD} bytes")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _of_length(self, length: int, headers: dict[str, str]) -> Part:
        """Take so many bytes. A delimiter among them means that the part was cut, and another one has begun."""
        if length > MAX_PART:
            raise PartsError(f"a picture of {length} bytes is over the limit of {MAX_PART}")
        while len(self._held) < length:
            self._fill()
        end = self._held.find(self._mark, 0, length)
        if end < 0:
            return Part(self._take(length), headers)
        return Part(self._take(end), headers, torn=True)

    def _to_mark(self) -> bytes:
        """Take everything before the next delimiter."""
        searched = 0
        while (found := self._held.find(self._mark, searched)) < 0:
            if len(self._held) > MAX_PART:
                raise PartsError(f"a picture has more than {MAX_PART} bytes")
            searched = max(0, len(self._held) - len(self._mark))
            self._fill()
        return self._take(found)

    def _line(self) -> bytes:
        searched = 0
        while (found := _NEWLINE.search(self._held, searched)) is None:
            if len(self._held) > MAX_HEAD:
                raise PartsError(f"a line is longer than {MAX_HEAD} bytes")
            searched = max(0, len(self._held) - 1)
            self._fill()
        return self._take(found.end())[: found.start()]

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _fill(self) -> None:
        data = self._more()
        if not data:
            raise PartsError("the camera closed the connection")
        self._held += data
