"""The report's pictures: what the station would show of single parts, chosen to tell the most."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from edge.core.types import Image as Pixels
from edge.inference.decision import overlay
from edge.inference.detector import Detector
from edge.inference.preprocess import inspected_box, load_image
from train.data.dataset import GOOD, Sample, load_mask

PANELS = 6  # parts of each kind
WIDTH = 320  # pixels of each picture
MASK_COLOUR = (11, 86, 200)  # BGR
Entry = dict[str, Any]  # one of evaluate.json's images


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


def panels(detector: Detector, parts: Iterable[tuple[Sample, Entry]], threshold: float) -> str:
    """Photo, heatmap and mask of each part, side by side."""
    return f'<div class="panels">{"".join(_panel(detector, *part, threshold) for part in parts)}</div>'


def _panel(detector: Detector, sample: Sample, image: Entry, threshold: float) -> str:
    frame = load_image(sample.path)
    box = inspected_box(frame.shape, detector.spec)
    heat = overlay(frame, detector.predict(frame).anomaly_map, threshold, box)
    words = f"{image['file']}: score {image['score']:.4g}, {image['score'] / threshold:.2f} x the threshold"
    pictures = [("photo", frame), ("heatmap", heat)]
    if sample.mask is not None:
        pictures.append(("mask", _marked(frame, sample)))
    elif sample.label != GOOD:
        words += " (nobody drew a mask)"
    file = html.escape(image["file"])
    shown = "".join(f'<img src="{_jpeg(picture)}" alt="{what} of {file}">' for what, picture in pictures)
    return f'<figure><div class="trio">{shown}</div><figcaption>{html.escape(words)}</figcaption></figure>'


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


def _jpeg(picture: Pixels) -> str:
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    small = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
