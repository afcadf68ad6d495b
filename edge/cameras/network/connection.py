"""A bounded HTTP connection to a camera: urllib and http.client, with an end to every wait and every buffer."""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol
from urllib.error import HTTPError, URLError

from edge.cameras import CameraError
from edge.cameras.network.address import address_of
from edge.config.cameras import without_secrets

OPEN_TIMEOUT_S = 5.0
MAX_HEAD = 1024 * 1024  # bytes that a server may send before its stream begins, redirects' pages with them
CHUNK = 256 * 1024


class Stream(Protocol):
    """What a camera sends."""

    content_type: str

    def read(self, until: float) -> bytes:
        """Return the next bytes, at most 256 kB and empty at the end; raises OSError at the time `until`."""

    def close(self) -> None:
        """End the connection."""


class _Bounded(io.RawIOBase):
    """The bytes of a socket, until a time and up to a number: a server that trickles resets no clock."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self.until = time.monotonic() + OPEN_TIMEOUT_S
        self.left = MAX_HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self.until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        if self.left <= 0:
            raise OSError("the answer is too long")
        self._sock.settimeout(remaining)
        got = self._raw.readinto(buffer)
        self.left -= got or 0
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.bounded = _Bounded(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.bounded, CHUNK)


class _Http(http.client.HTTPConnection):
    response_class = _Response


class _Https(http.client.HTTPSConnection):
    response_class = _Response


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Http, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        context.check_hostname = False  # a camera's certificate is its own
        context.verify_mode = ssl.CERT_NONE
        return self.do_open(_Https, req, context=context)


class _Redirect(urllib.request.HTTPRedirectHandler):
    """The standard library's, which leaves the connection open when it cannot follow."""

    def http_error_302(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        with closing(fp):
            return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """The standard library's, for cameras that offer several ways, or SHA-256."""

    def http_error_401(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return _answer(super().http_error_401, "digest", req, fp, code, msg, headers)

    def get_algorithm_impls(self, algorithm: str) -> tuple[Callable[[str], str], Callable[[str, str], str]]:
        if algorithm.upper() != "SHA-256":
            return super().get_algorithm_impls(algorithm)
        return _sha256, lambda secret, data: _sha256(f"{secret}:{data}")


class _Basic(urllib.request.HTTPBasicAuthHandler):
    def http_error_401(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return _answer(super().http_error_401, "basic", req, fp, code, msg, headers)


def _answer(
    handler: Callable[..., Any], way: str, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any
) -> Any:
    """Let a handler see only the first offer that it can answer: it takes another one for an error."""
    for offer in headers.get_all("www-authenticate", []):
        if _can_answer(offer) if way == "digest" else offer.lower().startswith("basic realm="):
            only = http.client.HTTPMessage()
            only["www-authenticate"] = offer
            fp.close()  # the answer to the next request is what counts
            return handler(req, fp, code, msg, only)
    return None


def _can_answer(offer: str) -> bool:
    """Say whether this is digest authentication, with no algorithm named, or one that is implemented."""
    way, _, items = offer.partition(" ")
    fields = urllib.request.parse_keqv_list([item for item in urllib.request.parse_http_list(items) if "=" in item])
    known = fields.get("algorithm", "MD5").upper() in {"MD5", "SHA", "SHA-256"}
    return way.lower() == "digest" and known and {"realm", "nonce"} <= fields.keys()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class HttpStream:
    """An open answer of a camera."""

    def __init__(self, response: _Response) -> None:
        self._response = response
        self.content_type = response.headers.get("Content-Type", "")

    def read(self, until: float) -> bytes:
        self._response.bounded.until = until
        self._response.bounded.left = 2 * CHUNK + MAX_HEAD
        try:
            return self._response.read1(CHUNK)
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"the answer is not valid HTTP ({type(error).__name__})") from error

    def close(self) -> None:
        self._response.close()


def open_stream(url: str) -> HttpStream:
    """Ask a camera for its stream; follows redirects, and answers with user and password where they are asked for.

    Raises CameraError, which shows no password.
    """
    try:
        response = _opener(url).open(urllib.request.Request(address_of(url).url), timeout=OPEN_TIMEOUT_S)  # noqa: S310
    except HTTPError as error:
        error.close()
        raise CameraError(f"camera {without_secrets(url)}: {_refusal(error.code)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CameraError(f"camera {without_secrets(url)}: cannot be opened ({_words(error)}); {_REMEDY}") from None
    return HttpStream(response)


_REMEDY = "check the camera, the network and camera.source"


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Only what a camera needs: no proxy, no cookie, no file."""
    address = address_of(url)
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if address.user is not None:
        known.add_password(None, address.url, address.user, address.password)
    opener = urllib.request.OpenerDirector()
    for handler in (
        _HttpHandler(),
        _HttpsHandler(),
        _Redirect(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Digest(known),
        _Basic(known),
    ):
        opener.add_handler(handler)
    return opener


def _refusal(code: int) -> str:
    if code in (401, 403):
        return f"refuses user and password (HTTP {code}); correct them in camera.source"
    if 300 <= code < 400:
        return f"sends from one address to the next without an end (HTTP {code}); {_REMEDY}"
    return f"answers HTTP {code}; {_REMEDY}"


def _words(error: Exception) -> str:
    """Say why in a few words of this program or the system: a server's own words may hold anything."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
