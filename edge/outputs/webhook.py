"""Each inspection as a signed POST, one after the other, again and again until it is answered with 2xx."""

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

from edge.lineconfig import WebhookOutputConfig
from edge.outbox import Outbox, OutboxError
from edge.outputs import OutputError, OutputState
from edge.outputs.message import message
from edge.outputs.post import Post
from edge.types import Inspection
from edge.worker import Worker

THREAD = "webhook"
BACKOFF_S = (0.2, 30.0)
IDLE_S = 1.0
MIN_SECRET_BYTES = 16


class WebhookOutput:
    """A report: it moves no part. Shutdown value: none, the receiver holds no level."""

    def __init__(self, config: WebhookOutputConfig, station: str, outbox: Outbox) -> None:
        """Raises OutputError when the secret cannot be used."""
        self._config = config
        self._station = station
        self._secret = _secret(config)
        self._open = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({})).open
        self._post = Post(f"{config.name} {config.url}", outbox)
        self._worker = Worker(THREAD, self._run)
        self._worker.start()

    @property
    def reports(self) -> bool:
        return True

    def ready(self, accepts: bool) -> None:
        """The receiver hears of parts only."""

    def show(self, inspection: Inspection) -> None:
        self._post.put(message(self._station, inspection))

    def last_reported(self) -> int | None:
        return self._post.last_reported()

    def safe(self) -> None:
        """Nothing is held that could release a part."""

    def beat(self, overruns: int) -> None:
        """The receiver hears of parts only."""

    def able(self) -> None:
        self._post.able()

    def check(self) -> None:
        self._post.check()
        self._worker.check()

    def state(self) -> OutputState:
        return self._post.state()

    def close(self) -> None:
        """What is not delivered waits for the next start."""
        self._post.close()
        self._worker.join(self._config.timeout_s + IDLE_S)

    def _run(self) -> None:
        shortest, longest = BACKOFF_S
        delay = shortest
        while not self._post.closing.is_set():
            try:
                pending = self._post.outbox.pending(1)
                if not pending:
                    self._post.wait(IDLE_S)
                    continue
                number, body = pending[0]
                self._send(body)
                self._post.outbox.ack(number)
                self._post.up()
                delay = shortest
            except (OSError, http.client.HTTPException, OutputError, OutboxError) as error:  # URLError is an OSError
                self._post.down(f"{error}" or type(error).__name__)
                self._post.closing.wait(delay)
                delay = min(2 * delay, longest)

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


def signature(secret: bytes, sent_at: str, body: bytes) -> str:
    """What the receiver computes too, and compares: HMAC-SHA256 (RFC 2104) over the timestamp, a dot and the body."""
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
    """A receiver that moved is a fault to be seen, not a place to send signed reports to."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None
