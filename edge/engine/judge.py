"""One image in, one judgement out, whatever happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from edge.core.types import Image, Limits, Prediction, Reason, Verdict, finite, one_line
from edge.inference.decision import Decision, decide
from edge.inference.part import PartNotFoundError
from edge.inference.preprocess import ImageError, InputSpec, inspected_box
from edge.inference.usable import unusable

T = TypeVar("T")

words = partial(one_line, longest=300)  # a detail is stored with its row


class Model(Protocol):
    """The part of edge.inference.detector.Detector that judging needs."""

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
        """The model's score."""
        return finite(self.prediction.score if self.prediction else None)

    @property
    def defect_probability(self) -> float | None:
        """The calibrated probability of a defect."""
        return finite(self.prediction.defect_probability if self.prediction else None)


def judge(model: Model, limits: Limits, image: Image, refusal: Callable[[Image], str | None] = unusable) -> Judgement:
    """Quality, inference, decision for an (H, W, 3) uint8 BGR image. Never raises: a failure is an ERROR verdict.

    refusal: why an image must not be judged, None when it may be.
    """

    def decided() -> Judgement:
        fault = refusal(image)
        if fault is not None:
            return no_verdict(Reason.BAD_FRAME, fault)
        prediction = model.predict(image)
        box = prediction.box or inspected_box(image.shape, model.spec)
        start = time.perf_counter()
        decision = decide(prediction, limits, box)
        return Judgement(decision, prediction, (time.perf_counter() - start) * 1e3, box)

    judged = attempt(decided)
    if isinstance(judged, PartNotFoundError):
        return no_verdict(Reason.PART_NOT_FOUND, words(judged))
    if isinstance(judged, ImageError):
        return no_verdict(Reason.BAD_FRAME, words(judged))
    if isinstance(judged, Exception):
        return no_verdict(Reason.INFERENCE_FAILED, words(judged))
    return judged


def no_verdict(reason: Reason, detail: str) -> Judgement:
    """Return the ERROR of a part that could not be judged."""
    return Judgement(Decision(Verdict.ERROR, reason, detail, ()))


def attempt(step: Callable[[], T]) -> T | Exception:
    """Return the step's result, or the failure, which becomes an ERROR verdict and never a missing one."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001 - the one place where any failure at all is caught
        return error
