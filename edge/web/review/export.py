"""The answered parts as a data set in MVTec layout, in a zip that is made while it is sent: nothing is written here."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator

import cv2
import numpy as np
from pydantic import ValidationError

from edge.config.station import DEFAULT_RECIPE
from edge.exchange.live import unnamed
from edge.history.csv_export import text_cell
from edge.history.reviews import Opinion, Review
from edge.web.review.masks import drawn_mask
from edge.web.setup.region import WantedRegion, read_region
from edge.web.station import Station

MOST_PARTS = 10_000
TEST_EVERY = 5  # of the good parts, each fifth is kept for the test: training measures on no picture that it learned
DEFECT = "defect"  # the folder of bad parts without a type
ANSWERS = "answers.csv"
RECIPE = "recipe.toml"  # for `train all --config`
HEADER = ("file", "part", "opinion", "origin", "label", "who", "at")


class _Pieces(io.RawIOBase):
    """What a zip writes, to be taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # whatever bytes-like a zip gives
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def zipped(station: Station, reviews: list[Review]) -> Iterator[bytes]:
    """Yield a zip of the last MOST_PARTS answered parts whose picture is stored; those nobody is sure of are left out.

    A picture that is there twice goes in once, and as a bad part where the answers differ: the demo's camera repeats
    its files, and a picture on both sides of a data set would make every figure a lie.
    """
    pieces, table, seen = _Pieces(), io.StringIO(), set[bytes]()
    lines = csv.writer(table)
    lines.writerow(HEADER)
    chosen = [review for review in reviews if review.opinion in {Opinion.BAD, Opinion.GOOD}][-MOST_PARTS:]
    goods = 0
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for review in sorted(chosen, key=lambda one: one.opinion is Opinion.GOOD):
            jpeg = _picture(station, review.part)
            if jpeg is None or (content := hashlib.sha256(unnamed(jpeg)).digest()) in seen:
                continue
            seen.add(content)
            goods += review.opinion is Opinion.GOOD
            place = _folder(review, goods)
            name = f"{place}/part{review.part:09d}"
            archive.writestr(f"{name}.jpg", jpeg)
            mask = _mask(review, jpeg)
            if mask:
                archive.writestr(f"{name.replace('test/', 'ground_truth/', 1)}_mask.png", mask)
            lines.writerow(_line(f"{name}.jpg", review))
            yield pieces.taken()
        archive.writestr(ANSWERS, table.getvalue())
        if region := _region(station):
            archive.writestr(RECIPE, f"{region}\n")
    yield pieces.taken()


def _region(station: Station) -> str:
    """Return the line with the region that somebody dragged for the recipe in use; empty where nobody did."""
    health = station.engine().health
    found = read_region(station.config, (health.recipe if health else None) or DEFAULT_RECIPE)
    try:
        return WantedRegion.model_validate(found).line if found else ""
    except ValidationError:
        return ""


def _folder(review: Review, goods: int) -> str:
    if review.opinion is Opinion.BAD:
        return f"test/{review.label or DEFECT}"
    return "test/good" if goods % TEST_EVERY == 0 else "train/good"


def _line(file: str, review: Review) -> list[object]:
    at = review.at.isoformat(timespec="seconds")
    return [file, review.part, review.opinion.value, review.origin.value, review.label, text_cell(review.who), at]


def _picture(station: Station, part: int) -> bytes | None:
    path = station.picture(part, "frame")
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None  # it made room for a newer one a moment ago


def _mask(review: Review, jpeg: bytes) -> bytes:
    """Return the mask as PNG bytes; empty where nobody drew one."""
    if not review.mask or review.opinion is not Opinion.BAD:
        return b""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return b""
    height, width = image.shape[:2]
    done, png = cv2.imencode(".png", drawn_mask(review.mask, width, height))
    return png.tobytes() if done else b""
