"""Fetch an archive from any HTTPS server. The server is trusted for nothing: the signature of the bundle decides."""

from __future__ import annotations

import hashlib
import http.client
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from edge.commands import CommandError
from edge.core.files import write_atomically
from edge.inference.release.archive import MAX_BYTES, PART, SUFFIX

ATTEMPTS = 5  # a transfer that breaks goes on where it broke
AGAIN_S = 1.0
SILENT_S = 30.0  # a server that sends nothing for so long is gone
LONGEST_VALIDATOR = 200  # characters
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_... of OpenSSL
_CHUNK = 256 * 1024
_BROKEN = (OSError, http.client.HTTPException)  # URLError, TimeoutError and ssl.SSLError are OSErrors


class _OnlyHttps(HTTPRedirectHandler):
    """Follows a server to another address only when that one is encrypted, too."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the request for the new address; raises CommandError."""
        refuse_plain(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def refuse_plain(url: str) -> None:
    """Raise CommandError for an address that is not HTTPS."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or not url.isprintable() or " " in url:
        raise CommandError(f"{url[:200]}: is no https address; give one that begins with https://")


def part_name(url: str) -> str:
    """Return how the names of what was fetched in part from this address begin."""
    return f"{PART}{hashlib.sha256(url.encode()).hexdigest()[:16]}"


@contextmanager
def fetched(url: str, folder: Path, authorities: Path | None) -> Iterator[Path]:
    """Give the archive of an address as a file in a folder until the block ends; what broke off stays for the next try.

    authorities: PEM file of who vouches for the server; None: those of the system. Raises CommandError.
    """
    refuse_plain(url)
    try:
        opener = build_opener(HTTPSHandler(context=ssl.create_default_context(cafile=authorities)), _OnlyHttps())
    except (OSError, ssl.SSLError) as error:
        raise CommandError(f"{authorities}: cannot be used ({error}); give a file of certificates in PEM") from None
    part = folder / f"{part_name(url)}{SUFFIX}"
    note = part.with_suffix(".validator")
    try:
        _complete(opener, url, part, note)
    except OSError as error:
        raise CommandError(f"{part}: {error.strerror}; make room, or run this as root") from None
    try:
        yield part
    finally:  # also one that is refused: the next try begins anew
        note.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _complete(opener: OpenerDirector, url: str, part: Path, note: Path) -> None:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(AGAIN_S)
        try:
            if _go_on(opener, url, part, note):
                return
            problem = "the server ends before the file does"
        except HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)  # another file is there now
            elif error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                raise CommandError(
                    f"{url}: the server answers {error.code} {error.reason}; correct the address"
                ) from None
            problem = f"the server answers {error.code}"
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise _unproven(url, error.reason) from None
            problem = str(error.reason)
    raise CommandError(f"{url}: {problem}; run this again, it goes on at byte {_size(part)}")


def _unproven(url: str, error: ssl.SSLCertVerificationError) -> CommandError:
    """Return why a server is not believed; a clock that is wrong makes a good certificate look too young or too old."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    remedies = {
        _NOT_YET_VALID: f"the clock here says {now}: set it with timedatectl",
        _EXPIRED: f"have it renewed, or set the clock here, which says {now}",
    }
    remedy = remedies.get(error.verify_code, "nobody vouches for this server; give --authorities FILE")
    return CommandError(f"{url}: {error.verify_message}; {remedy}")


def _go_on(opener: OpenerDirector, url: str, part: Path, note: Path) -> bool:
    """Fetch what is missing; return True when the file is whole. Raises URLError, OSError of the disk."""
    request, have = Request(url), _size(part)  # noqa: S310 (an https address, looked at before)
    if have and note.is_file():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", note.read_text(encoding="ascii"))
    try:
        answer = opener.open(request, timeout=SILENT_S)
    except _BROKEN as error:
        raise error if isinstance(error, URLError) else URLError(error) from None
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not (answer.headers["Content-Range"] or "").startswith(f"bytes {have}-"):
            raise URLError("the server sends another part than was asked for")
        validator = answer.headers["ETag"] or answer.headers["Last-Modified"] or ""
        fit = re.fullmatch(r"[ -~]+", validator) and len(validator) <= LONGEST_VALIDATOR and validator[:2] != "W/"
        note.unlink(missing_ok=True) if not fit else write_atomically(note, validator.encode())
        length = answer.headers["Content-Length"]
        if length is not None and not re.fullmatch(r"[0-9]{1,18}", length):
            raise CommandError(f"{url}: the server sends a Content-Length that is no number; look at the server")
        expected = (have if goes_on else 0) + int(length or 0)
        if expected > MAX_BYTES:
            raise CommandError(f"{url}: {expected} bytes are no bundle; correct the address")
        with part.open("ab" if goes_on else "wb") as stream:
            for chunk in _chunks(answer):
                stream.write(chunk)
                if stream.tell() > MAX_BYTES:
                    raise CommandError(f"{url}: sends more than a bundle can hold; correct the address")
    return _size(part) == expected if length else True


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read(_CHUNK)
        except _BROKEN as error:
            raise URLError(error) from None
        if not chunk:
            return
        yield chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
