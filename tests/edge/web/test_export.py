"""The answered parts as a data set: `train check` takes it as it is."""

from __future__ import annotations

import argparse
import contextlib
import io
import zipfile
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from flask.testing import FlaskClient

from edge.core.types import Image
from edge.exchange.live import named, unnamed
from edge.history.pictures import picture_path
from edge.history.reviews import Draft, Opinion, Origin, ReviewStore
from edge.inference.bundle import Bundle
from edge.inference.preprocess import Crop
from edge.web.review.masks import drawn_mask
from edge.web.server import create_app
from edge.web.setup.region import WantedRegion, store_region
from tests.edge.web.standin import StandIn, encoded, part_image
from tests.system.disk import tmpfs
from train.config import add_options, config_from
from train.data.check import check_dataset

SIDE = 64


def picture(seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)


def answered(station: StandIn, part: int, seed: int, opinion: Opinion, label: str = "", mask: str = "") -> None:
    path = picture_path(station.config.images_dir, part, "frame")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(named(encoded(picture(seed)), part))
    with closing(ReviewStore(station.config.state_dir)) as store:
        store.add(Draft(part, "0" * 64, opinion, Origin.CHOSEN, "=cmd|Anna", label, mask), None)


def test_train_check_takes_the_answered_parts_as_they_are(
    station: StandIn, client: FlaskClient, tmp_path: Path
) -> None:
    assert client.get("/reviewed.zip").status_code == 404
    for part in range(1, 31):
        answered(station, part, part, Opinion.GOOD)
    answered(station, 31, 31, Opinion.BAD, "scratch", "[[1000,2500,5000,7500,5000]]")
    answered(station, 32, 32, Opinion.BAD)
    answered(station, 33, 33, Opinion.UNSURE)
    answered(station, 34, 32, Opinion.GOOD)  # the picture of a bad part, as a camera that repeats its files gives it
    picture_path(station.config.images_dir, 30, "frame").unlink()
    with client.get("/reviewed.zip") as sent:
        data = sent.data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "photos")
    report = check_dataset(tmp_path / "photos")
    assert report.problems == []
    rows = {(row.split, row.label): (row.images, row.masks) for row in report.rows}
    assert rows == {
        ("train", "good"): (24, 0), ("test", "good"): (5, 0), ("test", "scratch"): (1, 1), ("test", "defect"): (1, 0),
    }  # fmt: skip
    mask = cv2.imread(str(tmp_path / "photos/ground_truth/scratch/part000000031_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert (mask[32, 20], mask[10, 32], mask.shape) == (255, 0, (SIDE, SIDE))
    table = (tmp_path / "photos/answers.csv").read_text()
    assert len(table.splitlines()) == 32
    assert ",'=cmd|Anna," in table, "no spreadsheet computes a name"


def test_the_region_that_was_dragged_is_the_recipe_of_the_training(
    station: StandIn, client: FlaskClient, tmp_path: Path
) -> None:
    answered(station, 1, 1, Opinion.GOOD)
    region = WantedRegion(x=100, y=80, width=320, height=240)
    store_region(station.config, "default", region, (640, 480), "Anna")
    with client.get("/reviewed.zip") as sent, zipfile.ZipFile(io.BytesIO(sent.data)) as archive:
        archive.extractall(tmp_path)
    given = argparse.ArgumentParser()
    add_options(given)
    recipe = config_from(given.parse_args(["--config", str(tmp_path / "recipe.toml")]))
    assert recipe.crop == Crop(x=100, y=80, width=320, height=240)


def test_a_full_disk_keeps_nobody_from_exporting_and_loses_nothing(tmp_path: Path, tiny_bundle: Bundle) -> None:
    with tmpfs(tmp_path / "disk", "size=4m") as disk:
        station = StandIn(disk / "station", tiny_bundle)
        station.inspect(part_image())
        for part in range(1, 6):
            answered(station, part, part, Opinion.GOOD)
        station.health()
        with (disk / "full").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        client = create_app(station.config).test_client()
        for path in ("/reviewed.zip", "/history.csv", "/diagnostics.zip"):
            with client.get(path) as sent:
                assert sent.status_code == 200, (path, sent.text)
                assert not path.endswith(".zip") or zipfile.ZipFile(io.BytesIO(sent.data)).testzip() is None
        refused = client.post("/api/reviews", json={"part": 1, "opinion": "bad", "who": "Anna"})
        assert (refused.status_code, "disk" in refused.get_json()["error"]) == (503, True)
        (disk / "full").unlink()
        assert client.get("/api/reviews").get_json()["total"] == 5


def test_a_picture_without_its_name_is_what_it_was() -> None:
    jpeg = encoded(picture(1))
    assert unnamed(named(jpeg, 7)) == jpeg == unnamed(jpeg)


def test_a_tap_is_a_dot_and_no_mask_is_empty() -> None:
    assert not drawn_mask("", 40, 30).any()
    dot = drawn_mask("[[1000,5000,5000]]", 40, 30)
    assert dot[15, 20] == 255
    assert 4 <= (dot > 0).sum() <= 40
