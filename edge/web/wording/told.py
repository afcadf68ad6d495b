"""Sentences that were composed in English, in the language of whoever reads.

The interface for programs, the audit and the engine write English. The page translates their sentences as a whole. The
holes of a sentence are numbered in the catalogue, as in "Part {1} is not one of this dry run": what stands in a hole is
taken over, translated itself where it is known. A text of several sentences is translated sentence by sentence.
static/words.js does the same in the browser.
"""

from __future__ import annotations

import re
from functools import lru_cache

from edge.core.catalogue import Catalogue, catalogue

LONGEST = 1000  # characters: a longer text is no sentence of the page
BETWEEN = re.compile(r"(?<=[.!?]) (?=[A-Z“])|(?<=;) ")
NUMBER_FORM = re.compile(r"1(.?)234(.)5")  # how a language writes 1,234.5
HOLE = re.compile(r"\{\d\}")
NUMBER = re.compile(r"[<>]? ?-?\d[\d,]*\.?\d*( ?(%|ms|s|MB))?")


@lru_cache(4096)
def translated(language: str, text: str) -> str:
    """Return an English text in this language, as far as its sentences are known."""
    words = catalogue(language)
    if not words.texts or len(text) > LONGEST:
        return text
    whole = _sentence(words, text)
    if whole is not None:
        return whole
    pieces, found, at = BETWEEN.split(text), [], 0
    while at < len(pieces):
        for end in range(len(pieces), at, -1):
            known = _sentence(words, " ".join(pieces[at:end])) if end - at < len(pieces) else None
            if known is not None or end == at + 1:
                found.append(pieces[at] if known is None else known)
                at = end
                break
    return " ".join(found)


def _sentence(words: Catalogue, text: str) -> str | None:
    """Return one sentence in another language, None where it is not known."""
    if text in words.texts:
        return words.texts[text][0]
    if NUMBER.fullmatch(text):
        return as_written(words, text)
    if text[-1:] in {".", ";"} and (known := _sentence(words, text[:-1])) is not None:
        return known + text[-1]
    for english, pattern in _patterns(words.language):
        if (found := pattern.fullmatch(text)) is not None:
            holes = (translated(words.language, hole) for hole in found.groups())
            return _filled(english, words.texts[english][0], list(holes))
    return None


def _filled(english: str, text: str, holes: list[str]) -> str:
    order = HOLE.findall(english)
    return HOLE.sub(lambda hole: holes[order.index(hole[0])], text)


@lru_cache
def _patterns(language: str) -> list[tuple[str, re.Pattern[str]]]:
    """Return the sentences with holes, those with the most words of their own first."""
    found = [english for english in catalogue(language).texts if HOLE.search(english)]
    found.sort(key=lambda english: -len(HOLE.sub("", english)))
    return [(one, re.compile("(.*?)".join(map(re.escape, HOLE.split(one))))) for one in found]


def as_written(words: Catalogue, text: str) -> str:
    """Return numbers that are written as in English, like 1,234.5, as this language writes them."""
    form = NUMBER_FORM.fullmatch(words.text("1,234.5"))
    return text.translate({ord(","): form[1], ord("."): form[2]}) if form else text
