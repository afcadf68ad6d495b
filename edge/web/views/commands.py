"""Commands from the page to the engine. Each one waits for its outcome and answers with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request

from edge.config.triggers import FreeRunTriggerConfig
from edge.core.types import one_line
from edge.exchange import ExchangeError
from edge.exchange.health import Health
from edge.exchange.trigger_socket import OverrunError, ask_trigger
from edge.web.access.gate import record
from edge.web.station import EngineState, Station, current_station
from edge.web.views.api import never_stored
from edge.web.wording.verdicts import verdict_words

blueprint = Blueprint("commands", __name__, url_prefix="/api")
blueprint.after_request(never_stored)
OUTCOME_WITHIN_S = 20.0  # a large bundle takes seconds to be read and verified
VERDICT_WITHIN_S = 5.0  # the longest deadline is 2 s
LOOK_EVERY_S = 0.05
MAX_BODY_BYTES = 1024

Answer = Response | tuple[Response, int]


@blueprint.post("/trigger")
def trigger() -> Answer:
    """Inspect the part in view, as a part of the line: it gets a row, and the outputs are set."""
    station = current_station()
    before = ready(station)
    if not before.software_trigger:
        return refused(409, f"this station takes no trigger from the page ({before.trigger}); {_remedy(station)}")
    record("trigger")
    try:
        answer = ask_trigger(station.config.run_dir, VERDICT_WITHIN_S)
    except OverrunError as error:
        return refused(409, one_line(error), overrun=True)
    except ExchangeError as error:
        return refused(503, one_line(error))
    if answer.verdict is None or answer.reason is None:
        return refused(503, "the engine gave no verdict for this trigger; see the status page")
    words = verdict_words(answer.verdict, answer.reason).facts()
    return jsonify(id=answer.id, verdict=answer.verdict.value, reason=answer.reason.value, words=words)


@blueprint.post("/recipe")
def recipe() -> Answer:
    """Judge by another bundle from the next part on. JSON or form field `recipe`: one of Health.recipes."""
    station = current_station()
    name = _recipe_name()
    before = ready(station)
    if name not in before.recipes:
        known = ", ".join(before.recipes) or "none, add [recipes] to station.toml"
        return refused(400, f"recipe: {name!r} is not one of this station's recipes ({known})")
    if name == before.recipe:
        return jsonify(recipe=name, bundle=before.bundle, text=f"“{name}” is already in use; nothing was changed.")
    record("recipe", before.recipe or "", name)
    return carry_out(station, lambda: station.requests.switch_recipe(name), lambda now: _switched(before, now, name))


@blueprint.post("/selftest")
def selftest() -> Answer:
    """Run the bundle's references again and answer whether they still reproduce their scores in time."""
    station = current_station()
    before = ready(station)
    record("self-test")
    return carry_out(station, station.requests.self_test, lambda now: _tested(before, now))


def _remedy(station: Station) -> str:
    if isinstance(station.config.trigger, FreeRunTriggerConfig):
        text = 'set trigger.type = "software" and take trigger.rate_hz out'
    else:
        text = "set trigger.page_button = true"
    return text


def _recipe_name() -> str:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        abort(413, f"a command has at most {MAX_BODY_BYTES} bytes")
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    name = given.get("recipe") if isinstance(given, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        abort(400, "recipe: send the recipe's name as JSON or form field `recipe`")
    return name


def ready(station: Station) -> Health:
    """Return the engine's state; aborts with 503 unless the engine can obey a command."""
    engine = station.engine()
    if engine.health is None or not engine.alive:
        abort(503, "the engine is not running, so nothing was done; start the engine")
    if engine.state is EngineState.STARTING:
        abort(503, "the engine is still starting, so nothing was done; try again in a few seconds")
    return engine.health


def carry_out(station: Station, ask: Callable[[], None], outcome: Callable[[Health], Answer | None]) -> Answer:
    """Hand the command over, then watch health.json until it tells what became of it."""
    try:
        ask()
    except ExchangeError as error:
        return refused(409, one_line(error))
    give_up = time.monotonic() + OUTCOME_WITHIN_S
    while time.monotonic() < give_up:
        engine = station.engine()
        if engine.health is None or not engine.alive:
            return refused(503, "the engine stopped while it carried out the command; see the status page")
        if (found := outcome(engine.health)) is not None:
            return found
        time.sleep(LOOK_EVERY_S)
    return refused(504, f"the engine took the command, but gave no result within {OUTCOME_WITHIN_S:g} s")


def _switched(before: Health, now: Health, name: str) -> Answer | None:
    if now.recipe == name:
        text = f"“{name}” is in use: {now.bundle} judges from now on."
        return jsonify(recipe=name, bundle=now.bundle, text=text)
    if now.recipe_pending is None and now.recipe_fault:
        return refused(409, f"{now.recipe_fault}; “{before.recipe}” stays in use", recipe=now.recipe)
    return None


def _tested(before: Health, now: Health) -> Answer | None:
    test = now.self_test
    if test is None or (before.self_test is not None and test.at <= before.self_test.at):
        return None
    said = "The self-test passed" if test.passed else "The self-test failed"
    text = f"{said}: {test.detail}" if test.detail else f"{said}."
    return jsonify(passed=test.passed, at=test.at.isoformat(timespec="milliseconds"), detail=test.detail, text=text)


def refused(status: int, text: str, **facts: Any) -> Answer:
    return jsonify(error=text, **facts), status
