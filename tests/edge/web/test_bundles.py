"""The bundles page: what it shows, what it takes, and the wishes that it leaves. It judges and installs nothing."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from edge.exchange import ExchangeError
from edge.exchange.bundle_desk import (
    REPORT,
    UPLOAD,
    WISH,
    Act,
    Report,
    Wish,
    leave_wish,
    read_outcome,
    take_wish,
    wish_waits,
    write_outcome,
)
from edge.inference.bundle import DIGEST, MANIFEST, SIGNATURE, Bundle
from edge.web.server import create_app
from edge.web.setup import upload
from tests.edge.web.standin import StandIn

KEY = "0123456789abcdef"


@pytest.fixture
def started(station: StandIn) -> FlaskClient:
    station.config.state_dir.mkdir(parents=True, exist_ok=True)
    return create_app(station.config).test_client()


def piece(client: FlaskClient, at: int, size: int, data: bytes, key: str = KEY) -> tuple[int, dict[str, object]]:
    answer = client.post("/api/bundles/upload", query_string={"key": key, "at": at, "size": size}, data=data)
    return answer.status_code, answer.get_json()


def send(client: FlaskClient, data: bytes) -> None:
    assert piece(client, 0, len(data), data)[1] == {"at": len(data), "whole": True}


def test_a_file_in_pieces_arrives_as_it_was_sent(started: FlaskClient, station: StandIn) -> None:
    data = os.urandom(1000)
    assert piece(started, 0, 1000, data[:600])[1] == {"at": 600, "whole": False}
    assert not (station.config.state_dir / UPLOAD).exists()
    assert piece(started, 600, 1000, data[600:])[1] == {"at": 1000, "whole": True}
    assert (station.config.state_dir / UPLOAD).read_bytes() == data
    assert started.get("/api/bundles").get_json()["uploaded"] == 1000


def test_a_piece_that_comes_twice_is_taken_once(started: FlaskClient, station: StandIn) -> None:
    for at, data in ((0, b"aaa"), (0, b"aaa"), (3, b"bb"), (3, b"bb")):
        assert piece(started, at, 5, data)[0] == 200
    assert (station.config.state_dir / UPLOAD).read_bytes() == b"aaabb"


def test_two_people_who_send_at_once_never_mix_their_files(started: FlaskClient, station: StandIn) -> None:
    assert piece(started, 0, 4, b"aa")[0] == 200
    status, answer = piece(started, 0, 4, b"xx", key="f" * 16)
    assert status == 409
    assert "wait" in str(answer["error"])
    assert piece(started, 2, 4, b"xx", key="f" * 16)[0] == 409
    assert piece(started, 2, 4, b"aa")[0] == 200
    assert (station.config.state_dir / UPLOAD).read_bytes() == b"aaaa"


@pytest.mark.parametrize(("at", "size", "data"), [(2, 4, b"aa"), (0, 1, b"aa"), (0, 4, b"")])
def test_a_piece_out_of_place_is_refused_and_leaves_no_file(
    started: FlaskClient, station: StandIn, at: int, size: int, data: bytes
) -> None:
    assert piece(started, at, size, data)[0] == 409
    assert not (station.config.state_dir / UPLOAD).exists()


def test_a_disk_without_room_takes_no_upload(started: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs("/")
    usage = type("Usage", (), {"free": 10 * 10**6})
    monkeypatch.setattr(upload.shutil, "disk_usage", lambda _: usage)
    status, answer = piece(started, 0, 10**6, b"a")
    assert free.f_bsize
    assert status == 507
    assert "make room" in str(answer["error"])


def test_a_wish_holds_what_the_page_was_asked_and_no_path(started: FlaskClient, station: StandIn) -> None:
    facts = {"act": "shadow", "bundle": "washer-2", "parts": 7, "coming": True, "who": "Anna"}
    assert started.post("/api/bundles", json=facts).status_code == 200
    wish = take_wish(station.config.state_dir)
    assert wish is not None
    assert (wish.act, wish.bundle, wish.parts, wish.coming, wish.who) == (Act.SHADOW, "washer-2", 7, True, "Anna")
    assert not wish_waits(station.config.state_dir)


@pytest.mark.parametrize(
    "facts",
    [
        {"act": "activate", "bundle": "../../etc"},
        {"act": "activate", "bundle": "/etc/linewatch"},
        {"act": "activate", "bundle": ".hidden"},
        {"act": "activate"},
        {"act": "activate", "bundle": "washer-2", "recipe": "no such"},
        {"act": "shadow", "bundle": "washer-2", "parts": 0},
        {"act": "shadow", "bundle": "washer-2", "parts": 10**6},
        {"act": "format the disk"},
        {"act": "confirm", "who": ""},
    ],
    ids=str,
)
def test_what_cannot_be_wished_for_is_refused(started: FlaskClient, station: StandIn, facts: dict[str, object]) -> None:
    answer = started.post("/api/bundles", json={"who": "Anna", **facts})
    assert answer.status_code == 400
    assert "\n" not in answer.get_json()["error"]
    assert not wish_waits(station.config.state_dir)


def test_a_check_without_a_file_is_refused_at_once(started: FlaskClient) -> None:
    answer = started.post("/api/bundles", json={"act": "check", "who": "Anna"})
    assert answer.status_code == 409
    assert "choose" in answer.get_json()["error"]


def test_one_wish_waits_at_a_time_and_can_be_taken_back(started: FlaskClient, station: StandIn) -> None:
    first = started.post("/api/bundles", json={"act": "shadow", "bundle": "washer-2", "who": "Anna"})
    assert first.status_code == 200
    second = started.post("/api/bundles", json={"act": "confirm", "who": "Bert"})
    assert second.status_code == 409
    assert started.get("/api/bundles").get_json()["waits_s"] >= 0
    assert started.post("/api/bundles", json={"act": "stop", "who": "Bert"}).status_code == 200
    assert not wish_waits(station.config.state_dir)


def test_the_page_tells_what_the_judging_bundle_promises(started: FlaskClient, tiny_bundle: Bundle) -> None:
    facts = started.get("/api/bundles").get_json()
    (shown,) = [one for one in facts["bundles"] if one["title"] == tiny_bundle.title]
    assert shown["roles"] == [{"recipe": "default", "role": "judges"}]
    assert {one["label"] for one in shown["promise"]} >= {"Good parts rejected", "Self-test"}


def bundles_beside(station: StandIn, models: Path, judges: Path) -> list[dict[str, str]]:
    (models / "current").symlink_to(judges)
    station.config = station.config.model_copy(update={"bundle": models / "current"})
    found: list[dict[str, str]] = create_app(station.config).test_client().get("/api/bundles").get_json()["bundles"]
    return found


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        (MANIFEST, "manifest.sha256 is missing"),
        (DIGEST, "manifest.json is missing"),
        (SIGNATURE, "manifest.json is missing"),
    ],
)
def test_a_damaged_bundle_is_shown_with_its_fault(
    station: StandIn, tiny_bundle: Bundle, tmp_path: Path, file: str, fault: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / file).write_text("{}")
    (shown,) = bundles_beside(station, tmp_path, tiny_bundle.path)
    assert shown["folder"] == "broken"
    assert fault in shown["fault"]


def test_a_folder_that_is_no_bundle_is_not_shown(station: StandIn, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "01_good.jpg").write_bytes(b"a photo")
    assert bundles_beside(station, tmp_path, tiny_bundle.path) == []


def test_the_folder_of_a_recipe_is_shown_even_when_it_is_empty(station: StandIn, tmp_path: Path) -> None:
    (tmp_path / "emptied").mkdir()
    (shown,) = bundles_beside(station, tmp_path, tmp_path / "emptied")
    assert (shown["folder"], "manifest.json is missing" in shown["fault"]) == ("emptied", True)


def wish(**facts: object) -> Wish:
    return Wish.model_validate({"id": KEY, "act": "confirm", "who": "Anna", **facts})


def test_a_second_wish_never_takes_the_place_of_the_first(tmp_path: Path) -> None:
    leave_wish(tmp_path, wish(who="Anna"))
    with pytest.raises(ExchangeError, match="another wish"):
        leave_wish(tmp_path, wish(who="Bert"))
    taken = take_wish(tmp_path)
    assert taken is not None
    assert taken.who == "Anna"
    assert take_wish(tmp_path) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "noise", "long"])
def test_what_is_no_wish_is_removed_and_never_followed(tmp_path: Path, kind: str) -> None:
    secret, place = tmp_path / "secret", tmp_path / WISH
    secret.write_text(wish().model_dump_json())
    if kind == "link":
        place.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.write_bytes(b"\xff{" if kind == "noise" else b"{" * 10**6)
    with pytest.raises(ExchangeError, match="no wish"):
        take_wish(tmp_path)
    assert secret.exists()
    assert not wish_waits(tmp_path)


def outcome(**facts: object) -> Report:
    now = datetime.now(UTC)
    given = {"id": KEY, "act": "confirm", "who": "Anna", "bundle": None, "stage": "done", "since": now}
    return Report.model_validate({**given, "written_at": now, **facts})


@pytest.mark.parametrize("kind", ["link", "pipe", "long"])
def test_a_report_is_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    place, other = tmp_path / REPORT, tmp_path / "run"
    other.mkdir()
    write_outcome(other, outcome())
    if kind == "link":
        place.symlink_to(other / REPORT)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.write_bytes((other / REPORT).read_bytes() + b" " * 2**21)
    with pytest.raises(ExchangeError, match="cannot be read"):
        read_outcome(tmp_path)


def test_a_report_gives_its_rights_to_no_other_file(tmp_path: Path) -> None:
    """Root writes where another user can exchange the file by a link at any moment."""
    secret, place, link = tmp_path / "secret", tmp_path / REPORT, tmp_path / "link"
    secret.touch(0o600)
    written = threading.Event()

    def exchange() -> None:
        while not written.is_set():
            link.symlink_to(secret)
            link.replace(place)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        for _ in range(2000):
            write_outcome(tmp_path, outcome())
    finally:
        written.set()
        attacker.join()
    assert secret.stat().st_mode & 0o777 == 0o600


def test_everybody_reads_a_report(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        write_outcome(tmp_path, outcome())
    finally:
        os.umask(mask)
    assert (tmp_path / REPORT).stat().st_mode & 0o777 == 0o644
