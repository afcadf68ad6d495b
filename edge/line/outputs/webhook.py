"""The delivery by webhook: each inspection as a signed POST, repeated until the receiver answers with 2xx."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import socket
import ssl
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from edge.config.outputs import WebhookOutputConfig
from edge.line.outputs import OutputError
from edge.line.outputs.delivery import Mail

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

THREAD = "webhook"
IDLE_S = 1.0
STORED_S = 0.02  # how soon a row that is about to be stored is looked for again
LEAVES_WITHIN_S = 2.0
AS_THEY_ARE = "/%:@!$&'()*+,;=~?"  # in the path and query of a URL; other letters are written as %C3%BC
MIN_SECRET_BYTES = 16


class WebhookCarrier:
    """The carrier to an HTTP receiver, one POST after the other. It tells of parts, not of the station's status."""

    thread = THREAD
    longest_pause_s = 30.0

    def __init__(self, config: WebhookOutputConfig) -> None:
        """Read the secret; raises OutputError when it cannot be used."""
        self._config = config
        self._secret = _secret(config)
        parts = urlsplit(config.url)
        self._host, self._port = parts.hostname or "", parts.port
        self._target = quote(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/", AS_THEY_ARE)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.name = f"{config.name} {config.url}"
        self.leaves_within_s = min(config.timeout_s, LEAVES_WITHIN_S)  # what is on its way then is sent again

    def carry(self, mail: Mail) -> None:
        while not mail.closing.is_set():
            mail.wait(IDLE_S)
            pending = mail.outbox.pending()
            for number, body in pending:
                self._send(body)
                mail.outbox.ack(number)
                mail.up()
                if mail.closing.is_set():
                    return
            if not pending and mail.outbox.waiting():
                mail.closing.wait(STORED_S)

    def _send(self, body: bytes) -> None:
        sent_at = str(int(time.time()))
        headers = {
            "Connection": "close",
            "Content-Type": "application/json",
            "Linewatch-Id": json.loads(body)["id"].encode("ascii", "backslashreplace").decode(),
            "Linewatch-Timestamp": sent_at,
            "Linewatch-Signature": signature(self._secret, sent_at, body),
        }
        until = time.monotonic() + self._config.timeout_s
        with closing(self._connection()) as connection:
            connection.request("POST", self._target, body, headers)
            status, reason = _answer(connection.sock, until)
        if not 200 <= status < 300:  # a redirect is a refusal, too: signed messages go to the configured address only
            raise OutputError(f"the receiver answers {status} {reason}")

    def _connection(self) -> HTTPConnection:
        """Return a connection to the receiver itself, through no proxy; it is opened by the first request."""
        limit_s = self._config.timeout_s
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=limit_s)
        return HTTPSConnection(self._host, self._port, timeout=limit_s, context=self._tls)


class _Until(io.RawIOBase):
    """The bytes that a socket receives until a moment (monotonic s), however slowly they come."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the receiver's answer did not come in time")
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


def _answer(connection: socket.socket, until: float) -> tuple[int, str]:
    """Return status and reason of the answer, and read no more of it. Raises OSError, and OutputError for no HTTP."""
    answer = HTTPResponse(connection, method="POST")
    answer.fp.close()
    answer.fp = io.BufferedReader(_Until(connection, until))
    try:
        answer.begin()
    except (HTTPException, ValueError) as error:
        raise OutputError(f"the receiver's answer is no HTTP ({type(error).__name__})") from error
    return answer.status, answer.reason


def signature(secret: bytes, sent_at: str, body: bytes) -> str:
    """Return the HMAC-SHA256 (RFC 2104) over the timestamp, a dot and the body; the receiver computes the same."""
    return "sha256=" + hmac.new(secret, sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _secret(config: WebhookOutputConfig) -> bytes:
    try:
        secret = config.secret_file.read_bytes().strip()
    except OSError as error:
        raise OutputError(f"{config.secret_file}: cannot be read ({error.strerror}); it holds the secret") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise OutputError(f"{config.secret_file}: holds {len(secret)} bytes, a secret has {MIN_SECRET_BYTES} or more")
    return secret
