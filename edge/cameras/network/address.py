"""The address of a network camera, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

_SAFE_IN_PATH = "/?&=+,;:@!$'()*~%[]"


@dataclass(frozen=True, slots=True)
class Address:
    """An http or https address taken apart."""

    url: str  # ASCII, without user and password
    user: str | None
    password: str


def address_of(url: str) -> Address:
    """Take an http or https URL apart; a user and a password may be percent-encoded.

    Raises ValueError when the URL has no host, a port that is no port, or a control character.
    """
    if re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError("it has a space or a control character")
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("it has no host")
    host = parts.hostname.encode("idna").decode("ascii") if ":" not in parts.hostname else f"[{parts.hostname}]"
    port = "" if parts.port is None else f":{parts.port}"
    path = quote(parts.path or "/", safe=_SAFE_IN_PATH)
    query = "?" + quote(parts.query, safe=_SAFE_IN_PATH) if parts.query else ""
    user = None if parts.username is None else unquote(parts.username)
    return Address(f"{parts.scheme}://{host}{port}{path}{query}", user, unquote(parts.password or ""))
