"""The page in another language: no word is left out, and the language is the one that a person may expect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient
from pydantic import ValidationError

from edge.config.load import load_config
from edge.config.shift import order_number
from edge.config.station import ConfigError
from edge.core import catalogue as catalogues
from edge.core.catalogue import CatalogueError, catalogue, known_languages
from edge.history.orders import OrderConflictError
from edge.history.reviews import Opinion, Origin, Review, ReviewConflictError
from edge.web.server import create_app, create_page
from edge.web.views.openapi import FORMS
from edge.web.views.parameters import form_fault
from edge.web.wording import language, times
from edge.web.wording.told import translated
from tests.edge.web.standin import StandIn

OTHERS = [one for one in known_languages() if one != "en"]
ENGLISH = re.compile(r"\b(the|is|and|again|must|should|input|did|this|it|has|order|meanwhile)\b(?!:)", re.IGNORECASE)
REVIEW = Review(1, 7, "", Opinion.BAD, Origin.CHOSEN, "Anna", datetime(2026, 1, 31, 23, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("cookie", "key", "accepted", "chosen"),
    [
        ("", "auto", "", "en"),
        ("", "auto", "de-AT,de;q=0.9,en;q=0.5", "de"),
        ("", "auto", "fr,de;q=0.2", "de"),
        ("", "en", "de", "en"),
        ("", "de", "en", "de"),
        ("en", "de", "de", "en"),
        ("de", "auto", "en", "de"),
        ("../../etc/passwd", "auto", "de", "de"),
        ("fr", "de", "en", "de"),
    ],
)
def test_a_persons_choice_comes_before_the_key_and_that_before_the_browser(
    station: StandIn, cookie: str, key: str, accepted: str, chosen: str
) -> None:
    page = station.config.page.model_copy(update={"language": key})
    client = create_app(station.config.model_copy(update={"page": page})).test_client()
    if cookie:
        client.set_cookie(language.COOKIE, cookie)
    answer = client.get("/history", headers={"Accept-Language": accepted})
    assert f'<html lang="{chosen}"' in answer.text
    assert answer.headers["Content-Language"] == chosen
    assert {"accept-language", "cookie"} <= {one.strip().lower() for one in answer.headers["Vary"].split(",")}


def test_a_key_that_names_no_language_lists_those_there_are(station: StandIn, tmp_path: Path) -> None:
    path = station.write_toml(tmp_path / "station.toml")
    path.write_text(path.read_text() + '[page]\nlanguage = "fr"\n')
    with pytest.raises(ConfigError, match=r"page\.language: 'fr' is not known; take en, de or auto"):
        load_config(path)


def refusals() -> Iterator[str]:
    """Yield what other rooms say to a person at the page, and each kind of fault that a form can have."""
    yield from map(str, (ReviewConflictError(REVIEW), ReviewConflictError(None)))
    yield from map(str, (OrderConflictError("4711"), OrderConflictError("")))
    yield "overrun: a part is being judged, or the line is not free for the next one; trigger again"
    yield "another wish about bundles waits to be taken; try again in a few seconds"
    yield "the engine did not answer within 5 s; see the status page"
    with pytest.raises(ValueError, match="no number of an order") as found:
        order_number("4711 \N{GRINNING FACE}")
    yield f"order: {found.value}"
    for form in dict.fromkeys(FORMS.values()):
        for name in form.model_fields:
            for given in ({}, {name: None}, {name: ""}, {name: "x" * 999}, {name: []}, {name: -1}, {name: 10**9}):
                try:
                    form.model_validate(given)
                except ValidationError as error:
                    yield form_fault(error)


def test_what_other_rooms_and_forms_say_is_not_english_on_a_german_page() -> None:
    said = {translated("de", text) for text in refusals()}
    assert {text for text in said if ENGLISH.search(text)} == set()


def test_an_answer_that_came_first_has_the_date_and_time_of_the_station() -> None:
    text = times.with_local_times(catalogue("de"), str(ReviewConflictError(REVIEW)), ZoneInfo("Europe/Berlin"))
    assert "01.02.2026 00:30:00 CET" in translated("de", text)


def test_the_interface_for_programs_stays_english(station: StandIn, client: FlaskClient) -> None:
    german = client.get("/api/inspections/7", headers={"Accept-Language": "de"})
    assert german.get_json() == {"error": "there is no inspection 7 in the history"}


@pytest.mark.parametrize("name", OTHERS)
def test_scripts_get_the_words_of_a_language_to_keep(client: FlaskClient, name: str) -> None:
    html = client.get("/history", headers={"Accept-Language": name}).text
    (path,) = re.findall(r'data-words="([^"]+)"', html)
    answer = client.get(path.replace("&amp;", "&"))
    assert answer.get_json()["texts"]["History"] == [catalogue(name).text("History")]
    assert "immutable" in answer.headers["Cache-Control"]
    assert client.get(f"/words/{name}.json").headers["Cache-Control"] == "no-store"


def test_words_of_an_unknown_language_are_refused_with_the_known_ones(client: FlaskClient) -> None:
    answer = client.get("/words/fr.json", headers={"Accept-Language": "en"})
    assert answer.status_code == 404
    assert "take en, de" in answer.text


def test_a_damaged_catalogue_stops_the_page_with_one_line(
    station: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yy.po").write_text('msgid "a"\nmsgstr b\n')
    monkeypatch.setattr(catalogues, "LANGUAGES", tmp_path)
    with pytest.raises(CatalogueError, match=r"yy\.po: line 2 is no line of a \.po file; correct it"):
        create_app(station.config)


def test_an_overview_speaks_the_language_too(station: StandIn, tmp_path: Path) -> None:
    page = station.config.page.model_copy(update={"stations": (station.write_toml(tmp_path / "s.toml"),)})
    several = create_page(station.config.model_copy(update={"page": page}))
    html = several.app.test_client().get("/", headers={"Accept-Language": "de"}).text  # type: ignore[attr-defined]
    assert "2 Stationen" in html


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("No picture came in time.", "Es kam kein Bild rechtzeitig."),
        ("Defect found: scratch, 3 marked areas.", "Fehler gefunden: scratch, 3 markierte Bereiche."),
        ("part 7 is good, and would be NG/score", "Teil 7 ist gut und wäre NG/Wert"),
        ("0.25 %", "0,25 %"),
        ("Connection refused. 3 messages wait, sent when it is back. Check its power, network and address.",
         "Connection refused. 3 Meldungen warten; sie werden gesendet, sobald die Verbindung wieder steht. "
         "Prüfen Sie Stromversorgung, Netzwerk und Adresse."),
        ("/dev/video0: read timed out", "/dev/video0: read timed out"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_sentence_that_the_station_composed_is_told_in_german(english: str, german: str) -> None:
    assert translated("de", english) == german


def test_a_long_text_is_taken_over_as_it_is() -> None:
    assert translated("de", "part 1 is " * 1000) == "part 1 is " * 1000


def test_times_in_utc_are_told_in_the_stations_zone() -> None:
    berlin = times.zone_of("Europe/Berlin")
    text = "passed at 2026-01-01 06:30:00 UTC; again 2026-07-01T06:30:00Z"
    assert times.with_local_times(catalogue("de"), text, berlin) == (
        "passed at 01.01.2026 07:30:00 CET; again 01.07.2026 08:30:00 CEST"
    )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_the_browser_is_told_every_change_of_the_stations_clocks(zone: str) -> None:
    changes = times.zone_changes(times.zone_of(zone))
    assert changes == sorted(changes)
    now = datetime.now(UTC)
    for days in range(-3000, 700, 97):
        at = now + timedelta(days=days)
        _, minutes, name = [one for one in changes if one[0] <= at.timestamp() * 1000][-1]
        local = at.astimezone(times.zone_of(zone))
        assert (timedelta(minutes=minutes), name) == (local.utcoffset(), local.tzname())
