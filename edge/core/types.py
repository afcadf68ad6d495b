"""The types that every room shares. They need only the standard library and numpy; units are in the names."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
AnomalyMap = NDArray[np.float32]
Bits = Literal[8, 10, 12, 14, 16]  # that a sample of a picture with 16 bits a sample uses
FULL: Bits = 16  # all of them, as bundles without a word about it were trained
ANOMALY = "anomaly"  # the label of a region where the bundle knows no types of defect


class EdgeError(Exception):
    """Root of every error of the device side; the message states the fact and the remedy on one line."""


def one_line(error: Exception, longest: int | None = None) -> str:
    """Return the words of an error on one line; the name of its class when it has none."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def finite(value: float | None) -> float | None:
    """Return the number, or None when it is NaN or infinite: JSON has neither."""
    return value if value is not None and math.isfinite(value) else None


class Verdict(StrEnum):
    """The answer to the line. Only OK releases a part."""

    OK = "OK"
    NG = "NG"
    ERROR = "ERROR"


class Reason(StrEnum):
    """The cause of a verdict: a closed list, stored with every row.

    Each has the number that a PLC's program knows: never change one, and give a new reason the next.
    """

    code: int

    SCORE = "score", 0  # the score was compared with the threshold (OK and NG)
    NO_FRAME = "no_frame", 1  # no frame newer than the trigger arrived in time
    BAD_FRAME = "bad_frame", 2  # the frame is not fit to be judged
    INFERENCE_FAILED = "inference_failed", 3  # the model raised, or answered something that is not a number
    LATE = "late", 4  # the verdict was found after the deadline
    OUTPUT_FAILED = "output_failed", 5  # the line could not be told
    SELF_TEST_FAILED = "self_test_failed", 6  # the bundle no longer reproduces its references on this CPU
    ENGINE_DIED = "engine_died", 7  # the id was given out, and the engine ended before its row was stored
    STALE_FRAME = "stale_frame", 8  # frames came, and none is proven to show what the trigger announced
    PART_NOT_FOUND = "part_not_found", 9  # the part that the bundle follows is not where it may be
    COMMISSIONING = "commissioning", 10  # an engineer sets the station up: nothing is judged for the line

    def __new__(cls, value: str, code: int = 255) -> Reason:  # a default, so that Reason("late") passes mypy
        reason = str.__new__(cls, value)
        reason._value_, reason.code = value, code
        return reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera image, with the time at which it was taken."""

    image: Image  # (H, W, 3) uint8 BGR
    seq: int  # counts up from 1 since the engine started
    captured_at: float  # monotonic seconds, taken after the read returned
    wall_time: datetime  # UTC
    fault: str = ""  # the cause why it must not be judged, e.g. that the camera repeats itself; empty when it may be
    exposed_after: float | None = None  # monotonic s: its exposure began at or after this; None: nothing is proven
    repeats: bool = False  # it shows what the frame before showed, whenever it came
    still: float | None = None  # share of the picture up to which a change is no new picture; None: repeats are fine


@dataclass(frozen=True, slots=True)
class Located:
    """A box that the model itself found. Pixels count from edges: 0 is the left or upper edge of the picture."""

    left: float
    top: float
    right: float
    bottom: float
    score: float  # in units of the part's score
    label: str  # type of defect


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of the model on one image; it decides nothing."""

    score: float  # raw, >= 0, higher is more anomalous
    defect_probability: float  # 0..1, a monotone function of score
    anomaly_map: AnomalyMap  # (h, w) float32 in units of score, covering the inspected crop
    prepare_ms: float
    infer_ms: float
    defect_type: str = ""  # the likeliest, if the part is defective; empty where the bundle knows no types
    box: tuple[int, int, int, int] | None = None  # x, y, width, height that the map covers, frame pixels
    boxes: tuple[Located, ...] | None = None  # the best first; None where the model locates by its map only
    class_map: AnomalyMap | None = None  # (h, w) float32 0..1, covers what the map covers; None: the model has none


@dataclass(frozen=True, slots=True)
class Limits:
    """The values that a prediction is compared with; all three are in units of score."""

    threshold: float  # the score from which a part is NG
    marking: float  # the map value that only a stated share of good pixels reaches: nothing below it is marked
    typical: float = 0.0  # the score of a typical good part

    def distance(self, score: float) -> float:
        """Return a score in units of the good parts' spread: 0 is a typical good part, 1 is the threshold."""
        return (score - self.typical) / (self.threshold - self.typical)


@dataclass(frozen=True, slots=True)
class Region:
    """A marked area or box of an NG part; the first one of a part holds the highest value of the map."""

    x: int  # frame pixels, left
    y: int  # frame pixels, top
    w: int
    h: int
    area_px: int  # frame pixels
    peak: float  # highest anomaly inside, in units of score
    label: str = ANOMALY


@dataclass(frozen=True, slots=True)
class Timings:
    """The milliseconds that one part spent in each stage; the total is from the trigger to the output being set."""

    grab_ms: float = 0.0  # from the trigger until a frame newer than it was there
    prepare_ms: float = 0.0
    infer_ms: float = 0.0
    decide_ms: float = 0.0
    output_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """The accountable record of one trigger: exactly one exists for each."""

    id: int  # the sequence number; counts up for ever, never reused
    at: datetime  # UTC, when the trigger was accepted
    trigger_id: str
    verdict: Verdict
    reason: Reason
    detail: str  # one line for a person; empty when the reason says it all
    score: float | None
    threshold: float | None
    defect_probability: float | None
    regions: tuple[Region, ...]
    bundle: str  # "name version digest12"
    timings: Timings
    bundle_digest: str = ""  # all 64 digits; empty where no bundle judged
    typical: float | None = None  # score of a typical good part; None in rows from before it was kept
    image: Image | None = field(default=None, repr=False, compare=False)  # (H, W, 3) uint8 BGR
    anomaly_map: AnomalyMap | None = field(default=None, repr=False, compare=False)
    class_map: AnomalyMap | None = field(default=None, repr=False, compare=False)
    box: tuple[int, int, int, int] | None = field(default=None, repr=False, compare=False)  # inspected, frame pixels
    limits: Limits | None = field(default=None, repr=False, compare=False)  # what the map was compared with

    @property
    def distance(self) -> float | None:
        """The score in units of the good parts' spread; None where nothing was compared."""
        return distance(self.score, self.threshold, self.typical)


def distance(score: float | None, threshold: float | None, typical: float | None) -> float | None:
    """Return how far a score is from a typical good part: 0 is a typical good part, 1 is the threshold.

    Where no typical score is known it counts as 0. The result is None unless all numbers are finite and the
    threshold is above the typical score.
    """
    if finite(score) is None or finite(threshold) is None or score is None or threshold is None:
        return None
    start = finite(typical) or 0.0
    return Limits(threshold, threshold, start).distance(score) if threshold > start else None
