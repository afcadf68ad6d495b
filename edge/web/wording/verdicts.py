"""Verdicts and faults in the words of the person at the line: the fact, and the action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.core.types import Inspection, Reason, Region, Verdict
from edge.inference.decision import defect_words
from edge.web.station import EngineState, EngineView

UNKNOWN = "\N{EN DASH}"  # shown where there is no value


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one state: kind picks shape and colour, headline is read from across the hall."""

    kind: str  # ok, ng, error, camera, wait, none
    headline: str
    what: str
    action: str

    def facts(self) -> dict[str, str]:
        return {"kind": self.kind, "headline": self.headline, "what": self.what, "action": self.action}


ERRORS: dict[Reason, tuple[str, str]] = {
    Reason.NO_FRAME: ("No picture came in time.", "Reject the part. Check the camera's cable and power."),
    Reason.STALE_FRAME: (
        "The picture may be older than the part.",
        "Reject the part. If it repeats, check the camera's network and call maintenance.",
    ),
    Reason.BAD_FRAME: ("The picture is not fit to judge.", "Reject the part. Check light, focus and lens."),
    Reason.PART_NOT_FOUND: ("The part was not found in the picture.", "Reject the part. Check how parts are placed."),
    Reason.INFERENCE_FAILED: ("The model gave no usable answer.", "Reject the part. If it repeats, call maintenance."),
    Reason.LATE: ("The verdict came too late for the line.", "Reject the part. If it repeats, call maintenance."),
    Reason.COMMISSIONING: ("An engineer sets the station up.", "Reject the part, or put it aside."),
    Reason.SELF_TEST_FAILED: ("The station failed its self-test.", "Reject the part. Call maintenance."),
    Reason.OUTPUT_FAILED: ("The line could not be told.", "Stop the line. Check the output's wiring."),
    Reason.ENGINE_DIED: (
        "The engine ended before it stored this part's verdict.",
        "The line may have let the part pass: find it and check it by hand. If it repeats, call maintenance.",
    ),
    Reason.SCORE: ("No usable score.", "Reject the part. If it repeats, call maintenance."),
}
WAITING = Words("wait", "WAITING", "No part has been inspected since the start.", "Nothing to do.")
ENGINE_WORDS: dict[EngineState, Words] = {
    EngineState.STARTING: Words("wait", "STARTING", "The engine checks itself.", "Wait: no part is released yet."),
    EngineState.CAMERA_FAULT: Words(
        "camera",
        "CAMERA FAULT",
        "The camera gives no picture. This says nothing about the parts.",
        "Every part is rejected. Check the camera's cable and power.",
    ),
    EngineState.FAULT: Words(
        "error",
        "SELF-TEST FAILED",
        "The model does not give the scores it should on this computer.",
        "Every part is rejected. Call maintenance.",
    ),
    EngineState.COMMISSIONING: Words(
        "wait",
        "SET-UP",
        "An engineer sets the station up. Nothing is judged for the line.",
        "Every part is rejected. Wait until the engineer ends it.",
    ),
    EngineState.STOPPED: Words(
        "none", "NO ENGINE", "The engine was stopped.", "Parts are not inspected. Start the engine before the line."
    ),
    EngineState.STALE: Words(
        "none",
        "NO ENGINE",
        "The engine does not report any more.",
        "Parts are not inspected. Stop the line, call maintenance.",
    ),
    EngineState.ABSENT: Words(
        "none", "NO ENGINE", "The engine has not started.", "Parts are not inspected. Start the engine before the line."
    ),
}
SEEING = frozenset({EngineState.RUNNING, EngineState.CAMERA_FAULT})
UNFIT = Words(
    "camera",
    "CAMERA FAULT",
    "The camera's picture is not fit to judge. This says nothing about the parts.",
    "Every part is rejected. Check light, focus, lens and the camera's place.",
)


def station_words(engine: EngineView, latest: Inspection | None) -> Words:
    """Return the words of the big panel. An engine that is not running has no verdict, whatever it said last."""
    health = engine.health
    if engine.state in SEEING and health is not None and health.quality_fault:
        return UNFIT
    if engine.state is not EngineState.RUNNING:
        return ENGINE_WORDS[engine.state]
    if health is None or health.last_verdict is None:
        return WAITING
    if latest is not None:
        return inspection_words(latest)
    return verdict_words(Verdict(health.last_verdict), _reason(health.last_reason))


def inspection_words(inspection: Inspection) -> Words:
    """Return a stored inspection in words."""
    regions = inspection.regions if inspection.verdict is Verdict.NG else ()
    return verdict_words(inspection.verdict, inspection.reason, regions)


def verdict_words(verdict: Verdict, reason: Reason, regions: Sequence[Region] = ()) -> Words:
    """Return a verdict in words; regions are the marked areas, as far as they are known."""
    if verdict is Verdict.OK:
        return Words("ok", "OK", "No defect found.", "Nothing to do: the part may pass.")
    if verdict is Verdict.NG:
        return Words("ng", "NG", defect_words(regions), "Take the part out. The outline shows where to look.")
    what, action = ERRORS[reason]
    return Words("error", "ERROR", what, action)


def _reason(name: str | None) -> Reason:
    return Reason(name) if name in set(Reason) else Reason.SCORE


def no_picture(inspection: Inspection, ok_every: int) -> str:
    """Return why no picture of this part is there, as far as it can be known."""
    if inspection.reason is Reason.NO_FRAME:
        return "No picture was kept: the camera gave none of this part."
    if inspection.reason is Reason.ENGINE_DIED:
        return "No picture was kept: the engine ended before it stored one."
    if inspection.verdict is Verdict.OK and inspection.id % ok_every:
        return f"No picture was kept: of OK parts each {ok_every}th is kept (storage.ok_every)."
    return "No picture was kept: it made room for newer ones, or the disk could not take it."


def duration(seconds: float) -> str:
    """Write a span in its two largest units: 45 s, 12 min, 3 h 05 min, 2 d 4 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def percent(share: float | None) -> str:
    """Write a probability for people: never 0 or 100 %, because the model is never sure."""
    if share is None:
        return UNKNOWN
    if share < 0.001:
        return "< 0.1 %"
    if share > 0.999:
        return "> 99.9 %"
    return f"{share * 100:.1f} %"
