"""What the main routes answer, as JSON schemas: made from the code's own types where there are any.

An answer has each field that its schema names, and no other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from edge.core.types import Reason, Region, Verdict
from edge.exchange.bundle_desk import Report
from edge.history.reviews import Opinion, Origin
from edge.web.facts import TIMES
from edge.web.station import PICTURE_KINDS
from edge.web.wording.verdicts import Words

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
YES: Schema = {"type": "boolean"}


def fields(of: Schema, optional: Iterable[str] = ()) -> Schema:
    """Return the schema of an object with these fields; those of `optional` may be missing."""
    needed = [name for name in of if name not in set(optional)]
    return {"type": "object", "required": needed, "properties": of, "additionalProperties": False}


def many(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def maybe(of: Schema) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


def _counts(*names: str) -> Schema:
    return dict.fromkeys(names, COUNT)


def _types(of: type) -> Schema:
    """Return the schema of a dataclass, without its title."""
    return TypeAdapter(of).json_schema() | {"additionalProperties": False}


VERDICTS: Schema = _counts(*Verdict)
_JUDGED: Schema = {"verdict": {"enum": list(Verdict)}, "reason": {"enum": list(Reason)}}
ROW: Schema = {
    "id": COUNT,
    "at": TIME,
    "trigger_id": TEXT,
    **_JUDGED,
    "detail": TEXT,
    "words": _types(Words),
    **dict.fromkeys(("score", "threshold", "typical", "distance", "defect_probability"), maybe(NUMBER)),
    "probability_text": TEXT,
    "regions": many(_types(Region)),
    "bundle": TEXT,
    "timings_ms": fields(dict.fromkeys(TIMES, NUMBER)),
    "pictures": fields(dict.fromkeys((*PICTURE_KINDS, "class"), maybe(TEXT)), optional=["class"]),
}
INSPECTION = fields(ROW)
REVIEW = fields({
    "number": COUNT, "part": COUNT, "opinion": {"enum": list(Opinion)}, "origin": {"enum": list(Origin)}, "label": TEXT,
    "mask": YES, "who": TEXT, "review_at": TIME,
})  # fmt: skip
QUEUED = fields(ROW | {"origin": {"enum": list(Origin)}, "review": maybe(REVIEW)})
QUEUE = fields({
    "parts": many(QUEUED), **_counts("answered", "of", "sampled", "of_sample"),
    "opinions": fields(_counts(Opinion.GOOD, Opinion.BAD, Opinion.UNSURE)),
})  # fmt: skip
REPORT = fields({
    "from": TIME, "to": TIME, "complete": YES, "total": COUNT, "verdicts": fields(VERDICTS),
    "bars": fields({"seconds": COUNT, "bars": many(fields({"at": TIME} | VERDICTS))}),
    "scores": many(fields({
        "at": TIME, "median": NUMBER, "highest": NUMBER, "threshold": maybe(NUMBER), "median_distance": NUMBER,
        "highest_distance": NUMBER, "parts": COUNT,
    })),
    "latency": fields(
        {"edges_ms": many(NUMBER), "counts": many(COUNT), "p50_ms": NUMBER, "p99_ms": NUMBER, "max_ms": NUMBER},
        optional=["p50_ms", "p99_ms", "max_ms"],
    ),
    "sampled": maybe(COUNT), "of": COUNT, "deadline_ms": NUMBER,
})  # fmt: skip
_SPAN: Schema = {"from": TIME, "to": TIME, "words": TEXT, "hours": TEXT, "name": TEXT}
_PARTS: Schema = {"parts": COUNT, "yield": maybe(SHARE)} | VERDICTS
_FREQUENT: Schema = {
    "parts": COUNT, "share": SHARE, "up_to": SHARE, "per_1000": maybe(NUMBER), "per_1000_before": maybe(NUMBER),
}  # fmt: skip
SHIFT = fields({
    "shift": fields(_SPAN | {"running": YES}), "order": maybe(TEXT), **_PARTS,
    "rejects": many(fields(_JUDGED | {"words": TEXT} | _FREQUENT)),
    "defects": many(fields({"label": TEXT} | _FREQUENT)),
    "bars": fields({"of": {"enum": ["hour", "day"]}, "bars": many(fields({"at": TIME, "words": TEXT} | _PARTS))}),
    "before": maybe(fields(_SPAN | _PARTS)), "orders": many({"type": "object"}), "previous": maybe(TIME),
    "next": maybe(TIME),
})  # fmt: skip
_REACH = fields({"share": SHARE, "low": NUMBER, "high": NUMBER})
_CURVE = fields({
    "goods": COUNT, "bads": COUNT, "auroc": maybe(SHARE), "auroc_interval": many(SHARE),
    "points": many(fields({"limit": NUMBER, "goods_rejected": _REACH, "bads_found": _REACH})),
}, optional=["auroc_interval"])  # fmt: skip
LIMIT = fields({
    "bundle": TEXT, "typical": NUMBER, "threshold": NUMBER, "bundle_threshold": maybe(NUMBER), "own_limit": maybe(TEXT),
    "at": NUMBER, "at_distance": maybe(NUMBER), "changed": COUNT, "curve": _CURVE, "curve_all": _CURVE,
    "effect": fields({
        **_counts("goods", "goods_rejected", "goods_rejected_now", "bads", "bads_passed", "bads_passed_now"),
        "changed": many(fields(ROW | {"opinion": {"enum": list(Opinion)}})),
    }),
    "guarantee": fields({
        **_counts("sample", "unsure", "goods", "goods_rejected", "passed", "passed_bad"), "risk": SHARE,
        **dict.fromkeys(("goods_rejected_at_most", "goods_rejected_at_most_any"), SHARE),
        **dict.fromkeys(("passed_bad_at_most", "passed_bad_at_most_any"), SHARE),
    }),
    "log": many(fields({
        "who": TEXT, "at": TIME, "reason": TEXT, "before": NUMBER, "after": maybe(NUMBER), "digest": TEXT,
    })),
})  # fmt: skip
BUNDLES = fields({
    "recipes": many(fields({"name": TEXT, "folder": TEXT, "before": maybe({"type": "object"}), "needs_reason": YES})),
    "bundles": many(fields({
        "folder": TEXT, "title": TEXT, "created": maybe(TIME), "roles": many(fields({"recipe": TEXT, "role": TEXT})),
        "fault": maybe(TEXT), "older": YES, "signed_by": maybe(TEXT),
        "promise": many(fields({"label": TEXT, "text": TEXT})),
    })),
    "unconfirmed": maybe({"type": "object"}), "highest": {"type": "object", "additionalProperties": COUNT},
    "acts": many({"type": "object"}), "signatures": {"enum": ["required", "optional"]},
    "engine": fields({"alive": YES, "recipe": maybe(TEXT), "bundle": maybe(TEXT), "fault": maybe(TEXT)}),
    "report": maybe({"$ref": f"#/components/schemas/{Report.__name__}"}), "waits_s": maybe(NUMBER),
    "uploaded": maybe(COUNT),
})  # fmt: skip
ANSWERS: dict[str, Schema] = {
    "api.inspections": fields({"inspections": many(INSPECTION), "next_before": maybe(COUNT)}),
    "api.inspection": INSPECTION,
    "api.shift_report": REPORT,
    "shift.shift": SHIFT,
    "reviews.queue": QUEUE,
    "reviews.listed": fields({"reviews": many(REVIEW), "total": COUNT}),
    "reviews.answer": REVIEW,
    "limit.limit": LIMIT,
    "bundles.bundles": BUNDLES,
}
