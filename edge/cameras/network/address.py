"""The address of a network camera: what may be shown of it, and what only the camera may see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_SAFE_IN_PATH = "/?&=+,;:@!$'()*~%[]"


@dataclass(frozen=True, slots=True)
class Address:
    """An http or https address taken apart."""

    url: str  # ASCII, without user and password
    user: str | None
    password: str


def without_secrets(source: str) -> str:
    """Return a camera's source without anything that may be secret: of a URL, only the scheme and the host.

    Cameras take passwords before an @, in the query and in the path, and a password may itself hold / ? # and @.
    """
    source = "".join(letter if letter.isprintable() else "?" for letter in source)
    found = _SCHEME.match(source)
    if found is None:
        return source
    scheme, rest = found.groups()
    before, at, after = rest.rpartition("@")
    host = re.split(r"[/?#\\]", after, maxsplit=1)[0]
    hidden = "***@" if at or before else ""
    return f"{scheme}://{hidden}{host}" + ("/..." if after[len(host) :].strip("/") else "")


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
