"""The catalogues of languages: what is read of a .po file, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.core.catalogue import CatalogueError, catalogue, known_languages, read_catalogue

HEAD = 'msgid ""\nmsgstr "Plural-Forms: nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 ? 1 : 2);\\n"\n\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "xx.po"
    path.write_text(text, encoding="utf-8")
    return path


def test_english_is_the_text_itself_and_the_first_language() -> None:
    assert known_languages()[0] == "en"
    assert catalogue("en").text("Part {part}") == "Part {part}"


def test_a_text_may_run_over_lines_and_hold_quotes(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + '# a hint\nmsgid ""\n"one "\n"\\"two\\""\nmsgstr "eins\\n"\n"zwei"\n')
    assert read_catalogue(path).text('one "two"') == "eins\nzwei"


@pytest.mark.parametrize(("number", "text"), [(1, "a"), (2, "b"), (5, "c"), (22, "b")])
def test_the_plural_follows_the_rule_of_the_language(tmp_path: Path, number: int, text: str) -> None:
    entry = 'msgid "part"\nmsgid_plural "parts"\nmsgstr[0] "a"\nmsgstr[1] "b"\nmsgstr[2] "c"\n'
    assert read_catalogue(written(tmp_path, HEAD + entry)).text("part", number, "parts") == text


@pytest.mark.parametrize("entry", ['#, fuzzy\nmsgid "a"\nmsgstr "b"\n', 'msgid "a"\nmsgstr ""\n', '#~ msgid "a"\n'])
def test_what_is_not_translated_stays_english(tmp_path: Path, entry: str) -> None:
    assert read_catalogue(written(tmp_path, HEAD + entry)).text("a") == "a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('msgid "a"\nmsgstr b\n', "line 2 is no line of a .po file"),
        ('msgid "a"\nmsgid "b"\n', "line 2 is no line of a .po file"),
        ('"a"\n', "line 1 is no line of a .po file"),
        ('msgid "a\\"\nmsgstr "b"\n', "line 1"),
        ('msgid "a"\n\n', "lacks msgid or msgstr"),
        ('msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=__import__;"\n', "Plural-Forms cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CatalogueError) as refused:
        read_catalogue(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "xx.po"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogueError, match="cannot be read"):
        read_catalogue(path)
