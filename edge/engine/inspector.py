"""One trigger in, exactly one verdict out. No threads of its own, and no way round a verdict."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from edge.cameras.capture import FrameSlot
from edge.cameras.stillness import FROZEN, PartWatch
from edge.core.types import Frame, Inspection, Reason, Timings, Verdict
from edge.engine import EngineError
from edge.engine.judge import Judgement, attempt, judge, no_verdict, words
from edge.engine.recipes import Recipe
from edge.inference.preprocess import inspected_box
from edge.line.outputs import Output
from edge.line.triggers import TriggerEvent

log = logging.getLogger(__name__)


class Inspector:
    """The accountable path of a part; called from the main loop only, but for hear() and free()."""

    def __init__(
        self,
        slot: FrameSlot,
        recipe: Recipe,
        outputs: Sequence[Output],
        deadline_ms: float,
        next_id: Callable[[], int],
    ) -> None:
        """Set every output to reject. next_id gives out each id once."""
        self._slot = slot
        self._recipe = recipe
        self._line = [output for output in outputs if not output.reports]
        self._reports = [output for output in outputs if output.reports]
        self._deadline_ms = deadline_ms
        self._next_id = next_id
        self._outputs_failed = False
        self._parts = PartWatch()
        self._self_test_failed: str | None = None
        self._engineer: str | None = None  # who sets the station up
        self.trial: tuple[Verdict, Reason] | None = None  # what the last part would have got without the set-up
        self.safe()

    def use(self, recipe: Recipe) -> None:
        """Judge with this recipe from the next part on; call it between two parts."""
        self._recipe, self._self_test_failed = recipe, None

    def refuse(self, self_test_failed: str) -> None:
        """Give every part ERROR/self_test_failed from the next one on, until use() is called."""
        self._self_test_failed = self_test_failed

    def commission(self, engineer: str | None) -> None:
        """Give every part ERROR/commissioning from the next one on, until it is called with None."""
        self._engineer = engineer
        self.safe()

    def by_hand(self, output: str, verdict: Verdict | None) -> None:
        """Set one output by hand, None: all safe. Raises EngineError unless the station is commissioned.

        While it is, a part that comes now gets ERROR, and takes every release back before that.
        """
        if self._engineer is None:
            raise EngineError("an output is set by hand only while the station is set up; begin the set-up first")
        if verdict is None:
            self.safe()
            return
        named = [one for one in self._line if one.name == output]
        if not named:
            known = ", ".join(one.name for one in self._line) or "none that moves parts"
            raise EngineError(f"no output {output!r} can be set by hand; this station has {known}")
        done = attempt(partial(named[0].by_hand, verdict))
        if isinstance(done, Exception):
            self.safe()
            raise EngineError(words(done))

    def free(self) -> bool:
        """Return True when every output can tell the next verdict; any thread may ask."""
        return all(output.free() for output in self._outputs())

    def hear(self, accepted: bool) -> None:
        """Take back every release, in the thread of a trigger: that part has no verdict yet, or will have none."""
        for output in self._outputs():  # inspect() tells them again, and a failure then is the part's ERROR
            attempt(partial(output.ready, False) if accepted else output.passed)
            if self._engineer is not None and not accepted:
                attempt(output.safe)  # it may be set by hand, and a part passes

    def inspect(self, event: TriggerEvent) -> Inspection:
        """Judge the part of one trigger and tell the line; returns what is to be recorded."""
        at = datetime.now(UTC)
        hindered = self._begin()
        frame = self._frame_of(event)
        grab_ms = _ms_since(event.at)
        if self._self_test_failed is not None:
            judgement = no_verdict(Reason.SELF_TEST_FAILED, self._self_test_failed)
        elif frame is None:
            judgement = self._without_frame(event)
        else:
            recipe = self._recipe
            checked = partial(self._checked, frame, event)
            judgement = judge(recipe.detector, recipe.limits, frame.image, lambda _: recipe.check.refusal(checked()))
        judged = self._in_time(self._inspection(event, at, frame, judgement, grab_ms), _ms_since(event.at))
        self.trial = (judged.verdict, judged.reason)
        if self._engineer is not None:
            judged = _held(judged, self._engineer)
        return self._tell(judged, event, hindered)

    def _frame_of(self, event: TriggerEvent) -> Frame | None:
        """Wait for the frame to be judged; None when none that may show this part comes before the deadline.

        A frame that must not be judged counts as well when nothing better came: it says what is wrong.
        """
        left_s = self._deadline_ms / 1e3 - (time.monotonic() - event.at)
        frame = self._slot.newer_than(event.at, left_s, proven=event.is_part)
        newest = self._slot.newest()
        if frame is None and newest is not None and newest.captured_at > event.at and (newest.fault or newest.repeats):
            return newest if newest.fault else replace(newest, fault=FROZEN)
        return frame

    def _checked(self, frame: Frame, event: TriggerEvent) -> Frame:
        """Return the frame, marked when it shows no other part than the last one; raises ImageError."""
        if not event.is_part or frame.fault:
            return frame
        spec = self._recipe.detector.spec
        whole = 0, 0, frame.image.shape[1], frame.image.shape[0]  # where a part is followed it may be anywhere
        box = whole if spec.follow is not None else inspected_box(frame.image.shape, spec)
        return replace(frame, fault=self._parts.fault(frame, box))

    def _without_frame(self, event: TriggerEvent) -> Judgement:
        """Return the ERROR of a part for which no frame came, or only frames that may be older than it."""
        newest = self._slot.newest()
        if newest is None or not newest.captured_at > event.at:
            return no_verdict(Reason.NO_FRAME, f"no frame within {self._deadline_ms:g} ms of the trigger")
        if newest.exposed_after is None:
            detail = (
                "nothing is proven about the age of the camera's frames: the stream was just opened or stalled, its "
                "rate is not camera.fps, or its latency is not known (`edge commission --latency` measures it)"
            )
        else:
            detail = (
                f"the newest frame may be {max(0.0, event.at - newest.exposed_after) * 1e3:.0f} ms older than the "
                f"trigger after {self._deadline_ms:g} ms; check the network, or raise inspection.deadline_ms"
            )
        return no_verdict(Reason.STALE_FRAME, detail)

    def ready(self) -> None:
        """Tell the line that the next trigger is accepted; an output that cannot be told fails at the next part."""
        for output in self._outputs():
            attempt(partial(output.ready, True))

    def beat(self, overruns: int) -> None:
        """Tell the line that the loop goes round, and how many triggers were refused so far."""
        for output in self._outputs():
            output.beat(overruns)

    def safe(self) -> None:
        """Set every output to reject; one that fails does not keep the others from it."""
        for output in self._outputs():
            failure = attempt(output.safe)
            if isinstance(failure, Exception):
                log.error("an output cannot be made safe: %s", words(failure))

    def _inspection(
        self, event: TriggerEvent, at: datetime, frame: Frame | None, judgement: Judgement, grab_ms: float
    ) -> Inspection:
        prediction, limits = judgement.prediction, self._recipe.limits
        return Inspection(
            id=self._next_id(),
            at=at,
            trigger_id=event.id,
            verdict=judgement.decision.verdict,
            reason=judgement.decision.reason,
            detail=judgement.decision.detail,
            score=judgement.score,
            threshold=limits.threshold,
            typical=limits.typical,
            defect_probability=judgement.defect_probability,
            regions=judgement.decision.regions,
            bundle=self._recipe.title,
            bundle_digest=self._recipe.bundle.digest,
            timings=Timings(
                grab_ms=grab_ms,
                prepare_ms=prediction.prepare_ms if prediction else 0.0,
                infer_ms=prediction.infer_ms if prediction else 0.0,
                decide_ms=judgement.decide_ms,
            ),
            image=frame.image if frame else None,
            anomaly_map=prediction.anomaly_map if prediction else None,
            class_map=prediction.class_map if prediction else None,
            box=judgement.box,
            limits=limits,
        )

    def _in_time(self, inspection: Inspection, taken_ms: float) -> Inspection:
        """Return the inspection, or an ERROR after the deadline: the part may have passed the ejector already."""
        if taken_ms <= self._deadline_ms or inspection.verdict is Verdict.ERROR:
            return inspection
        detail = f"{inspection.verdict} was found after {taken_ms:.0f} ms, the deadline is {self._deadline_ms:g} ms"
        return replace(inspection, verdict=Verdict.ERROR, reason=Reason.LATE, detail=detail)

    def _outputs(self) -> list[Output]:
        return [*self._line, *self._reports]

    def _begin(self) -> Exception | None:
        """Tell the line that a part is being judged; returns why its verdict could not be told, if so."""
        for output in self._outputs():
            for step in (partial(output.ready, False), output.able):
                hindered = attempt(step)
                if hindered is not None:
                    return hindered
        return None

    def _tell(self, inspection: Inspection, event: TriggerEvent, hindered: Exception | None) -> Inspection:
        """Set each output once. One that fails, or that takes past the deadline, leaves all of them safe.

        What moves parts comes first; what only reports is told the verdict that stands in the end.
        """
        before = last = time.monotonic()
        until = math.inf if inspection.verdict is Verdict.ERROR else event.at + self._deadline_ms / 1e3
        judged, failure = inspection, hindered
        for output in self._line:
            inspection = inspection if failure is None else _untold(judged, failure)
            told_at = attempt(partial(output.show, inspection, until))
            failure, last = (told_at, last) if isinstance(told_at, Exception) else (failure, told_at)
        taken_ms = max(0.0, (last - event.at) * 1e3)
        inspection = judged if failure is None else _untold(judged, failure)
        timings = replace(inspection.timings, output_ms=(last - before) * 1e3, total_ms=taken_ms)
        inspection = told = replace(inspection, timings=timings)
        if failure is None:
            inspection = self._in_time(told, taken_ms)
        if failure is not None or inspection is not told:
            self.safe()
        return self._report(inspection, failure)

    def _report(self, inspection: Inspection, failure: Exception | None) -> Inspection:
        reported = inspection
        for output in self._reports:
            failed = attempt(partial(output.show, inspection))
            if isinstance(failed, Exception):
                failure = failure or failed
                reported = _untold(inspection, failed)
                self.safe()
        self._note_outputs(failure)
        return reported

    def _note_outputs(self, told: Exception | None) -> None:
        """Log one line per change, not per part."""
        if isinstance(told, Exception) and not self._outputs_failed:
            log.error("outputs failed: %s", words(told))
        elif told is None and self._outputs_failed:
            log.info("outputs work again")
        self._outputs_failed = told is not None


def _held(judged: Inspection, engineer: str) -> Inspection:
    """Return the ERROR of a part that came while an engineer sets the station up."""
    would = f"it would be {judged.verdict}" + ("" if judged.reason is Reason.SCORE else f"/{judged.reason}")
    detail = f"{engineer} sets the station up; {would}"
    return replace(judged, verdict=Verdict.ERROR, reason=Reason.COMMISSIONING, detail=detail, regions=())


def _untold(judged: Inspection, failure: Exception) -> Inspection:
    """Return the ERROR of a part of which the line could not be told."""
    detail = f"{words(failure)} (the verdict was {judged.verdict}/{judged.reason})"
    return replace(judged, verdict=Verdict.ERROR, reason=Reason.OUTPUT_FAILED, detail=detail)


def _ms_since(start: float) -> float:
    return (time.monotonic() - start) * 1e3
