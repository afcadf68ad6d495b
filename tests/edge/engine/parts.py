"""Parts that several device tests share: an inspection, a frame, a model whose answer is chosen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge.cameras.quality import FrameCheck
from edge.config.station import QualityConfig, StationConfig
from edge.core.types import Frame, Image, Inspection, Limits, Prediction, Reason, Region, Timings, Verdict
from edge.engine.recipes import Recipe
from edge.inference.bundle import Bundle, Manifest, Threshold
from edge.inference.preprocess import InputSpec
from tests.tiny import LIMITS, SIZE, THRESHOLD, good_image

SPEC = InputSpec(width=SIZE, height=SIZE)
BUNDLE = Bundle(
    Path("nowhere"),
    Manifest.model_construct(
        name="tiny",
        version="1",
        input=SPEC,
        threshold=Threshold.model_construct(value=THRESHOLD, alpha=0.01),
        marking=None,
        holdout_scores=(),
    ),
    "0123456789ab".ljust(64, "0"),
)


def inspection(number: int, image: Image | None = None, verdict: Verdict = Verdict.NG) -> Inspection:
    """A row as the inspector makes it; with an image, an anomaly map comes along."""
    return Inspection(
        id=number,
        at=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        trigger_id=f"t-{number}",
        verdict=verdict,
        reason=Reason.SCORE,
        detail="",
        score=THRESHOLD + number,
        threshold=THRESHOLD,
        limits=LIMITS,
        defect_probability=0.75,
        regions=(Region(1, 2, 3, 4, 12, 60.0),),
        bundle="tiny 1 0123456789ab",
        timings=Timings(1.0, 2.0, 3.0, 4.0, 5.0, 15.0),
        image=image,
        anomaly_map=None if image is None else np.full((8, 8), THRESHOLD + 1, np.float32),
    )


def wait_for(happened: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until happened() is true; the limit is only there so that a hang fails."""
    give_up = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.01)


def frame(captured_at: float | None = None, seq: int = 1, image: Image | None = None) -> Frame:
    at = time.monotonic() if captured_at is None else captured_at
    return Frame(good_image() if image is None else image, seq, at, datetime.now(UTC), exposed_after=at)


def prediction(score: float) -> Prediction:
    return Prediction(score, 0.5, np.full((8, 8), score, np.float32), 1.0, 2.0)


class ChosenModel:
    """Answers what it is told to; a shipped model cannot be made to fail on demand."""

    def __init__(self, answer: Callable[[Image], Prediction]) -> None:
        self.spec = SPEC
        self._answer = answer

    def predict(self, image: Image) -> Prediction:
        return self._answer(image)


def chosen_recipe(answer: Callable[[Image], Prediction]) -> Recipe:
    """A recipe whose model answers what it is told to."""
    return Recipe("default", BUNDLE, ChosenModel(answer), FrameCheck(None, QualityConfig()))  # type: ignore[arg-type]


@dataclass
class Answering:
    """Answers an upload as a recipe does."""

    predict_prepared: Callable[[Image], Prediction]
    limits: Limits = LIMITS
    title: str = "tiny 1 0"


def watching_station(folder: Path, bundle: Bundle) -> StationConfig:
    """A station with state and run folders below `folder`, and no outputs."""
    (folder / "state").mkdir()
    return StationConfig.model_validate(
        {
            "name": "Test",
            "bundle": bundle.path,
            "state_dir": folder / "state",
            "run_dir": folder / "run",
            "bundle_signatures": "optional",
            "camera": {"type": "folder", "path": folder},
            "trigger": {"type": "free_run", "rate_hz": 1},
        }
    )
