"""Routes for the set-up of a station: what the camera sees, its steps, outputs by hand, and the certificate."""

from __future__ import annotations

from typing import Any, TypeVar

from flask import Blueprint, Response, abort, jsonify, make_response, render_template
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.config.outputs import GpioOutputConfig, ModbusOutputConfig
from edge.config.station import StationConfig
from edge.core.types import one_line
from edge.exchange import ExchangeError
from edge.exchange.commands import CommissionWish, HandWish, Step
from edge.exchange.health import Health
from edge.inference.bundle import BundleError
from edge.web.access.gate import record
from edge.web.guard import csrf_token
from edge.web.setup.certificate import BADS, GOODS, read_certificate, store_certificate, unproven
from edge.web.setup.region import WantedRegion, read_region, store_region
from edge.web.station import Station, current_station
from edge.web.views.api import never_stored
from edge.web.views.commands import Answer, carry_out, ready, refused
from edge.web.views.parameters import form_fault, shown
from edge.web.views.reviews import given_fields, given_who

Model = TypeVar("Model", bound=BaseModel)
blueprint = Blueprint("commissioning", __name__)
blueprint.after_request(never_stored)
HANDS = {"OK": "OK", "NG": "NG", "ERROR": "ERROR", "safe": None}


class SetUpStep(BaseModel):
    """One step of the set-up."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    step: Step
    who: str = Field(default="", max_length=80)
    frames: int = Field(default=20, ge=2, le=1000, description="Pictures of a baseline.")
    seconds: float = Field(default=5.0, ge=0, le=600, description="Over which they are spread.")


class Proof(BaseModel):
    """The parts of a dry run that the certificate rests on."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    who: str = Field(default="", max_length=80)
    goods: list[int] = Field(default=[], max_length=40)
    bads: list[int] = Field(default=[], max_length=40)


@blueprint.get("/set-up")
def set_up_page() -> Response:
    """Show the set-up, kept fresh by static/set_up.js."""
    config = current_station().config
    html = render_template("set_up.html", station=config.name, token=csrf_token(), goods=GOODS, bads=BADS)
    return make_response(html)


@blueprint.get("/api/set-up")
def set_up() -> Response:
    """Answer with what the camera sees, how far the set-up is, and the last certificate."""
    station = current_station()
    engine = station.engine()
    health = engine.health
    if health is None:
        abort(503, "the engine has not started yet; start it")
    recipe = health.recipe or "default"
    return jsonify(
        alive=engine.alive,
        state=engine.state.value,
        detail=engine.detail,
        camera=health.camera,
        fps=health.camera_fps,
        frame_age_ms=health.frame_age_ms,
        trigger=health.trigger,
        software_trigger=health.software_trigger,
        overruns=health.overruns,
        recipe=health.recipe,
        bundle=health.bundle,
        sight=None if health.sight is None else health.sight.model_dump(mode="json"),
        focus_least=station.config.quality.min_focus,
        exposure_most=station.config.quality.max_exposure_shift,
        commissioned=health.commissioned,
        commissioning=None if health.commissioning is None else health.commissioning.model_dump(mode="json"),
        self_test=None if health.self_test is None else health.self_test.model_dump(mode="json"),
        outputs=_moving(station.config, health),
        inspected=_inspected(station, health),
        region=read_region(station.config, recipe),
        certificate=read_certificate(station.config, recipe),
    )


@blueprint.post("/api/set-up")
def take_step() -> Answer:
    """Begin the set-up, take a baseline, or end the set-up. From the beginning to the end every part is ERROR."""
    station, given = current_station(), given_fields()
    form = _model(SetUpStep, given)
    wish = CommissionWish(step=form.step, who=given_who(given), frames=form.frames, seconds=form.seconds)
    before = ready(station)
    record(f"set-up {wish.step}", "", before.recipe or "")
    return carry_out(station, lambda: station.requests.commission(wish), lambda now: _taken(wish.step, now))


@blueprint.post("/api/set-up/output")
def by_hand() -> Answer:
    """Set one output by hand for a second. Fields: `output`, `verdict` (OK, NG, ERROR or safe)."""
    station, given = current_station(), given_fields()
    name, verdict = given.get("output"), given.get("verdict")
    if not isinstance(verdict, str) or verdict not in HANDS:
        abort(400, f"verdict: must be {', '.join(HANDS)}, got {shown(str(verdict))}")
    try:
        wish = HandWish.model_validate({"output": name, "verdict": HANDS[verdict]})
    except ValidationError:
        abort(400, f"output: must be the name of an output, got {shown(str(name))}")
    health = ready(station)
    if health.commissioning is None:
        return refused(409, "an output is set by hand only while the station is set up; begin the set-up first")
    record("output by hand", "", f"{wish.output}: {verdict}")
    try:
        station.requests.set_by_hand(wish)
    except ExchangeError as error:
        return refused(409, one_line(error))
    return jsonify(output=wish.output, verdict=verdict, text=f"{wish.output}: {verdict}.")


@blueprint.post("/api/set-up/region")
def region() -> Answer:
    """Store the region to inspect, for the next training of this recipe."""
    station, given = current_station(), given_fields()
    wanted, who = _model(WantedRegion, given), given_who(given)
    health = ready(station)
    if health.sight is None:
        return refused(409, "no picture of the camera is there to draw on; begin the set-up first")
    outside = wanted.outside(health.sight.width, health.sight.height)
    if outside is not None:
        abort(400, outside)
    record("region", "", wanted.line)
    try:
        picture = health.sight.width, health.sight.height
        store_region(station.config, health.recipe or "default", wanted, picture, who)
    except OSError as error:
        return refused(503, f"the region cannot be stored ({error.strerror}); free some space, then try again")
    return jsonify(line=wanted.line, text="The region is stored for the next training of this recipe.")


@blueprint.post("/api/set-up/certificate")
def certify() -> Answer:
    """Write the certificate, when everything is proven."""
    station, given = current_station(), given_fields()
    proof, who = _model(Proof, given), given_who(given)
    health = ready(station)
    moving = [one["name"] for one in _moving(station.config, health)]
    lacks = unproven(health, proof.goods, proof.bads, moving)
    if lacks:
        return refused(409, "; ".join(lacks), missing=lacks)
    record("certificate", "", f"recipe {health.recipe}, {health.bundle}")
    try:
        return jsonify(store_certificate(station.config, health, who, proof.goods, proof.bads))
    except OSError as error:
        return refused(503, f"the certificate cannot be stored ({error.strerror}); free some space, then try again")


def _taken(step: Step, now: Health) -> Answer | None:
    """Return what became of a step, None while it is not known."""
    found = now.commissioning
    if step is Step.END:
        return jsonify(text="The set-up has ended: the line is judged again.") if found is None else None
    if found is None:
        return None
    if step is Step.BEGIN:
        return jsonify(text="The set-up has begun: every part is ERROR until you end it.")
    return jsonify(text="The baseline is being taken: keep good parts in view.")


def _moving(config: StationConfig, health: Health) -> list[dict[str, Any]]:
    """Return the outputs that move parts; health.json names them in the order of station.toml."""
    kinds = (GpioOutputConfig, ModbusOutputConfig)
    pairs = zip(config.output, health.outputs, strict=False)
    return [{"name": told.name, "type": section.type} for section, told in pairs if isinstance(section, kinds)]


def _inspected(station: Station, health: Health) -> dict[str, int] | None:
    """Return the region that the bundle inspects, in pixels of the picture; None: all of it."""
    try:
        crop = station.bundle(health).manifest.input.crop
    except BundleError:
        return None
    return None if crop is None else crop.model_dump()


def _model(kind: type[Model], given: dict[str, Any]) -> Model:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        abort(400, form_fault(error))
