"""The words of other languages: one .po file of GNU gettext for each. English is the text in the code itself.

A new file `languages/LANGUAGE.po` is a new language; no code names the languages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from gettext import c2py
from pathlib import Path

from edge.core.types import EdgeError

ENGLISH = "en"
LANGUAGES = Path(__file__).parent / "languages"
PLURAL = re.compile(r"nplurals=([1-6]); *plural=([^;]{1,200});?")
FIELD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[[0-5]\])?|) *(".*")')

Entry = dict[str, str]


def one_or_many(number: int) -> int:
    """Return the form of the plural that English and German take."""
    return int(number != 1)


class CatalogueError(EdgeError):
    """A catalogue that cannot be read; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One language: the texts for each English text, and which of them belongs to a number."""

    language: str
    texts: Mapping[str, tuple[str, ...]]  # one text, or one for each form of the plural
    form: Callable[[int], int] = one_or_many

    def text(self, english: str, number: int | None = None, plural: str = "") -> str:
        """Return the text of this language, or the English one where there is none; number: chooses the plural."""
        known = self.texts.get(english)
        if number is None:
            return known[0] if known else english
        if known is None:
            return english if number == 1 else plural
        return known[min(self.form(number), len(known) - 1)]

    @property
    def name(self) -> str:
        """The name of this language in this language."""
        return self.text("English")


def known_languages() -> tuple[str, ...]:
    """Return the languages that are there, English first."""
    return ENGLISH, *sorted(path.stem for path in LANGUAGES.glob("*.po"))


@lru_cache
def catalogue(language: str) -> Catalogue:
    """Return the words of a known language; raises CatalogueError."""
    return Catalogue(ENGLISH, {}) if language == ENGLISH else read_catalogue(LANGUAGES / f"{language}.po")


def read_catalogue(path: Path) -> Catalogue:
    """Read a .po file, without what is marked as fuzzy or obsolete or is empty; raises CatalogueError."""
    texts: dict[str, tuple[str, ...]] = {}
    form: Callable[[int], int] = one_or_many
    for entry in read_entries(path):
        found = tuple(entry[name] for name in sorted(entry) if name.startswith("msgstr"))
        if entry["msgid"] == "":
            form = _form(path, found[0])
        elif "fuzzy" not in entry and all(found):
            texts[entry["msgid"]] = found
    return Catalogue(path.stem, texts, form)


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a .po file as they stand there; `fuzzy` is a key of those that are so marked."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: cannot be read ({error}); install this release again") from None
    return list(_entries(path, lines))


def _entries(path: Path, lines: list[str]) -> Iterator[Entry]:
    entry: Entry = {}
    field, fuzzy = "", False
    for number, line in enumerate([*lines, ""], 1):
        text = line.strip()
        if text.startswith("#"):
            fuzzy = fuzzy or (text.startswith("#,") and "fuzzy" in text)
        elif text:
            found = FIELD.fullmatch(text)
            field = (found and found[1]) or field
            if found is None or not field or (found[1] and found[1] in entry):
                raise CatalogueError(f"{path}: line {number} is no line of a .po file; correct it")
            entry[field] = entry.get(field, "") + _unquoted(path, number, found[2])
        elif entry:
            if "msgid" not in entry or not any(name.startswith("msgstr") for name in entry):
                raise CatalogueError(f"{path}: the entry above line {number} lacks msgid or msgstr; add it")
            yield entry | ({"fuzzy": ""} if fuzzy else {})
            entry, field, fuzzy = {}, "", False


def _unquoted(path: Path, number: int, quoted: str) -> str:
    try:
        return str(ast.literal_eval(quoted))
    except (ValueError, SyntaxError):
        raise CatalogueError(f"{path}: line {number} is not quoted right; correct it") from None


def _form(path: Path, header: str) -> Callable[[int], int]:
    found = PLURAL.search(header)
    try:
        return c2py(found[2]) if found else one_or_many
    except ValueError as error:
        raise CatalogueError(f"{path}: Plural-Forms cannot be read ({error}); correct it") from None
