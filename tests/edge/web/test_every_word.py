"""No word is left out: each catalogue knows every text, and what people see or hear comes from a catalogue."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from werkzeug.test import Client

from edge.core import catalogue as catalogues
from edge.core.catalogue import catalogue, known_languages, read_entries
from edge.core.types import Reason
from edge.core.versions import program_versions
from edge.inference.bundle import Bundle
from edge.web.server import create_page
from edge.web.wording import told
from edge.web.wording.verdicts import ENGINE_WORDS, UNFIT, WAITING
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, all_troubles, part_image
from tests.edge.web.words import EDGE, HEAD, STATIC, TEMPLATES, messages_of_page

OTHERS = [one for one in known_languages() if one != "en"]
HOLES = re.compile(r"\{\w+\}")
PAGES = ("/", "/wall", "/history", "/inspections/2", "/inspections/3", "/inspections/99", "/shift", "/service")
PAGES += ("/review", "/limit", "/bundles", "/set-up", "/people", "/sign-in", "/nothing")
SHOWN = ("title", "aria-label", "placeholder", "alt")  # attributes that people read or hear
# What no catalogue holds: verdicts, names, figures, units, versions, and commands that are typed as they stand.
DATA = re.compile(
    r"OK|NG|ERROR|Linewatch|Line 3 washers|HTTP \d+|p\d\d|ms|UTC|xx|English|history\.csv|free-\d+|"
    r"3 h 12 min|References/good\.png scores 9\.1, expected 2 within 2|Full|"
    r"folder models/samples|default|washer|broken|tiny 1 [0-9a-f]{12}|x, y px|"
    + "|".join(re.escape(one) for pair in program_versions().items() for one in pair)
    + r"|AVX512_VNNI|openvino"
)


@pytest.mark.parametrize("name", OTHERS)
def test_a_catalogue_holds_every_text_of_the_page_and_no_other(name: str) -> None:
    entries = {entry["msgid"]: entry for entry in read_entries(catalogues.LANGUAGES / f"{name}.po")}
    said = {message[0] for message in messages_of_page()}
    assert said - set(entries) == set(), "run `make words`, then translate what is empty"
    assert set(entries) - said == {""}, "run `make words`"
    unsure = {text for text, entry in entries.items() if "fuzzy" in entry}
    empty = {text for text, entry in entries.items() if text and not all(v for k, v in entry.items() if "msgstr" in k)}
    assert unsure | empty == set()


@pytest.mark.parametrize("name", OTHERS)
def test_a_translation_has_the_holes_of_its_text(name: str) -> None:
    wrong = {
        entry["msgid"]
        for entry in read_entries(catalogues.LANGUAGES / f"{name}.po")
        for field, text in entry.items()
        if entry["msgid"] and field.startswith("msgstr")
        and set(HOLES.findall(text)) != set(HOLES.findall(entry["msgid"]))
    }  # fmt: skip
    assert wrong == set()


@pytest.mark.parametrize("name", OTHERS)
def test_no_word_of_a_headline_is_longer_than_in_english_so_that_the_big_panel_holds_it(name: str) -> None:
    headlines = {words.headline for words in (*ENGINE_WORDS.values(), UNFIT, WAITING)} | {"NO LINK"}
    longest = {text: max(map(len, catalogue(name).text(text).split())) for text in headlines}
    assert {text for text, letters in longest.items() if letters > max(map(len, text.split()))} == set()


@pytest.mark.parametrize("name", OTHERS)
def test_a_catalogue_says_how_numbers_and_dates_are_written(name: str) -> None:
    words = catalogue(name)
    assert told.NUMBER_FORM.fullmatch(words.text("1,234.5"))
    assert sorted(re.findall("%.", words.text("%Y-%m-%d"))) == ["%Y", "%d", "%m"]
    assert words.name != "English"


BORDER = "\0"


def test_a_wheel_takes_catalogues_templates_and_scripts_along() -> None:
    project = tomllib.loads((EDGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["edge"]
    files = [*catalogues.LANGUAGES.iterdir(), *TEMPLATES.iterdir(), *STATIC.iterdir()]
    left = [path.name for path in files if not any(path.relative_to(EDGE).match(pattern) for pattern in patterns)]
    assert left == []


class Seen(HTMLParser):
    """What a person reads or hears of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.heard: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in {"script", "style", "code"}
        self.heard += [value or "" for name, value in attrs if name in SHOWN]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in {"script", "style", "code"}

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.texts.append(data)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[Client]:
    """An overview and its stations in a language in which every text that was translated stands in brackets."""
    folder = tmp_path_factory.mktemp("languages")
    pieces = [HEAD.format(language="xx").strip()]
    for message in messages_of_page():
        is_form = message[0] in {"%Y-%m-%d", "1,234.5"}
        texts = message if is_form else tuple(f"⟦{text}⟧" for text in message)
        quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in (*message, *texts)]
        if len(message) == 1:
            pieces.append('msgid "{}"\nmsgstr "{}"'.format(*quoted))
        else:
            pieces.append('msgid "{}"\nmsgid_plural "{}"\nmsgstr[0] "{}"\nmsgstr[1] "{}"'.format(*quoted))
    (folder / "xx.po").write_text("\n\n".join(pieces) + "\n", encoding="utf-8")
    station = StandIn(tmp_path_factory.mktemp("marked") / "station", tiny_bundle, port=free_port())
    station.inspect(part_image())
    station.inspect(part_image(1, defect=True))
    station.fail(Reason.BAD_FRAME, "")
    station.says = all_troubles() | {"storage_fault": "full", "drift": None, "outputs": []}
    station.health()
    station.show_also(station.write_toml(folder / "again.toml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogues, "LANGUAGES", folder)
        catalogue.cache_clear()
        yield Client(create_page(station.config))
    catalogue.cache_clear()
    station.stop()


def unmarked(html: str) -> list[str]:
    """Return the words of a page that no catalogue gave."""
    seen = Seen()
    seen.feed(html)
    rest = BORDER.join((*seen.texts, *seen.heard))
    while (inner := re.sub(r"⟦[^⟦⟧]*⟧", " ", rest)) != rest:  # a translated text may hold another one, or a tag
        rest = inner
    return [text.strip() for text in rest.split(BORDER) if re.search(r"[A-Za-z]{2}", DATA.sub(" ", text))]


@pytest.mark.parametrize("path", ["/", *(f"/stations/line-3-washers{path}" for path in PAGES)])
def test_no_word_of_a_page_is_left_out(marked: Client, path: str) -> None:
    answer = marked.get(path, headers={"Accept-Language": "xx"})
    assert '<html lang="xx"' in answer.text
    assert unmarked(answer.text) == []


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.css")), ids=lambda path: path.name)
def test_no_word_stands_in_a_style_sheet(path: Path) -> None:
    said = re.findall(r"(?<![-\w])content:[^;}]*", path.read_text(encoding="utf-8"))
    assert [one for one in said if re.search(r"[A-Za-z]", re.sub(r"^content:|attr\([\w-]+\)|none", "", one))] == []


# What a script writes that is no word of a language: names in the code, classes, addresses, keys.
NO_WORDS = re.compile(
    r"[a-z][\w./?&=#:@%+-]*|[/?#][\w /?=#-]+|[A-Z]{2,}|[MLHVahlz\d .,-]+|[\w-]+=\w+|\[[^\]]*\].*|\..*| late|; secure|"
    r" UTC"
)
CODE = re.compile(
    r"class: |querySelector|getContext|setAttribute\(|headers|X-|Content-Type|^import |closest\(|matches\(|\.key ===|"
    r"strokeStyle|style\.|viewBox|preserveAspectRatio|command: |KEY|\bd: |role === |"
    r"crop = |document\.title|^const (key|LIST) = "
)


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_word_of_a_script_is_left_out(path: Path) -> None:
    left = []
    for line in path.read_text(encoding="utf-8").splitlines():
        bare = re.sub(r"(^|\s)//.*$", "", line)
        bare = re.sub(r"\btn?\(\s*(\"(?:[^\"\\]|\\.)*\"(?:,\s*)?)+", " ", bare)
        found = [one for one in re.findall(r'"((?:[^"\\]|\\.)*)"', bare) if not NO_WORDS.fullmatch(one)]
        while (inner := re.sub(r"\$?\{[^{}]*\}", "", bare)) != bare:
            bare = inner
        found += [one for one in re.findall(r"`([^`]*)`", bare) if re.search(r"(^|[ .,])[A-Za-z]{3,}([ .,]|$)", one)]
        if not CODE.search(line):
            left += [one for one in found if re.search(r"[A-Za-z]{2}", one)]
    assert left == []
