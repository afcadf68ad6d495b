"""One inspection as one line of JSON, for MQTT and webhooks."""

from __future__ import annotations

import json

from edge.core.types import Inspection

VERSION = 1


def message(station: str, inspection: Inspection) -> bytes:
    """Return UTF-8 JSON without a newline. A repeated message has the same `id`, so that its receiver can drop it."""
    fields = {
        "version": VERSION,
        "id": f"{station}:{inspection.id}",
        "station": station,
        "sequence": inspection.id,
        "at": inspection.at.isoformat(timespec="milliseconds"),
        "trigger_id": inspection.trigger_id,
        "verdict": inspection.verdict.value,
        "reason": inspection.reason.value,
        "detail": inspection.detail,
        "score": inspection.score,
        "threshold": inspection.threshold,
        "defect_probability": inspection.defect_probability,
        "bundle": inspection.bundle,
        "total_ms": round(inspection.timings.total_ms, 3),
        "regions": [
            {"x": r.x, "y": r.y, "w": r.w, "h": r.h, "peak": round(r.peak, 4), "label": r.label}
            for r in inspection.regions
        ],
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
