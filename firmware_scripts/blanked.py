"""Blank what may be secret in a text, from standard input to standard output: collect-logs.sh.

It rather blanks too much. Of a URL the scheme stays, and the host where it is certain. After a word such as password or
key nothing of the line stays, and nothing of the lines over which such a value goes on. JSON stays JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

BLANK = "***"
PEOPLE = frozenset({"who", "user", "own_limit"})  # keys of JSON and TOML whose value names a person
_WORD = (
    r"(?:passw|pass[ _-]?(?:word|phrase|code|wd)|(?<![a-z])pass(?![a-z])|pwd|psw|secret|token|credential|bearer|cookie"
    r"|auth(?!or(?!iz))|(?:api|access|private|session)[ _-]?(?:key|id)|(?<![a-z])(?:key|pin|psk|otp|sid)s?(?![a-z]))"
)
_SECRET = re.compile(_WORD, re.IGNORECASE)
# The name, escaped or quoted or not, and what stands between it and the value: = : => > or, before a quote, a space.
_GIVEN = re.compile(rf"""{_WORD}[\w.-]*\\*["']?\s*(?:[=:]>?|>|(?=["'])|(?<=["'])\s*,)\s*""", re.IGNORECASE)
_OPTION = re.compile(rf"(?<!\S)--?[\w-]*{_WORD}[\w-]*\s+", re.IGNORECASE)
_SCHEME_WORD = re.compile(r"\b(?:Bearer|Basic|Digest)\s+(?=\S{6})")  # of an Authorization header, without its name
_PERSON = re.compile(r"""(?<![\w.-])(?:user|who)["']?\s*[=:]\s*|is not the bundle's: """)
_BY = re.compile(r"\bby .+? at (?=\d{4}-)")
_KNOWN = r"(?:rtsps?|rtmps?|srt|https?|ftps?|mqtts?|wss?|tcp|udp)"
# A scheme that nobody knows may be the end of a password, e.g. in u:hunter2://@host.
_URL = re.compile(rf"{_KNOWN}:(?:\\?/)+|(?<![:/@?&#%A-Za-z])[A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){{2}}", re.IGNORECASE)
_HOST = re.compile(r"([^/?#\\@\s]*@)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?([/?#\\].*)?", re.DOTALL)
_QUOTED = re.compile(r"""(["'])(?:(?!\1).)*@(?:(?!\1).)*\1""")
_PEM = "-----BEGIN "
_CLOSED = {"[": "]", "{": "}", "(": ")"}


def blanked(text: str) -> str:
    """Return a file with everything hidden that may be secret: JSON, JSON lines, or any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _text(text)
    return json.dumps(_plain(value), indent=1, ensure_ascii=False) + "\n"


def _text(text: str) -> str:
    return "\n".join(_lines(iter(text.split("\n"))))


def _plain(value: Any, key: str = "") -> Any:
    if key in PEOPLE or _SECRET.search(key):
        return value if value is None or isinstance(value, bool) else BLANK
    if isinstance(value, dict):
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return _text(value) if isinstance(value, str) else value


def _lines(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line[:1] in ("{", "["):
            with suppress(ValueError, RecursionError):
                value = json.loads(line)
                yield json.dumps(_plain(value), ensure_ascii=False)
                continue
        shown, hidden = _split(line)
        yield shown + BLANK if hidden is not None else shown
        _skip(lines, line if hidden is None else hidden, hidden is not None)


def _split(line: str) -> tuple[str, str | None]:
    """Return a line's beginning without secrets, and the rest if it is one."""
    starts = [one.end() for rule in (_GIVEN, _OPTION, _SCHEME_WORD, _PERSON) if (one := rule.search(line))]
    if _PEM in line:
        starts.append(line.index(_PEM))
    start = min(starts, default=len(line))
    shown = _BY.sub(f"by {BLANK} at ", _without_addresses(line[:start]))
    return shown, line[start:] if starts else None


def _skip(lines: Iterator[str], rest: str, secret: bool) -> None:
    """Pass over the lines to which a value goes on; rest: of its line."""
    value = rest.strip()
    for quote in ('"""', "'''"):
        if rest.count(quote) % 2 and (secret or re.search(rf"=\s*{quote}", rest)):
            _pass(lines, lambda line, quote=quote: quote in line)
            return
    if not secret:
        return
    if value.startswith(_PEM):
        if "-----END " not in value:
            _pass(lines, lambda line: "-----END " in line)
    elif value[:1] in _CLOSED:
        closed = _CLOSED[value[0]]
        if not value.rstrip(" ,").endswith(closed):
            _pass(lines, lambda line: line.rstrip(" ,\r").endswith(closed))
    elif value in ("", "|", ">", "|-", ">-") or value.endswith("\\"):
        _pass(lines, lambda line: not line.rstrip().endswith("\\"))


def _pass(lines: Iterator[str], last: Callable[[str], bool]) -> None:
    for line in lines:
        if last(line):
            return


def _without_addresses(text: str) -> str:
    """Return a text whose URLs show no more than scheme and host, and that has no word with an @ elsewhere."""
    shown, at = [], 0
    begins = list(_URL.finditer(text))
    for one, end in zip(begins, [*(other.start() for other in begins[1:]), len(text)], strict=False):
        shown.append(_without_names(text[at : one.start()]))
        length = _length(text[one.start() - 1 : one.start()], text[one.end() : end])
        shown.append(one[0] + _host(text[one.end() : one.end() + length]))
        at = one.end() + length
    return "".join([*shown, _without_names(text[at:])])


def _length(before: str, rest: str) -> int:
    """Return how far a URL goes: in quotes to the last such quote, else to the first space after the last @."""
    if before in ('"', "'") and before in rest:
        return rest.rindex(before)
    at = rest.rfind("@") + 1
    found = re.compile(r"[\s\"'<>]").search(rest, at)
    return found.start() if found else len(rest)


def _host(rest: str) -> str:
    """Return what may be shown of a URL after its scheme. A password may hold / ? # and @: one @ too many hides all."""
    body = rest.rstrip(".,;:)]}>")
    found = _HOST.fullmatch(body)
    if found is None or "@" in (found[4] or ""):
        return BLANK
    user, host, port, path = found.groups(default="")
    more = "/..." if path.strip("/") else ""
    return f"{f'{BLANK}@' if user else ''}{host}{port}{more}{rest[len(body) :]}"


def _without_names(text: str) -> str:
    text = _QUOTED.sub(lambda one: f"{one[1]}{BLANK}{one[1]}", text)
    return re.sub(r"\S+@\S*|\S*@\S+", BLANK, re.sub(r"\?\S+", f"?{BLANK}", text))


if __name__ == "__main__":
    sys.stdout.buffer.write(blanked(sys.stdin.buffer.read().decode(errors="replace")).encode(errors="replace"))
