"""Judge an uploaded image as the line would, without telling the line: prepare here, infer in the engine."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, cast

import cv2
import numpy as np
from flask import current_app

from edge.core.types import EdgeError, Image, Prediction, Reason, Region, Verdict, distance, finite, one_line
from edge.exchange.health import Health
from edge.exchange.requests import Answer
from edge.inference.bundle import Bundle
from edge.inference.decision import Decision, decide
from edge.inference.heatmap import overlay
from edge.inference.part import PartNotFoundError
from edge.inference.placement import on_frame
from edge.inference.placement.boxes import boxes_on_frame
from edge.inference.preprocess import (
    ImageError,
    ImageTooLargeError,
    InputSpec,
    RegionView,
    decode_image,
    prepare,
    view_of,
)
from edge.inference.usable import unusable
from edge.web.station import EngineState, Station
from edge.web.wording.verdicts import percent, verdict_words

ANSWER_WITHIN_S = 5.0
WAIT_FOR_TURN_S = 10.0
TURN = threading.Lock()  # of the whole process: a small file may be 64 megapixels once it is decoded
SHOWN_SIDE_PX = 1600  # the heatmap picture is for a screen; the model saw the whole image
STRANGE_SHARE = 0.5  # of the map
STRANGE = "Most of this picture is unlike a good part: it may show another product, or another view."


class TrialError(EdgeError):
    """An upload that was not judged; status is the HTTP status that says whose fault it is."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Trials:
    """Judges the uploads of one station, one at a time."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def inspect(self, data: bytes, name: str, heatmap: bool) -> dict[str, Any]:
        """Judge one encoded image; the answer is ready for JSON, with the heatmap as a JPEG data URL.

        Raises TrialError (400, 413, 415 or 503) and EdgeError, each with one line for a person.
        """
        health = self.running()
        with self.turn():
            start = time.perf_counter()
            bundle = self._station.bundle(health)
            spec = bundle.manifest.input
            image = _decode(data, name, spec)
            decode_ms = (time.perf_counter() - start) * 1e3
            if (refused := unusable(image)) is not None:
                return _refused(image, bundle, Reason.BAD_FRAME, refused, decode_ms)
            try:
                view = view_of(image, spec)
                tensor = prepare(image, spec, view)
            except PartNotFoundError as error:
                return _refused(image, bundle, Reason.PART_NOT_FOUND, one_line(error), decode_ms)
            except ImageError as error:
                raise TrialError(400, f"{name}: {one_line(error)}") from error
            prepare_ms = (time.perf_counter() - start) * 1e3 - decode_ms
            answer = self._station.requests.ask(tensor, ANSWER_WITHIN_S)
            if answer.bundle != bundle.title:
                raise TrialError(503, f"the engine has changed to bundle {answer.bundle}; send the image again")
            answer = _laid(answer, view, spec, image.shape)
            timings = {"decode": decode_ms, "prepare": prepare_ms, "infer": answer.infer_ms}
            decision = decide(_prediction(answer), answer.limits, view.box)
            facts = _facts(answer, decision) | _size(image)
            facts["heatmap"] = _heatmap_url(image, answer, view.box, decision) if heatmap else None
        timings["total"] = (time.perf_counter() - start) * 1e3
        return facts | {"timings_ms": _rounded(timings)}

    def running(self) -> Health:
        """Return the engine's state; raises TrialError unless it can judge."""
        engine = self._station.engine()
        if engine.health is None or not engine.alive:
            raise TrialError(503, "the engine is not running, so nothing can be judged; start the engine")
        if engine.state is EngineState.STARTING:
            raise TrialError(503, "the engine is still starting; try again in a few seconds")
        return engine.health

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the one place before the engine; raises TrialError when others hold it too long."""
        if not TURN.acquire(timeout=WAIT_FOR_TURN_S):
            raise TrialError(503, "other images are being judged; try again in a few seconds")
        try:
            yield
        finally:
            TURN.release()


def current_trials() -> Trials:
    """Return the trials of the application that handles this request."""
    return cast("Trials", current_app.extensions["linewatch_trials"])


def _rounded(timings: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in timings.items()}


def _decode(data: bytes, name: str, spec: InputSpec) -> Image:
    if not data:
        raise TrialError(400, f"{name}: the file is empty (0 bytes); take or export the image again")
    try:
        return decode_image(data, name, spec.bits)
    except ImageError as error:
        raise TrialError(413 if isinstance(error, ImageTooLargeError) else 415, one_line(error)) from error


def _size(image: Image) -> dict[str, Any]:
    return {"image": {"width": image.shape[1], "height": image.shape[0]}}


def _refused(image: Image, bundle: Bundle, reason: Reason, why: str, decode_ms: float) -> dict[str, Any]:
    """Return what is said of an upload that is refused as on the line, where the model does not see it either."""
    answer = Answer(math.nan, math.nan, bundle.manifest.limits, np.zeros((0, 0), np.float32), 0.0, bundle.title)
    timings = {"decode": decode_ms, "prepare": 0.0, "infer": 0.0, "total": decode_ms}
    facts = _facts(answer, Decision(Verdict.ERROR, reason, why, ())) | _size(image)
    return facts | {"heatmap": None, "timings_ms": _rounded(timings)}


def _prediction(answer: Answer) -> Prediction:
    chance, kind = answer.defect_probability, answer.defect_type
    return Prediction(answer.score, chance, answer.anomaly_map, 0.0, answer.infer_ms, kind, boxes=answer.boxes)


def _laid(answer: Answer, view: RegionView, spec: InputSpec, frame: tuple[int, ...]) -> Answer:
    """Return the answer with its map and its boxes laid on the picture; frame: shape of the picture."""
    found = boxes_on_frame(_prediction(answer), view, spec, frame)
    chance = answer.defect_probability if found.score == answer.score else math.nan  # it was of an ignored box
    return replace(
        answer,
        score=found.score,
        defect_probability=chance,
        defect_type=found.defect_type,
        boxes=found.boxes,
        anomaly_map=on_frame(answer.anomaly_map, view, spec, frame),
    )


def _facts(answer: Answer, decision: Decision) -> dict[str, Any]:
    """Return what is said of an upload, as JSON types; numbers that are not finite are null."""
    words, probability = verdict_words(decision.verdict, decision.reason, decision.regions), answer.defect_probability
    if decision.verdict is Verdict.NG and _is_strange(answer):
        words, probability = replace(words, what=STRANGE), math.nan  # what was learned from parts says nothing of this
    return {
        "trial": True,
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "words": words.facts(),
        "score": finite(answer.score),
        "threshold": finite(answer.limits.threshold),
        "typical": finite(answer.limits.typical),
        "distance": distance(answer.score, answer.limits.threshold, answer.limits.typical),
        "defect_probability": finite(probability),
        "probability_text": percent(finite(probability)),
        "regions": [asdict(region) for region in decision.regions],
        "bundle": answer.bundle,
    }


def _is_strange(answer: Answer) -> bool:
    """Say whether the picture is unlike a good part nearly everywhere, and not where a defect may be."""
    return answer.anomaly_map.size > 0 and float((answer.anomaly_map >= answer.limits.marking).mean()) > STRANGE_SHARE


def _heatmap_url(image: Image, answer: Answer, box: tuple[int, int, int, int], decision: Decision) -> str | None:
    """Return the overlay as a JPEG data URL, at most SHOWN_SIDE_PX wide and high."""
    boxes = None if answer.boxes is None else decision.regions
    if answer.anomaly_map.size == 0:
        return None
    scale = min(1.0, SHOWN_SIDE_PX / max(image.shape[:2]))
    if scale < 1.0:
        image = cast("Image", cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        height, width = image.shape[:2]
        x, y = round(box[0] * scale), round(box[1] * scale)
        box = (x, y, min(round(box[2] * scale), width - x), min(round(box[3] * scale), height - y))
        boxes = None if boxes is None else tuple(_shrunk(region, scale) for region in boxes)
    painted = overlay(image, answer.anomaly_map, answer.limits, box, decision.verdict, boxes)
    encoded, jpeg = cv2.imencode(".jpg", painted, [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not encoded:
        raise TrialError(503, "the heatmap could not be encoded; ask again with heatmap=0")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def _shrunk(region: Region, scale: float) -> Region:
    x, y, w, h = (round(side * scale) for side in (region.x, region.y, region.w, region.h))
    return replace(region, x=x, y=y, w=max(1, w), h=max(1, h))
