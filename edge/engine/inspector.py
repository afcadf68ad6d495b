"""One trigger in, exactly one verdict out. No threads of its own, and no way round a verdict."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

from edge.cameras.capture import FrameSlot
from edge.cameras.quality import Gate, unusable
from edge.config.station import QualityConfig
from edge.core.types import Frame, Image, Inspection, Prediction, Reason, Timings, Verdict, finite, one_line
from edge.inference.decision import Decision, decide
from edge.inference.preprocess import ImageError, InputSpec, inspected_box
from edge.line.outputs import Output
from edge.line.triggers import TriggerEvent

T = TypeVar("T")

_words = partial(one_line, longest=300)  # a detail is stored with its row
log = logging.getLogger(__name__)


class Model(Protocol):
    """What judging needs of edge.inference.detector.Detector."""

    spec: InputSpec

    def predict(self, image: Image) -> Prediction:
        """Judge an (H, W, 3) uint8 BGR frame."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision on one image, and the numbers it rests on; numbers that are not finite are None."""

    decision: Decision
    prediction: Prediction | None = None
    decide_ms: float = 0.0
    box: tuple[int, int, int, int] | None = None  # x, y, width, height that were inspected, frame pixels

    @property
    def score(self) -> float | None:
        return finite(self.prediction.score if self.prediction else None)

    @property
    def defect_probability(self) -> float | None:
        return finite(self.prediction.defect_probability if self.prediction else None)


def judge(model: Model, threshold: float, image: Image, refusal: Callable[[Image], str | None] = unusable) -> Judgement:
    """Quality, inference, decision for an (H, W, 3) uint8 BGR image. Never raises: a failure is an ERROR verdict.

    refusal: why an image must not be judged, None when it may be.
    """

    def decided() -> Judgement:
        fault = refusal(image)
        if fault is not None:
            return Judgement(_error(Reason.BAD_FRAME, fault))
        box = inspected_box(image.shape, model.spec)
        prediction = model.predict(image)
        start = time.perf_counter()
        decision = decide(prediction, threshold, box)
        return Judgement(decision, prediction, (time.perf_counter() - start) * 1e3, box)

    judged = _attempt(decided)
    if isinstance(judged, ImageError):
        return Judgement(_error(Reason.BAD_FRAME, _words(judged)))
    if isinstance(judged, Exception):
        return Judgement(_error(Reason.INFERENCE_FAILED, _words(judged)))
    return judged


class Inspector:
    """The accountable path of a part; called from the main loop only."""

    def __init__(
        self,
        slot: FrameSlot,
        model: Model,
        outputs: Sequence[Output],
        threshold: float,
        deadline_ms: float,
        bundle: str,
        next_id: Callable[[], int],
    ) -> None:
        """bundle: the title that every row carries; next_id: gives out each id once."""
        self._slot = slot
        self._model = model
        self._line = [output for output in outputs if not output.reports]
        self._reports = [output for output in outputs if output.reports]
        self._threshold = threshold
        self._deadline_ms = deadline_ms
        self._bundle = bundle
        self._next_id = next_id
        self._outputs_failed = False
        self._gate = Gate(None, QualityConfig())
        self._self_test_failed: str | None = None
        self.safe()

    def use(self, model: Model, threshold: float, bundle: str, gate: Gate) -> None:
        """From the next part on judge with this; call it between two parts."""
        self._model, self._threshold, self._bundle, self._gate = model, threshold, bundle, gate
        self._self_test_failed = None

    def refuse(self, self_test_failed: str) -> None:
        """From the next part on every verdict is ERROR/self_test_failed, until use() is called."""
        self._self_test_failed = self_test_failed

    def inspect(self, event: TriggerEvent) -> Inspection:
        """Judge the part of one trigger and tell the line; returns what is to be recorded."""
        at = datetime.now(UTC)
        hindered = self._begin()
        frame = self._slot.newer_than(event.at, self._deadline_ms / 1e3 - (time.monotonic() - event.at))
        grab_ms = _ms_since(event.at)
        if self._self_test_failed is not None:
            judgement = Judgement(_error(Reason.SELF_TEST_FAILED, self._self_test_failed))
        elif frame is None:
            detail = f"no frame within {self._deadline_ms:g} ms of the trigger"
            judgement = Judgement(_error(Reason.NO_FRAME, detail))
        else:
            judgement = judge(self._model, self._threshold, frame.image, lambda _: self._gate.refusal(frame))
        judged = self._in_time(self._inspection(event, at, frame, judgement, grab_ms), _ms_since(event.at))
        return self._tell(judged, event, hindered)

    def ready(self) -> None:
        """Tell the line that the next trigger is accepted; an output that cannot be told fails at the next part."""
        for output in self._outputs():
            _attempt(partial(output.ready, True))

    def beat(self, overruns: int) -> None:
        """Tell the line that the loop goes round, and how many triggers were refused so far."""
        for output in self._outputs():
            output.beat(overruns)

    def safe(self) -> None:
        """Every output to reject; one that fails does not keep the others from it."""
        for output in self._outputs():
            failure = _attempt(output.safe)
            if isinstance(failure, Exception):
                log.error("an output cannot be made safe: %s", _words(failure))

    def _inspection(
        self, event: TriggerEvent, at: datetime, frame: Frame | None, judgement: Judgement, grab_ms: float
    ) -> Inspection:
        prediction = judgement.prediction
        return Inspection(
            id=self._next_id(),
            at=at,
            trigger_id=event.id,
            verdict=judgement.decision.verdict,
            reason=judgement.decision.reason,
            detail=judgement.decision.detail,
            score=judgement.score,
            threshold=self._threshold,
            defect_probability=judgement.defect_probability,
            regions=judgement.decision.regions,
            bundle=self._bundle,
            timings=Timings(
                grab_ms=grab_ms,
                prepare_ms=prediction.prepare_ms if prediction else 0.0,
                infer_ms=prediction.infer_ms if prediction else 0.0,
                decide_ms=judgement.decide_ms,
            ),
            image=frame.image if frame else None,
            anomaly_map=prediction.anomaly_map if prediction else None,
            box=judgement.box,
        )

    def _in_time(self, inspection: Inspection, taken_ms: float) -> Inspection:
        """A verdict after the deadline is an ERROR: the part may have passed the ejector already."""
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
                hindered = _attempt(step)
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
            told_at = _attempt(partial(output.show, inspection, until))
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
            failed = _attempt(partial(output.show, inspection))
            if isinstance(failed, Exception):
                failure = failure or failed
                reported = _untold(inspection, failed)
                self.safe()
        self._note_outputs(failure)
        return reported

    def _note_outputs(self, told: Exception | None) -> None:
        """One log line per change, not per part."""
        if isinstance(told, Exception) and not self._outputs_failed:
            log.error("outputs failed: %s", _words(told))
        elif told is None and self._outputs_failed:
            log.info("outputs work again")
        self._outputs_failed = told is not None


def _attempt(step: Callable[[], T]) -> T | Exception:
    """The one place where any failure at all is caught, to become an ERROR verdict and never a missing one."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - see above
        return error


def _untold(judged: Inspection, failure: Exception) -> Inspection:
    """The verdict on a part of which the line could not be told."""
    detail = f"{_words(failure)} (the verdict was {judged.verdict}/{judged.reason})"
    return replace(judged, verdict=Verdict.ERROR, reason=Reason.OUTPUT_FAILED, detail=detail)


def _error(reason: Reason, detail: str) -> Decision:
    return Decision(Verdict.ERROR, reason, detail, ())


def _ms_since(start: float) -> float:
    return (time.monotonic() - start) * 1e3
