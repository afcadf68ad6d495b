"""The language of a request, and what templates and scripts need to speak it.

A person's choice, kept in a cookie by static/foot.js, comes before the key page.language, and the key before what the
browser asks for. A value that is no language that is there counts as none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from flask import Blueprint, Flask, Response, abort, current_app, g, request, url_for
from markupsafe import Markup, escape

from edge.config.station import BROWSERS, StationConfig
from edge.core.catalogue import ENGLISH, Catalogue, catalogue, known_languages
from edge.web.wording.times import clock_text, date_text, day_text, span_text, with_local_times, zone_changes, zone_of
from edge.web.wording.told import as_written, translated

blueprint = Blueprint("words", __name__)
COOKIE = "linewatch_language"
FORMS_UP_TO = 200  # no language asks more of a number than its last two digits, from 100 on
A_YEAR_S = 365 * 24 * 3600


def install(app: Flask, config: StationConfig) -> None:
    """Let the pages of an application speak the languages that are there; raises CatalogueError for a bad one."""
    for language in known_languages():
        catalogue(language)
    app.extensions["linewatch_language"] = config.page.language
    app.extensions["linewatch_zone"] = zone_of(config.shift.zone)
    app.jinja_env.globals.update(_=spoken, _n=counted, language=language_of_page, languages=_languages)
    app.jinja_env.filters.update(
        told=told, figures=_figures, day=_day, clock=_clock, date=_date, moment=_moment, span=_span
    )
    app.register_blueprint(blueprint)

    @app.context_processor
    def words_of_page() -> dict[str, object]:
        zone = current_app.extensions["linewatch_zone"]
        return {"words_path": _words_path(), "zone": json.dumps(zone_changes(zone), separators=(",", ":"))}

    @app.after_request
    def depends_on_language(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.headers["Content-Language"] = language_of_page()
            response.vary.update(("Accept-Language", "Cookie"))
        return response


def language_of_page() -> str:
    """Return the language of this request."""
    if "language" not in g:
        key = current_app.extensions["linewatch_language"]
        g.language = chosen_language(request.cookies, key, request.accept_languages.values())
    return str(g.language)


def chosen_language(cookies: Mapping[str, str], key: str, accepted: Any) -> str:
    """Return the first known language: of a person's choice, of station.toml, of what the browser asks for."""
    wanted = [cookies.get(COOKIE, ""), key, *(str(one).partition("-")[0].lower() for one in accepted)]
    if key != BROWSERS:
        wanted = wanted[:2]
    known = set(known_languages())
    return next((one for one in wanted if one in known), ENGLISH)


def spoken(english: str, **values: object) -> Markup:
    """Return a text in the language of this request, with values for its holes."""
    return escape(_words().text(english)).format(**values) if values else escape(_words().text(english))


def counted(one: str, many: str, number: int, **values: object) -> Markup:
    """Return a text with the number `n` in it, in the language of this request."""
    words = _words()
    return escape(words.text(one, number, many)).format(n=as_written(words, f"{number:,}"), **values)


def told(text: str) -> str:
    """Return an English sentence of the interface or of the engine in the language and times of this request."""
    words = _words()
    return translated(words.language, with_local_times(words, str(text), current_app.extensions["linewatch_zone"]))


@blueprint.get("/words/<language>.json")
def words_of(language: str) -> Response:
    """Answer with the texts of a language for the scripts of the page."""
    if language not in known_languages():
        abort(404, f"{language[:20]!r} is not known here; take {', '.join(known_languages())}")
    response = Response(_texts(language), content_type="application/json")
    named = request.args.get("of") == _digest(language)
    response.headers["Cache-Control"] = f"max-age={A_YEAR_S}, immutable" if named else "no-store"
    return response


def _words() -> Catalogue:
    return catalogue(language_of_page())


def _words_path() -> str:
    language = language_of_page()
    return "" if language == ENGLISH else url_for("words.words_of", language=language, of=_digest(language))


def _languages() -> list[Catalogue]:
    return [catalogue(language) for language in known_languages()]


@lru_cache
def _texts(language: str) -> bytes:
    words = catalogue(language)
    forms = [words.form(number) for number in range(FORMS_UP_TO)]
    return json.dumps({"texts": dict(words.texts), "forms": forms}, ensure_ascii=False).encode()


@lru_cache
def _digest(language: str) -> str:
    return hashlib.sha256(_texts(language)).hexdigest()[:12]


def _local(at: str | datetime) -> datetime:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.astimezone(cast("Any", current_app.extensions["linewatch_zone"]))


def _figures(text: str) -> str:
    return as_written(_words(), text).replace(" %", "\u00a0%")  # a line never ends between them


def _day(at: str | datetime) -> str:
    return day_text(_words(), _local(at))


def _date(at: str) -> str:
    return date_text(_words(), _local(at))


def _clock(at: str | datetime, seconds: bool = True) -> str:
    return clock_text(_local(at), seconds)


def _moment(at: str | datetime) -> str:
    """Write weekday, date, time and zone."""
    return f"{_day(at)} {_clock(at, seconds=False)}"


def _span(start: str, end: str, with_date: bool = True) -> str:
    return span_text(_words(), _local(start), _local(end), with_date)
