from __future__ import annotations

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient

from edge.history.pictures import picture_path
from edge.web.views.downloads import SMALL_BYTES
from tests.edge.web.standin import StandIn, part_image


def shape(data: bytes) -> tuple[int, ...]:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape


def test_the_live_picture_comes_with_and_without_heatmap(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(defect=True))
    with client.get("/live.jpg") as heat, client.get("/live.jpg?raw=1") as raw:
        assert shape(heat.data) == shape(raw.data) == (480, 640, 3)
        assert heat.data != raw.data
        assert heat.content_type == "image/jpeg"
        assert "no-cache" in heat.headers["Cache-Control"]


def test_an_unchanged_live_picture_is_not_sent_twice(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(1))
    with client.get("/live.jpg") as first:
        tag = first.headers["ETag"]
    with client.get("/live.jpg", headers={"If-None-Match": tag}) as again:
        assert again.status_code == 304
    station.inspect(part_image(2, defect=True))
    with client.get("/live.jpg", headers={"If-None-Match": tag}) as changed:
        assert changed.status_code == 200


def test_no_live_picture_yet_is_404(client: FlaskClient) -> None:
    assert client.get("/live.jpg").status_code == 404


@pytest.mark.parametrize("kind", ["frame", "heat", "thumb"])
def test_a_browser_asks_whether_a_stored_picture_is_still_that_of_its_number(
    station: StandIn, client: FlaskClient, kind: str
) -> None:
    station.inspect(part_image())
    with client.get(f"/pictures/1/{kind}") as first:
        assert "no-cache" in first.headers["Cache-Control"]
        tag = {"If-None-Match": first.headers["ETag"]}
    with client.get(f"/pictures/1/{kind}", headers=tag) as again:
        assert again.status_code == 304
    station.config.events_db.unlink()
    station.last = None  # another history begins with the same number
    station.inspect(part_image(3, defect=True))
    with client.get(f"/pictures/1/{kind}", headers=tag) as other:
        assert other.status_code == 200


def test_a_large_picture_is_sent_as_a_small_one_is(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    path = picture_path(station.config.images_dir, 1, "frame")
    path.write_bytes(large := path.read_bytes() + bytes(SMALL_BYTES))  # what follows a JPEG's end is not drawn
    with client.get("/pictures/1/frame") as first:
        assert (first.status_code, first.content_type, first.data) == (200, "image/jpeg", large)
        tag = {"If-None-Match": first.headers["ETag"]}
    with client.get("/pictures/1/frame", headers=tag) as again:
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("kind", ["frame", "heat", "thumb"])
def test_stored_pictures_are_served_by_number_and_kind(station: StandIn, client: FlaskClient, kind: str) -> None:
    station.inspect(part_image())
    with client.get(f"/pictures/1/{kind}") as response:
        assert response.status_code == 200
        assert response.content_type == "image/jpeg"
        assert len(shape(response.data)) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/1/../../events.db",
        "/pictures/1/..%2f..%2fevents.db",
        "/pictures/..%2f..%2fevents.db/frame",
        "/pictures/1/frame.jpg",
        "/pictures/1/raw",
        "/pictures/-1/frame",
        "/pictures/2/frame",
        "/pictures/99999999999999999999999999999/frame",
        "/pictures/" + "9" * 400 + "/frame",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2fetc/passwd",
    ],
)
def test_no_address_leads_out_of_the_pictures(station: StandIn, client: FlaskClient, path: str) -> None:
    station.inspect(part_image())
    with client.get(path, follow_redirects=True) as response:
        assert response.status_code == 404
