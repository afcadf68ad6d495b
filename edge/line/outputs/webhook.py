"""The delivery by webhook: each inspection as a signed POST, repeated until the receiver answers with 2xx."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import IO

from edge.config.outputs import WebhookOutputConfig
from edge.line.outputs import OutputError
from edge.line.outputs.delivery import Mail

THREAD = "webhook"
IDLE_S = 1.0
MIN_SECRET_BYTES = 16


class WebhookCarrier:
    """The carrier to an HTTP receiver, one POST after the other. It tells of parts, not of the station's status."""

    thread = THREAD
    longest_pause_s = 30.0

    def __init__(self, config: WebhookOutputConfig) -> None:
        """Read the secret; raises OutputError when it cannot be used."""
        self._config = config
        self._secret = _secret(config)
        self._open = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({})).open
        self.name = f"{config.name} {config.url}"
        self.leaves_within_s = config.timeout_s + IDLE_S

    def carry(self, mail: Mail) -> None:
        while not mail.closing.is_set():
            pending = mail.outbox.pending(1)
            if pending:
                number, body = pending[0]
                self._send(body)
                mail.outbox.ack(number)
                mail.up()
            else:
                mail.wait(IDLE_S)

    def _send(self, body: bytes) -> None:
        sent_at = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Linewatch-Id": json.loads(body)["id"].encode("ascii", "backslashreplace").decode(),
            "Linewatch-Timestamp": sent_at,
            "Linewatch-Signature": signature(self._secret, sent_at, body),
        }
        request = urllib.request.Request(self._config.url, body, headers, method="POST")  # noqa: S310 - http(s) only
        try:
            with self._open(request, timeout=self._config.timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise OutputError(f"the receiver answers {refusal.code} {refusal.reason}") from None
        except http.client.HTTPException as error:
            raise OutputError(f"the receiver's answer is no HTTP ({type(error).__name__})") from error


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


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect: signed messages go to the configured address only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None
