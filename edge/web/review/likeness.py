"""The good part that looks most like a part: of the bundle's references, or of the stored OK parts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from flask import url_for
from numpy.typing import NDArray

from edge.core.types import Inspection, Verdict
from edge.inference.bundle import Bundle, BundleError
from edge.inference.preprocess import ImageError, load_image
from edge.web.station import Station

AMONG = 48  # stored OK parts that are compared
WIDTH = 64  # pixels to which pictures are reduced before they are compared
SHAPE_WITHIN = 0.02  # share by which the heights of two such pictures may differ: a crop then shows the same place

Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Likeness:
    """A good picture to look at beside a part: a stored OK part, or a reference of the bundle."""

    part: int | None
    reference: int | None  # its place in the manifest
    difference: float  # mean grey levels, light and dark evened out


def nearest_good(station: Station, row: Inspection) -> Likeness | None:
    """Return the good picture that differs least from a part's; None when there is nothing to compare."""
    wanted = _thumbnail(station, row.id)
    if wanted is None:
        return None
    height, width = wanted.shape
    found = [
        Likeness(part, reference, float(np.abs(_even(grey, (height, width)) - _even(wanted, (height, width))).mean()))
        for part, reference, grey in (*_stored(station, row), *_references(station, row))
        if abs(grey.shape[0] - height) <= max(1.0, SHAPE_WITHIN * height)
    ]
    return min(found, key=lambda one: one.difference, default=None)


def reference_facts(station: Station, row: Inspection) -> dict[str, Any]:
    """Return the good picture to look at beside a part, as JSON types; `address` is None when there is none."""
    found = nearest_good(station, row)
    if found is None:
        return {"part": None, "address": None, "words": "There is no picture of a good part to compare with."}
    if found.part is not None:
        address = url_for("downloads.stored", inspection_id=found.part, kind="frame")
        return {"part": found.part, "address": address, "words": f"Good part {found.part}, the most alike"}
    digest = row.bundle.rpartition(" ")[2]
    address = url_for("downloads.reference", digest=digest, number=found.reference)
    return {"part": None, "address": address, "words": "A good part that the model was proven with"}


def good_references(bundle: Bundle) -> list[int]:
    """Return the places of those references that score as good parts do."""
    manifest = bundle.manifest
    return [at for at, one in enumerate(manifest.references) if one.score < manifest.threshold.value]


def _stored(station: Station, row: Inspection) -> Iterator[tuple[int | None, int | None, Grey]]:
    """Yield stored OK parts of the same bundle, those just before the part first, else those after it."""
    with station.history() as log:
        rows = log.recent(AMONG, row.id, Verdict.OK) if log else []
        rows += log.recent(AMONG - len(rows), None, Verdict.OK) if log and len(rows) < AMONG else []
    for one in rows:
        if one.bundle == row.bundle and one.id != row.id and (grey := _thumbnail(station, one.id)) is not None:
            yield one.id, None, grey


def _references(station: Station, row: Inspection) -> Iterator[tuple[int | None, int | None, Grey]]:
    bundle = running_bundle(station)
    if bundle is None or bundle.title != row.bundle:
        return
    for at in good_references(bundle):
        grey = _reference(bundle.file(bundle.manifest.references[at].file), bundle.digest)
        if grey is not None:
            yield None, at, grey


def running_bundle(station: Station) -> Bundle | None:
    """Return the bundle that the engine runs, or ran last; None when it cannot be read."""
    health = station.engine().health
    try:
        return None if health is None else station.bundle(health)
    except BundleError:
        return None  # there are the stored parts to compare with


def _thumbnail(station: Station, part: int) -> Grey | None:
    path = station.picture(part, "thumb")
    return None if path is None else _grey(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@lru_cache(maxsize=32)
def _reference(path: Path, _digest: str) -> Grey | None:
    try:
        return _grey(cv2.cvtColor(load_image(path), cv2.COLOR_BGR2GRAY))
    except ImageError:
        return None


def _grey(picture: object) -> Grey | None:
    """Return a picture WIDTH columns wide; None when there is none."""
    if not isinstance(picture, np.ndarray):
        return None
    height = max(1, round(WIDTH * picture.shape[0] / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA), np.float32)


def _even(grey: Grey, shape: tuple[int, int]) -> Grey:
    """Return a picture of this height and width with its mean taken off, so that light and dark count less."""
    sized = cv2.resize(grey, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(sized - sized.mean(), np.float32)
