"""The report's pictures: what the station would show of single parts, chosen to tell the most."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge.core.types import Image as Pixels
from edge.core.types import Limits, Verdict
from edge.inference.decision import decide
from edge.inference.detector import Detector
from edge.inference.heatmap import overlay
from edge.inference.usable import load_photo
from train.data.dataset import GOOD, Sample, load_mask
from train.measure.results import hottest_on
from train.run import progress

PANELS = 6  # parts of each kind
WIDTH = 320  # pixels of each picture
SHEET, TILE = 200, 200  # parts of a contact sheet, and the width in pixels of each of a part's two pictures
MASK_COLOUR = (11, 86, 200)  # BGR
Entry = dict[str, Any]  # one of evaluate.json's images


@dataclass(frozen=True, slots=True)
class Panel:
    """The pictures of one part, each with what it is and its data: URL, and what is to be said of the part."""

    file: str
    words: str
    pictures: tuple[tuple[str, str], ...]


def worst_escapes(images: Sequence[Entry], threshold: float) -> list[Entry]:
    """Defective parts judged OK, the lowest scores first."""
    found = [image for image in images if image["label"] != GOOD and image["score"] < threshold]
    return sorted(found, key=lambda image: image["score"])[:PANELS]


def worst_overkill(images: Sequence[Entry], threshold: float) -> list[Entry]:
    """Good parts judged NG, the highest scores first."""
    found = [image for image in images if image["label"] == GOOD and image["score"] >= threshold]
    return sorted(found, key=lambda image: -image["score"])[:PANELS]


def best_catches(images: Sequence[Entry], threshold: float) -> list[Entry]:
    """Defective parts judged NG, the highest scores first, but the best of each type before the second of any."""
    found = sorted(
        (image for image in images if image["label"] != GOOD and image["score"] >= threshold),
        key=lambda image: -image["score"],
    )
    rank: dict[str, int] = {}
    order = []
    for image in found:
        rank[image["label"]] = rank.get(image["label"], 0) + 1
        order.append((rank[image["label"]], -image["score"], image))
    return [image for _, _, image in sorted(order, key=lambda item: item[:2])][:PANELS]


def panels(detector: Detector, parts: Iterable[tuple[Sample, Entry]], limits: Limits) -> list[Panel]:
    """Return photo, heatmap and mask of each part, with the sentence that a worker would read."""
    return [_panel(detector, *part, limits) for part in parts]


def contact_sheet(detector: Detector, parts: Sequence[tuple[Sample, Entry]], limits: Limits) -> list[Panel]:
    """Return every defective part, small: the photo with its mask beside the heatmap; at most SHEET, spread evenly."""
    chosen = [parts[round(at)] for at in np.linspace(0, len(parts) - 1, min(SHEET, len(parts)))]
    tiles = []
    for sample, image in progress(chosen, "contact sheet"):
        frame, heat, words = _judged(detector, sample, image, limits)
        pair = np.hstack([small(_marked(frame, sample), TILE), small(heat, TILE)])
        tiles.append(Panel(image["file"], words, (("photo and heatmap", jpeg(pair)),)))
    return tiles


def _judged(detector: Detector, sample: Sample, image: Entry, limits: Limits) -> tuple[Pixels, Pixels, str]:
    """Return the photo, the photo with its heatmap, and the words that belong to them."""
    frame = load_photo(sample.path, detector.spec)
    prediction = detector.predict(frame)
    box = prediction.box or (0, 0, frame.shape[1], frame.shape[0])
    decision = decide(prediction, limits, box)
    words = f"{decision.verdict}, distance {limits.distance(image['score']):.2f}: {decision.words}"
    mask = None if sample.mask is None else load_mask(sample.mask, (frame.shape[0], frame.shape[1]))
    if mask is not None and decision.verdict is Verdict.NG:
        x, y, width, height = box
        hit = hottest_on(prediction.anomaly_map, mask[y : y + height, x : x + width])
        words += f" The hottest pixel {'lies on' if hit else 'misses'} the mask."
    boxes = None if prediction.boxes is None else decision.regions
    heat = overlay(frame, prediction.anomaly_map, limits, box, decision.verdict, boxes)
    return frame, heat, words


def _panel(detector: Detector, sample: Sample, image: Entry, limits: Limits) -> Panel:
    frame, heat, words = _judged(detector, sample, image, limits)
    pictures = [("photo", frame), ("heatmap", heat)]
    if sample.mask is not None:
        pictures.append(("mask", _marked(frame, sample)))
    elif sample.label != GOOD:
        words += " Nobody drew a mask."
    shown = tuple((what, jpeg(small(picture, WIDTH))) for what, picture in pictures)
    return Panel(image["file"], words, shown)


def _marked(frame: Pixels, sample: Sample) -> Pixels:
    """The photo with the mask's outline, and a light wash inside it."""
    if sample.mask is None:
        return frame
    mask = load_mask(sample.mask, (frame.shape[0], frame.shape[1]))
    marked = frame.copy()
    marked[mask] = (0.65 * marked[mask] + 0.35 * np.array(MASK_COLOUR)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(marked, outlines, -1, MASK_COLOUR, max(1, round(max(frame.shape) / 200)))
    return marked


def small(picture: Pixels, width: int) -> Pixels:
    """Return a picture of that width, its sides in the same proportion."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(picture: Pixels) -> str:
    """Return a picture as a data: URL."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
