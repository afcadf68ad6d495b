from __future__ import annotations

import base64
import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge.core.types import Image, Reason, Verdict
from edge.engine.judge import judge
from edge.exchange.health import State
from edge.exchange.requests import RequestServer
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle
from edge.inference.preprocess import MAX_FILE_BYTES
from edge.web.server import create_app
from edge.web.wording.verdicts import UNKNOWN
from tests.edge.engine.parts import Answering
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, encoded, part_image
from tests.tiny import LIMITS, THRESHOLD, bad_image, good_image


def post(client: FlaskClient, data: bytes, query: str = "") -> TestResponse:
    """Post one file as a program does; the body is built here because the client's own builder leaks its file."""
    head = b'--part\r\nContent-Disposition: form-data; name="image"; filename="part.png"\r\n\r\n'
    body = head + data + b"\r\n--part--\r\n"
    return client.post(f"/api/inspect{query}", data=body, content_type="multipart/form-data; boundary=part")


def decoded(url: str) -> Image:
    kind, _, content = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)


def huge_png(width: int, height: int) -> bytes:
    """A few bytes that claim to be width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_an_upload_gets_what_the_detector_says_of_the_same_image(station: StandIn, client: FlaskClient) -> None:
    station.start()
    image = bad_image()
    answer = post(client, encoded(image, ".png")).get_json()
    expected = station.detector.predict(image)
    assert answer["verdict"] == "NG"
    assert answer["reason"] == "score"
    assert answer["score"] == pytest.approx(expected.score)
    assert answer["threshold"] == THRESHOLD
    assert answer["distance"] == pytest.approx(answer["score"] / THRESHOLD)
    assert answer["defect_probability"] == pytest.approx(expected.defect_probability)
    assert answer["bundle"] == station.bundle.title
    assert len(answer["regions"]) == 1
    assert answer["timings_ms"]["total"] >= answer["timings_ms"]["infer"] > 0


def test_a_good_image_would_pass(station: StandIn, client: FlaskClient) -> None:
    station.start()
    answer = post(client, encoded(good_image(), ".png")).get_json()
    assert (answer["verdict"], answer["regions"]) == ("OK", [])


def test_the_heatmap_is_the_image_painted_and_can_be_left_out(station: StandIn, client: FlaskClient) -> None:
    station.start()
    data = encoded(part_image(defect=True), ".png")
    assert decoded(post(client, data).get_json()["heatmap"]).shape == (480, 640, 3)
    assert post(client, data, "?heatmap=0").get_json()["heatmap"] is None


def test_the_heatmap_of_a_large_image_fits_a_screen_while_regions_stay_in_its_pixels(
    station: StandIn, client: FlaskClient
) -> None:
    station.start()
    answer = post(client, encoded(bad_image(3200, 2400), ".jpg")).get_json()
    assert decoded(answer["heatmap"]).shape == (1200, 1600, 3)
    region = answer["regions"][0]
    assert (region["x"], region["y"], region["w"], region["h"]) == (800, 600, 800, 600)


def test_boxes_of_a_large_image_are_told_in_its_pixels_and_drawn(tmp_path: Path, tiny_box_bundle: Bundle) -> None:
    station = StandIn(tmp_path / "station", tiny_box_bundle, port=free_port())
    station.start()
    try:
        answer = post(create_app(station.config).test_client(), encoded(bad_image(3200, 2400), ".png")).get_json()
    finally:
        station.stop()
    assert (answer["verdict"], answer["threshold"]) == ("NG", 1.0)
    assert answer["words"]["what"] == "Defect found: bright, 4 marked areas."  # cells beside each other, a third alike
    assert {region["label"] for region in answer["regions"]} == {"bright"}
    region = answer["regions"][0]
    assert 600 <= region["x"] < region["x"] + region["w"] <= 1800
    drawn = decoded(answer["heatmap"]).astype(int)
    assert drawn[region["y"] // 2, region["x"] // 2 : (region["x"] + region["w"]) // 2].mean() > 200, "the box's line"


def _no_command(_: object) -> None:
    raise AssertionError("an upload is no command")


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_red_stays_red_on_the_way_to_the_model_and_back(station: StandIn, client: FlaskClient, suffix: str) -> None:
    seen: list[Image] = []
    server = RequestServer(station.config.run_dir)
    server.start()
    stop = threading.Event()

    def look(tensor: Image) -> Any:
        seen.append(tensor)
        return station.detector.predict_prepared(tensor)

    def engine() -> None:
        while not stop.is_set():
            server.serve_next(Answering(look, LIMITS, station.bundle.title), _no_command)
            stop.wait(0.01)

    station.health()
    thread = threading.Thread(target=engine)
    thread.start()
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 2] = 255  # OpenCV keeps blue first
    red[:8] = 0  # a picture of one colour shows nothing and reaches no model
    try:
        answer = post(client, encoded(red, suffix)).get_json()
    finally:
        stop.set()
        thread.join()
        server.stop()
    assert seen[0][0, 32, 32].tolist() == [255, 0, 0]  # the model takes red first
    blue, _, red_back = decoded(answer["heatmap"])[32, 10].tolist()
    assert red_back > blue + 60


def test_nothing_of_a_trial_is_stored_or_left_behind(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    station.start()
    before = {path for path in station.config.run_dir.iterdir() if path.suffix != ".tmp"}
    assert post(client, encoded(bad_image(), ".png")).status_code == 200
    log = EventLog(station.config.events_db, read_only=True)
    assert log.counts().total == 1
    log.close()
    assert {path for path in station.config.run_dir.iterdir() if path.suffix != ".tmp"} == before


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"hello, I am not an image", 415, "not a readable image"),
        (b"\xff\xd8\xff\xe0 cut off", 415, "not a readable image"),
        (huge_png(20_000, 20_000), 413, "megapixels"),
        (b"\x89PNG\r\n\x1a\n", 415, "not a readable image"),
    ],
    ids=["empty", "text", "truncated", "huge", "header only"],
)
def test_what_is_no_usable_image_is_refused_on_one_line(
    station: StandIn, client: FlaskClient, data: bytes, status: int, words: str
) -> None:
    station.start()
    response = post(client, data)
    assert response.status_code == status
    error = response.get_json()["error"]
    assert words in error
    assert "\n" not in error


def test_a_thumbnail_is_refused_in_plain_words(station: StandIn, client: FlaskClient) -> None:
    station.start()
    response = post(client, encoded(good_image(7, 7), ".png"))
    assert response.status_code == 400
    assert "7x7 pixels" in response.get_json()["error"]
    assert "not a thumbnail" in response.get_json()["error"]


def test_a_picture_unlike_a_good_part_all_over_gets_no_probability_and_says_so(
    station: StandIn, client: FlaskClient
) -> None:
    station.start()
    other = np.full((480, 640, 3), 250, np.uint8)
    other[:60] = good_image(640, 60)
    answer = post(client, encoded(other, ".png")).get_json()
    assert answer["verdict"] == "NG"
    assert "another product" in answer["words"]["what"]
    assert (answer["defect_probability"], answer["probability_text"]) == (None, UNKNOWN)


def test_an_upload_over_the_limit_is_413_in_json(station: StandIn, client: FlaskClient) -> None:
    station.start()
    response = post(client, bytes(MAX_FILE_BYTES + 64 * 1024))
    assert response.status_code == 413
    assert "64 MiB" in response.get_json()["error"]


@pytest.mark.parametrize("form", [{}, {"picture": (BytesIO(b"x"), "a.png")}, {"image": "a string"}])
def test_the_file_belongs_in_the_field_image(client: FlaskClient, form: dict[str, Any]) -> None:
    response = client.post("/api/inspect", data=form, content_type="multipart/form-data")
    assert response.status_code == 400
    assert response.get_json()["error"].startswith("image: ")


def test_a_bad_heatmap_parameter_is_named(client: FlaskClient) -> None:
    response = post(client, b"x", "?heatmap=yes")
    assert (response.status_code, response.get_json()["error"].split(":")[0]) == (400, "heatmap")


@pytest.mark.parametrize("state", [None, State.STARTING, State.STOPPED])
def test_without_a_running_engine_an_upload_is_503(station: StandIn, client: FlaskClient, state: State | None) -> None:
    if state:
        station.health(state)
    response = post(client, encoded(good_image(), ".png"))
    assert response.status_code == 503
    assert "engine" in response.get_json()["error"]


def test_an_engine_that_does_not_answer_is_503(
    station: StandIn, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.web.service.trial.ANSWER_WITHIN_S", 0.05)
    station.health()
    response = post(client, encoded(good_image(), ".png"))
    assert response.status_code == 503
    assert "did not answer" in response.get_json()["error"]
    assert {path.name for path in station.config.run_dir.iterdir()} == {"health.json", "metrics.prom"}


def test_a_bundle_that_cannot_be_opened_is_503_in_one_line(station: StandIn, client: FlaskClient) -> None:
    health = station.health()
    moved = health.model_copy(update={"bundle_path": str(station.config.run_dir / "gone")})
    (station.config.run_dir / "health.json").write_text(moved.model_dump_json())
    response = post(client, encoded(good_image(), ".png"))
    assert response.status_code == 503
    assert "no such bundle folder" in response.get_json()["error"]


def test_an_answer_by_another_bundle_is_not_mixed_with_this_one(station: StandIn, client: FlaskClient) -> None:
    health = station.health()
    station.start()
    station.stop()
    server = RequestServer(station.config.run_dir)
    server.start()
    done = threading.Event()

    def engine() -> None:
        while not done.is_set():
            done.wait(0.01)
            server.serve_next(Answering(station.detector.predict_prepared, LIMITS, "other 2 abc"), _no_command)

    thread = threading.Thread(target=engine)
    thread.start()
    try:
        (station.config.run_dir / "health.json").write_text(health.model_dump_json())
        response = post(client, encoded(good_image(), ".png"))
    finally:
        done.set()
        thread.join()
        server.stop()
    assert response.status_code == 503
    assert "other 2 abc" in response.get_json()["error"]


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 90, 90), (0, 0, 200)], ids=str)
def test_an_upload_that_shows_nothing_gets_the_verdict_of_the_line(
    station: StandIn, client: FlaskClient, colour: tuple[int, int, int]
) -> None:
    """Black, white, grey and red: the line refuses such a frame before the model sees it."""
    station.start()
    image = np.full_like(bad_image(), colour)
    answer = post(client, encoded(image, ".png")).get_json()
    on_the_line = judge(station.detector, LIMITS, image).decision
    assert (answer["verdict"], answer["reason"], answer["detail"]) == ("ERROR", "bad_frame", on_the_line.detail)
    assert (on_the_line.verdict, on_the_line.reason) == (Verdict.ERROR, Reason.BAD_FRAME)
    assert answer["score"] is answer["defect_probability"] is answer["heatmap"] is None
