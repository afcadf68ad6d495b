"""What people say of parts: rejects that were seen, the queue, answers of two reviewers, and the page for it."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect

from edge.core.types import Inspection, Reason, Timings, Verdict
from edge.history.audit import AuditLog
from edge.history.eventlog import EventLog
from edge.history.pictures import picture_path
from edge.inference.bundle import Bundle
from edge.web.review.queue import SHARE, Queue, lot
from edge.web.station import Station
from tests.edge.web.conftest import CHROMIUM, free_port
from tests.edge.web.standin import StandIn, part_image
from tests.edge.web.test_browser import LOW_CONTRAST, SMALL_TARGETS, Visitor, scrolls_sideways
from tests.edge.web.test_server import page_process
from tests.tiny import THRESHOLD

needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed")


def fill(station: StandIn, scores: list[float], pictures: bool = True) -> None:
    """Store parts with these scores; each has pictures that are only there."""
    log = EventLog(station.config.events_db)
    first = log.last_id() + 1
    rows = [
        Inspection(
            number, datetime.now(UTC), f"t-{number}", Verdict.NG if score >= THRESHOLD else Verdict.OK, Reason.SCORE,
            "", score, THRESHOLD, 0.5, (), station.bundle.title, Timings(), station.bundle.digest, 0.0,
        )
        for number, score in enumerate(scores, start=first)
    ]  # fmt: skip
    log.append(*rows)
    log.close()
    station.last = rows[-1]
    if pictures:
        for row in rows:
            station._keep(row.id, {"frame": TINY, "thumb": TINY})


TINY = part_image()[::20, ::20].copy()


def rejects(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/status").get_json()["rejects"]
    return found


def say(client: FlaskClient, part: int, opinion: str, **more: object) -> Any:
    return client.post("/api/reviews", json={"part": part, "opinion": opinion, "who": "Anna", **more})


def test_the_newest_reject_is_held_until_somebody_has_seen_it(station: StandIn, client: FlaskClient) -> None:
    fill(station, [10, 60, 10, 70, 80, 10])
    station.fail(Reason.NO_FRAME, "no frame")
    station.health()
    found = rejects(client)
    assert ([row["id"] for row in found["last"]], found["held"], found["unseen"]) == ([7, 5, 4, 2], 7, 4)
    assert client.post("/api/seen", data={"part": 7}).status_code == 200
    assert (rejects(client)["held"], rejects(client)["unseen"]) == (5, 3)
    fill(station, [90])
    assert (rejects(client)["held"], rejects(client)["unseen"]) == (8, 4)
    assert client.post("/api/seen", data={"up_to": 5, "who": "Anna"}).status_code == 200
    assert (rejects(client)["held"], rejects(client)["unseen"]) == (8, 1)
    assert [row["seen"] for row in rejects(client)["last"]] == [False, True, True, True, True]


def test_a_reject_that_was_answered_was_seen(station: StandIn, client: FlaskClient) -> None:
    fill(station, [60, 70])
    station.health()
    say(client, 2, "bad")
    assert (rejects(client)["held"], rejects(client)["unseen"]) == (1, 1)


@pytest.mark.parametrize("given", [{}, {"part": 9}, {"part": "x"}, {"up_to": -5}, {"part": 1, "who": "x" * 81}])
def test_a_reject_that_is_none_is_not_seen(station: StandIn, client: FlaskClient, given: dict[str, object]) -> None:
    fill(station, [60])
    station.health()
    answer = client.post("/api/seen", json=given)
    assert answer.status_code in {400, 404}
    assert next(iter(given), "part") in answer.get_json()["error"] or answer.status_code == 404 or "who" in given
    assert rejects(client)["unseen"] == 1


def test_the_queue_begins_with_the_parts_nearest_to_the_limit_and_a_sample_that_no_score_decides(
    station: StandIn, client: FlaskClient
) -> None:
    scores = [float(10 + 37 * index % 83) for index in range(200)]
    fill(station, scores)
    station.health()
    queue = Queue(Station(station.config))
    name = EventLog(station.config.events_db, read_only=True).head().history
    drawn = sorted((part for part in range(1, 201) if lot(name, part) < SHARE), key=lambda part: lot(name, part))
    found = client.get("/api/reviews/queue?limit=12").get_json()["parts"]
    assert [part["origin"] for part in found] == ["limit", "sample"] * 6
    first = min(part for part in drawn if scores[part - 1] < THRESHOLD)  # none before the first OK
    assert [part["id"] for part in found[1::2]] == [part for part in drawn if part >= first][:6]
    near = [abs(part["score"] - THRESHOLD) for part in found[::2]]
    assert near == sorted(near)
    assert near[-1] <= 3
    assert not any(queue.is_sample(part["id"]) for part in found[::2])


def test_the_queue_says_how_many_of_how_many_parts_have_an_answer(station: StandIn, client: FlaskClient) -> None:
    scores = [float(10 + 37 * index % 83) for index in range(200)]
    fill(station, scores)
    station.health()
    picture_path(station.config.images_dir, 7, "frame").unlink()  # nobody can be asked about this one
    drawn = [part for part in range(1, 201) if part != 7 and Queue(Station(station.config)).is_sample(part)]
    first_good = next(part for part in drawn if scores[part - 1] < THRESHOLD)  # none before it
    found = client.get("/api/reviews/queue?limit=50").get_json()
    first = next(part for part in found["parts"] if part["origin"] == "sample")
    sampled = [part for part in drawn if part >= first_good]
    assert (found["answered"], found["sampled"], found["of_sample"]) == (0, 0, len(sampled))
    assert len(found["parts"]) < found["of"] <= 199
    assert say(client, first["id"], "good", origin="sample").status_code == 200
    later = client.get("/api/reviews/queue?limit=1").get_json()
    assert (later["answered"], later["sampled"]) == (1, 1)
    assert (later["of"], later["of_sample"]) == (found["of"], found["of_sample"])


def test_of_parts_whose_pictures_are_kept_now_and_then_the_rejected_ones_are_not_drawn_more_often(
    station: StandIn, client: FlaskClient
) -> None:
    storage = station.config.storage.model_copy(update={"ok_every": 10})
    queue = Queue(Station(station.config.model_copy(update={"storage": storage})))
    assert [part for part in range(1, 5000) if queue.is_sample(part) and part % 10] == []
    assert any(queue.is_sample(part) for part in range(1, 5000))


def test_the_sample_begins_where_pictures_of_good_parts_are_kept(station: StandIn, client: FlaskClient) -> None:
    fill(station, [60.0] * 100)
    station.health()
    origins = {part["origin"] for part in client.get("/api/reviews/queue?limit=50").get_json()["parts"]}
    assert origins == {"limit"}, "where only rejected parts have pictures, a sample would hold too many of them"


def test_an_answer_is_kept_with_who_when_and_why_it_was_asked(station: StandIn, client: FlaskClient) -> None:
    fill(station, [60])
    found = say(client, 1, "bad", label="Edge chip", mask=[[300, 10, 20, 30, 40]]).get_json()
    assert (found["who"], found["origin"], found["label"], found["mask"]) == ("Anna", "chosen", "edge_chip", True)
    assert client.get("/api/reviews").get_json() == {"reviews": [found], "total": 1}
    log = EventLog(station.config.events_db, read_only=True)
    assert log.verify().last_id == 1, "the chain knows nothing of it"
    log.close()


def test_of_two_reviewers_on_one_part_neither_is_lost(station: StandIn, client: FlaskClient) -> None:
    fill(station, [60])
    first = say(client, 1, "good", after=0).get_json()
    refused = say(client, 1, "bad", after=0, who="Bo")
    assert refused.status_code == 409
    assert "Anna answered good" in refused.get_json()["error"]
    assert refused.get_json()["review"] == first
    second = say(client, 1, "bad", after=first["number"], who="Bo").get_json()
    assert second["opinion"] == "bad"
    undone = say(client, 1, "none", after=second["number"]).get_json()
    assert client.get("/api/reviews").get_json()["total"] == 0
    assert undone["number"] == 3, "all three answers are kept"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"part": None}, "part"),
        ({"part": True}, "part"),
        ({"part": "--5"}, "part"),
        ({"part": 2**70}, "part"),
        ({"opinion": "nice"}, "opinion"),
        ({"opinion": ["bad"]}, "opinion"),
        ({"who": "  "}, "who"),
        ({"who": "x\u0000y"}, "who"),
        ({"origin": "sample"}, "origin"),
        ({"label": "../../etc"}, "label"),
        ({"label": "OK"}, "label"),
        ({"mask": [[1, 2]]}, "mask"),
        ({"mask": "{"}, "mask"),
        ({"mask": [[300, 10_001, 0]]}, "mask"),
        ({"mask": [[300, 1, 1] * 100]}, "mask"),
        ({"mask": [[300] + [1000, 1000] * 1300]}, "mask"),
    ],
)
def test_an_answer_that_is_none_is_named_and_nothing_is_stored(
    station: StandIn, client: FlaskClient, given: dict[str, object], name: str
) -> None:
    while not station.last or Queue(Station(station.config)).is_sample(station.last.id):
        fill(station, [60])
    answer = client.post("/api/reviews", json={"part": station.last.id, "opinion": "bad", "who": "Anna"} | given)
    assert (answer.status_code, answer.get_json()["error"].split(":")[0]) == (400, name)
    assert client.get("/api/reviews").get_json()["total"] == 0


def test_undo_lets_the_replaced_answer_count_again_with_its_mask_and_its_author(
    station: StandIn, client: FlaskClient
) -> None:
    fill(station, [60])
    anna = say(client, 1, "bad", label="scratch", mask=[[300, 1000, 1000, 5000, 5000]]).get_json()
    bo = say(client, 1, "good", who="Bo", after=anna["number"]).get_json()
    back = say(client, 1, "before", who="Bo", after=bo["number"]).get_json()
    assert back == anna | {"number": back["number"]}
    with zipfile.ZipFile(io.BytesIO(client.get("/reviewed.zip").data)) as archive:
        assert "ground_truth/scratch/part000000001_mask.png" in archive.namelist()
    with contextlib.closing(AuditLog(station.config.page_dir, read_only=True)) as audit:
        assert f"answer {bo['number']} taken back" in audit.recent(1)[0].deed.after


def test_undo_of_a_first_answer_leaves_none_and_an_overtaken_one_changes_nothing(
    station: StandIn, client: FlaskClient
) -> None:
    fill(station, [60])
    first = say(client, 1, "good").get_json()["number"]
    assert say(client, 1, "before").status_code == 400
    assert say(client, 1, "before", after=first).get_json()["opinion"] == "none"
    later = say(client, 1, "bad", who="Bo").get_json()
    refused = say(client, 1, "before", after=first)
    assert (refused.status_code, refused.get_json()["review"]) == (409, later)
    assert say(client, 1, "before", after=later["number"]).get_json()["opinion"] == "none", "none stood before"
    assert client.get("/api/reviews").get_json()["total"] == 0


def test_a_disk_that_takes_no_answer_is_said(station: StandIn, client: FlaskClient) -> None:
    fill(station, [60])
    (station.config.state_dir / "reviews.db").mkdir()
    answer = say(client, 1, "bad")
    assert answer.status_code == 503
    assert "nothing was changed" in answer.get_json()["error"]
    station.health()
    assert client.get("/api/status").get_json()["display"]["headline"] == "NG", "the verdict does not depend on it"


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    station = StandIn(tmp_path_factory.mktemp("reviews") / "station", tiny_bundle, port=free_port())
    for index in range(8):
        station.inspect(part_image(index, defect=index % 2 == 1))
    station.start()
    with page_process(station.config):
        yield station
    station.stop()


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_two_tablets_agree_on_what_was_seen(chromium: Browser, line: StandIn, width: int, height: int) -> None:
    line.inspect(part_image(3, defect=True))
    one, other = Visitor(chromium, line, width, height), Visitor(chromium, line)
    page, second = one.settled(), other.settled()
    expect(page.locator("#strip .reject")).to_have_count(min(6, line.counts["NG"]))
    held = page.locator("#held .onward").inner_text()
    assert held == second.locator("#held .onward").inner_text()
    count = int(page.locator("#waiting").inner_text().split()[0])
    line.inspect(part_image(2))
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert not scrolls_sideways(page)
    expect(page.locator("#held .onward")).to_have_text(held)
    page.get_by_role("button", name="Seen", exact=True).click()
    for tablet in (page, second):
        expect(tablet.locator("#waiting")).to_have_text(f"{count - 1} not seen")
        expect(tablet.locator("#held .onward")).not_to_have_text(held)
    assert one.complaints + other.complaints == []
    one.context.close()
    other.context.close()


@needs_chromium
def test_one_tap_answers_a_part_and_another_takes_it_back(chromium: Browser, line: StandIn) -> None:
    visitor = Visitor(chromium, line, 800, 1280)
    page = visitor.open("/review")
    part = page.locator("#review-part")
    expect(part).to_contain_text("Part ")
    first = part.inner_text()
    page.click("[data-opinion=good]")
    expect(page.locator("#problem")).to_contain_text("Type your name")
    page.fill("#who", "Anna")
    page.click("#draw")
    box = page.locator("#mask").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert not scrolls_sideways(page)
    page.fill("#label", "scratch")
    page.click("[data-opinion=bad]")
    expect(part).not_to_have_text(first)
    expect(page.locator("#undo-words")).to_have_text(f"{first.split(':')[0]}: really bad.")
    page.click("#undo")
    expect(part).to_have_text(first)
    page.goto(f"{visitor.url}/inspections/1")
    page.get_by_text("Say what this part really was").click()
    expect(page.locator("#review-why")).to_contain_text("picked by hand")
    with page.expect_response("**/api/reviews") as answered:
        page.click("[data-opinion=good]")
    assert (answered.value.json()["opinion"], answered.value.json()["origin"]) == ("good", "chosen")
    expect(page.locator("#progress")).to_contain_text(re.compile(r"^1 of \d+ parts answered"))
    assert visitor.complaints == []
    visitor.context.close()


@needs_chromium
def test_an_answer_that_another_was_faster_with_is_shown_and_can_be_given_again(
    chromium: Browser, line: StandIn
) -> None:
    visitor = Visitor(chromium, line)
    page = visitor.open("/review")
    part = page.locator("#review-part")
    expect(part).to_contain_text("Part ")
    words, number = part.inner_text(), int(part.inner_text().split()[1].rstrip(":"))
    page.fill("#who", "Bo")
    told = {"part": number, "opinion": "unsure", "who": "Anna"}
    assert page.request.post(f"{visitor.url}/api/reviews", form=told, headers=token(page)).ok
    page.click("[data-opinion=bad]")
    expect(page.locator("#problem")).to_contain_text("Anna answered unsure")
    expect(part).to_have_text(words)
    expect(page.locator("#review-earlier")).to_have_text("Anna said: not sure")
    page.click("[data-opinion=bad]")
    expect(part).not_to_have_text(words)
    page.route("**/api/reviews", lambda route: route.abort())
    words = part.inner_text()
    page.click("[data-opinion=good]")
    expect(page.locator("#problem")).to_contain_text("nothing is lost, tap again")
    expect(part).to_have_text(words)
    visitor.context.close()


def token(page: Any) -> dict[str, str]:
    return {"X-CSRF-Token": page.locator("meta[name=csrf-token]").get_attribute("content")}
