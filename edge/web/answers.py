"""Answers that many viewers ask for at once: each is computed once, kept for a moment, and named by a weak ETag."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from flask import Response, current_app, jsonify, request

KEPT_S = 0.2
MOST_KEPT = 32

Facts = dict[str, Any]


@dataclass(slots=True)
class _Place:
    """One question's answer. Whoever asks while it is computed waits for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stamp: Hashable = None
    until: float = 0.0  # monotonic s
    body: bytes = b""
    tag: str = ""


class Answers:
    """The answers of a station, or of an overview, that are kept for KEPT_S at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()

    def give(
        self, stamp: Hashable, make: Callable[[], Facts], lasting: Callable[[Facts], Facts] | None = None
    ) -> Response:
        """Answer this request with the facts of make() as JSON; 304 to a viewer that has them already.

        An answer is computed anew when the stamp is another one, and after KEPT_S in any case. lasting() takes away
        what changes although a viewer sees nothing new. What make() raises is raised, and nothing is kept.
        """
        place = self._place(f"{request.script_root}{request.full_path}")
        with place.lock:
            now = time.monotonic()
            if place.stamp != stamp or now > place.until:
                place.stamp = None
                facts = make()
                place.body = jsonify(facts).get_data()
                place.tag = _tag(place.body if lasting is None else current_app.json.dumps(lasting(facts)).encode())
                place.stamp, place.until = stamp, now + KEPT_S
            body, tag = place.body, place.tag
        response = Response(body, mimetype="application/json")
        response.headers["Cache-Control"] = "private, no-cache"
        response.set_etag(tag, weak=True)
        response.make_conditional(request)
        return response

    def _place(self, key: Hashable) -> _Place:
        with self._lock:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            while len(self._places) > MOST_KEPT:
                self._places.popitem(last=False)
            return place


def _tag(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()
