"""A fuzzing campaign: one property, inputs that hypothesis mutates, and a time limit."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

EXAMPLES = 60  # of one round; an ordinary test run has one round
LONGEST_WORDS = 2000  # characters of a message

X = TypeVar("X")


def campaign(target: Callable[[X], None], inputs: st.SearchStrategy[X], seconds: float) -> None:
    """Try inputs in rounds until the time is over; without time, one round that is always the same.

    A finding is printed with its input and kept in .hypothesis, and the next run begins with it.
    """
    until, begins = time.monotonic() + seconds, random.randrange(10**9) if seconds else 0
    findings = DirectoryBasedExampleDatabase(f".hypothesis/fuzz/{target.__qualname__.split('.')[0]}")
    rounds = settings(
        max_examples=EXAMPLES, print_blob=True, database=findings, suppress_health_check=list(HealthCheck)
    )
    for number in range(10**9):

        @rounds
        @seed(begins + number)
        @given(inputs)
        def attempt(value: X) -> None:
            target(value)

        attempt()
        if time.monotonic() >= until:
            return


def refused_in_one_line(action: Callable[[], object], *errors: type[Exception]) -> bool:
    """Run the action; return False when it raised one of the errors, whose message must be one line of a fair length.

    Whatever else it raises is a finding.
    """
    try:
        action()
    except errors as error:
        words = str(error)
        assert words.strip(), "an empty message"
        assert "\n" not in words, words
        assert len(words) < LONGEST_WORDS, words[:200]
        return False
    return True


LETTERS = st.characters(codec="utf-8")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from([0, -1, 1e-308, 1e308, "", "\0", "a" * 5000, "../..", "/dev/zero", "true", "0.3", "ü", "a\nb"])
    | st.text(LETTERS, max_size=20)
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=8), inner, max_size=3),
)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) of a document of dicts and lists."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from _places(node[key])


@st.composite
def mutated(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with one to three values exchanged, removed, or added."""
    document = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["exchange", "exchange", "remove", "add", "wrap"])):
            case "exchange":
                container[key] = draw(JUNK)
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(st.text(LETTERS, max_size=8))] = draw(JUNK)
            case _:
                container[key] = [container[key]]
    return document


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Return the bytes after one to four kinds of damage."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        size = draw(st.sampled_from([1, 2, 4, 64, 1000]))
        match draw(st.sampled_from(["flip", "zero", "cut", "insert", "remove", "repeat"])):
            case "flip" if found:
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "zero":
                found[at : at + size] = bytes(len(found[at : at + size]))
            case "cut":
                del found[at:]
            case "insert":
                found[at:at] = draw(st.binary(max_size=16))
            case "remove":
                del found[at : at + size]
            case _:
                found[at:at] = found[at : at + size]
    return bytes(found)


def toml(document: dict[str, Any]) -> str:
    """Return the document as TOML, each table inline; a value that TOML does not know is left out."""
    return "".join(f"{_word(key)} = {_value(value)}\n" for key, value in document.items() if value is not None)


def _word(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_word(key)} = {_value(one)}" for key, one in value.items() if one is not None)
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value if one is not None)}]"
    if isinstance(value, str):
        return _word(value)
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")
