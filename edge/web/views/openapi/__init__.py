"""The interface for programs, described as OpenAPI 3.1: made from the routes, the table of rights and the models."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from edge import __version__
from edge.core.types import Reason, Verdict
from edge.exchange.bundle_desk import Report
from edge.exchange.health import Health
from edge.history.reviews import LONGEST_MASK, LONGEST_NAME, Opinion, Origin
from edge.people.roles import Role
from edge.web.access.gate import Access
from edge.web.access.rights import EVERYBODY_MAY, RIGHTS
from edge.web.guard import SAFE_METHODS
from edge.web.setup.bundles import BundleWish
from edge.web.setup.commissioning import Proof, SetUpStep
from edge.web.setup.region import WantedRegion
from edge.web.setup.upload import MAX_BYTES
from edge.web.views import people
from edge.web.views.api import MAX_ID, MAX_LIMIT, never_stored
from edge.web.views.limit import LONGEST_REASON
from edge.web.views.openapi.answers import ANSWERS
from edge.web.views.openapi.refusals import REFUSALS, refusals
from edge.web.views.reviews import BEFORE, LABEL

blueprint = Blueprint("openapi", __name__, url_prefix="/api")
blueprint.after_request(never_stored)
Facts = dict[str, Any]
PROGRAM_ROUTES = re.compile(r"/(api/|metrics$|healthz$|\w+\.(csv|jpg|zip)$|shown/|pictures/|references/)")
_FLAG: Facts = {"type": "string", "enum": ["0", "1"]}
_TIME: Facts = {"type": "string", "format": "date-time"}
_MOMENT: Facts = _TIME | {"pattern": "^(197[1-9]|19[89][0-9]|[2-8][0-9]{3})-"}  # edge/web/shift/views.py:YEARS
_ROWS: Facts = {"verdict": {"enum": list(Verdict)}, "reason": {"enum": list(Reason)}, "from": _TIME, "to": _TIME}
_BYTES: Facts = {"type": "integer", "minimum": 0, "maximum": MAX_BYTES}
_KEY: Facts = {"type": "string", "pattern": "^[0-9a-f]{16,64}$"}
_PAGE: Facts = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    "before": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
}
QUERIES: dict[str, Facts] = {
    "api.status": {"raw": _FLAG, "inline": _FLAG},
    "api.inspections": _PAGE | {"after": {"type": "integer", "minimum": 0, "maximum": MAX_ID}, "inline": _FLAG} | _ROWS,
    "api.shift_report": _ROWS,
    "shift.shift": {"at": _MOMENT, "order": {"type": "string", "maxLength": 40}},
    "api.inspect": {"heatmap": _FLAG},
    "downloads.history": _ROWS,
    "downloads.live": {"raw": _FLAG},
    "downloads.held": {"raw": _FLAG},
    "reviews.queue": {"limit": {"type": "integer", "minimum": 1, "maximum": 50}},
    "reviews.listed": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 500},
        "part": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
    },
    "limit.limit": {"at": {"type": "number"}},
    "bundles.upload": {"key": _KEY, "at": _BYTES, "size": _BYTES | {"minimum": 1}},
    "people.audit": _PAGE | {"before": {"type": "integer", "minimum": 1, "maximum": 2**62}},
}
ALL_NEEDED = frozenset({"bundles.upload"})  # routes that need each part of their query
FORMS: dict[str, type[BaseModel]] = {
    "bundles.wish": BundleWish,
    "commissioning.take_step": SetUpStep,
    "commissioning.region": WantedRegion,
    "commissioning.certify": Proof,
    "people.sign_in": people.SignIn,
    "people.join": people.Join,
    "people.add": people.Newcomer,
    "people.renew_code": people.Named,
    "people.remove": people.Named,
    "people.add_token": people.Newcomer,
    "people.revoke_token": people.Named,
}
_RECIPE: Facts = {
    "type": "object",
    "required": ["recipe"],
    "properties": {"recipe": {"type": "string", "maxLength": 64}},
}
_HAND: Facts = {
    "type": "object",
    "required": ["output", "verdict"],
    "properties": {"output": {"type": "string"}, "verdict": {"enum": ["OK", "NG", "ERROR", "safe"]}},
}
_IMAGE: Facts = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": {"type": "string", "format": "binary"}},
}
_ORDER: Facts = {
    "type": "object",
    "required": ["order"],
    "properties": {name: {"type": "string", "maxLength": 80} for name in ("order", "before", "who")},
}
_NAME: Facts = {"type": "string", "maxLength": LONGEST_NAME}
_PART: Facts = {
    "type": "object",
    "required": ["part"],
    "properties": {"part": {"type": "integer", "minimum": 1, "maximum": MAX_ID}},
}
_SEEN: Facts = {
    "type": "object",
    "properties": {"part": _PART["properties"]["part"], "up_to": _PART["properties"]["part"], "who": _NAME},
    "anyOf": [{"required": ["part"]}, {"required": ["up_to"]}],
}
_ANSWER: Facts = {
    "type": "object",
    "required": ["part", "opinion"],
    "properties": {
        "part": _PART["properties"]["part"],
        "opinion": {"enum": [*Opinion, BEFORE]},
        "origin": {"enum": list(Origin)},
        "who": _NAME,
        "label": {"type": "string", "pattern": f"^({LABEL})?$"},
        "mask": {"type": "string", "maxLength": LONGEST_MASK, "description": "Strokes as JSON."},
        "after": {"type": "integer", "minimum": -1, "maximum": MAX_ID},
    },
}
_LIMIT: Facts = {
    "type": "object",
    "required": ["before", "reason"],
    "properties": {
        "before": {"type": "number"},
        "after": {"anyOf": [{"type": "number"}, {"const": "own"}]},
        "who": _NAME,
        "reason": {"type": "string", "minLength": 1, "maxLength": LONGEST_REASON},
    },
}


def _either(schema: Facts) -> Facts:
    """Return the content of a body that may be JSON or a form."""
    return {kind: {"schema": schema} for kind in ("application/json", "application/x-www-form-urlencoded")}


BODIES: dict[str, Facts] = {
    "reviews.see": _either(_SEEN),
    "reviews.answer": _either(_ANSWER),
    "limit.apply": _either(_LIMIT),
    "service.judge_again": {"application/json": {"schema": _PART}},
    "shift.set_order": {"application/json": {"schema": _ORDER}},
    "commands.recipe": {"application/json": {"schema": _RECIPE}},
    "api.inspect": {"multipart/form-data": {"schema": _IMAGE}},
    "commissioning.by_hand": {"application/json": {"schema": _HAND}},
    "bundles.upload": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
TYPES = {
    "metrics.metrics": "text/plain",
    "downloads.history": "text/csv",
    "downloads.live": "image/jpeg",
    "downloads.held": "image/jpeg",
    "downloads.stored": "image/jpeg",
    "downloads.reference": "image/png",
    "downloads.reviewed": "application/zip",
    "service.download": "application/zip",
}
_REFUSAL: Facts = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One line for a person."}},
}


@blueprint.get("/openapi.json")
def description() -> Response:
    """Answer with this description."""
    return jsonify(document(current_app))


def document(app: Flask) -> Facts:
    """Return the OpenAPI 3.1 document of an application."""
    models: list[type[BaseModel]] = [Health, Report, *dict.fromkeys(FORMS.values())]
    schemas = models_json_schema([(one, "validation") for one in models], ref_template="#/components/schemas/{model}")
    paths: dict[str, Facts] = {}
    for rule in app.url_map.iter_rules():
        if PROGRAM_ROUTES.match(rule.rule):
            path = re.sub(r"<(?:[^:>]*:)?(\w+)>", r"{\1}", rule.rule)
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                paths.setdefault(path, {})[method.lower()] = _operation(app, rule, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Linewatch", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas[1]["$defs"] | {"Refusal": _REFUSAL},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(app: Flask, rule: Rule, method: str) -> Facts:
    endpoint = rule.endpoint
    role = RIGHTS.get(endpoint)
    says = (app.view_functions[endpoint].__doc__ or "").strip().splitlines()
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    operation: Facts = {
        "operationId": endpoint,
        "summary": says[0] if says else endpoint,
        "security": _security(app, endpoint),
        "x-role": role.value if role else None,
        "parameters": [*_places(rule), *_queries(endpoint)],
        "responses": {
            "200": {
                "description": "Done.",
                "content": {TYPES.get(endpoint, "application/json"): {"schema": _answer(endpoint)}},
            },
            **{
                str(code): {"description": REFUSALS[code], "content": refusal}
                for code in sorted(refusals(rule, method, bool(_queries(endpoint))))
            },
        },
    }
    if method not in SAFE_METHODS and (content := _body(endpoint)):
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(app: Flask, endpoint: str) -> list[Facts]:
    """Return what a request needs; an empty need is one that a guest fulfils."""
    if endpoint in EVERYBODY_MAY:
        return []
    access: Access = app.extensions["linewatch_access"]
    guest = RIGHTS[endpoint] is Role.VIEWER and access.guests_may_look
    return [{"bearer": []}, *([{}] if guest else [])]


def _places(rule: Rule) -> list[Facts]:
    """Return the parts of the address that vary."""
    kinds: dict[str, Facts] = {
        "inspection_id": {"type": "integer", "minimum": 0, "maximum": MAX_ID},
        "kind": {"enum": ["frame", "heat", "thumb", "class"]},
    }
    found = (name for name in sorted(rule.arguments))
    return [
        {"name": one, "in": "path", "required": True, "schema": kinds.get(one, {"type": "string"})} for one in found
    ]


def _queries(endpoint: str) -> list[Facts]:
    asked = QUERIES.get(endpoint, {})
    needed = endpoint in ALL_NEEDED
    return [{"name": name, "in": "query", "required": needed, "schema": schema} for name, schema in asked.items()]


def _body(endpoint: str) -> Facts | None:
    form = FORMS.get(endpoint)
    if form is None:
        return BODIES.get(endpoint)
    return _either({"$ref": f"#/components/schemas/{form.__name__}"})


def _answer(endpoint: str) -> Facts:
    if endpoint in TYPES:
        return {"type": "string"}
    if endpoint == "api.status":
        health: Facts = {"anyOf": [{"$ref": "#/components/schemas/Health"}, {"type": "null"}]}
        return {"type": "object", "properties": {"health": health}}
    return ANSWERS.get(endpoint, {"type": "object"})
