"""A bundle comes through the page, is tried in shadow on the next parts of a real engine, judges, and gives way."""

import shutil
import threading
from pathlib import Path
from typing import Any

import cv2
import pytest
from flask.testing import FlaskClient

from edge.commands.bundle import activation, desk
from edge.config.load import load_config
from edge.exchange.bundle_desk import wish_waits
from edge.inference.bundle import Bundle
from edge.inference.release.archive import archive_path, write_archive
from edge.web.server import create_app
from tests.edge.engine.parts import wait_for
from tests.edge.engine.test_recipes import THRESHOLD_OF_NOTHING
from tests.edge.inference.release.signing import needs_root, released
from tests.system.station import Engine, Station
from tests.tiny import bad_image, good_image

PARTS = 12  # the camera shows a good, a bad and a doubtful part by turns, each for three triggers


def done(station: Station, page: FlaskClient, act: str, **facts: object) -> dict[str, Any]:
    """Wish on the page, carry the wish out beside the engine as systemd does, and return what the page reports."""
    answer = page.post("/api/bundles", json={"act": act, "who": "Anna", **facts})
    assert answer.status_code == 200, answer.get_json()
    worker = threading.Thread(target=desk.attend, args=(station.config,))
    worker.start()
    worker.join()
    assert not wish_waits(station.config.page_dir)
    report: dict[str, Any] = page.get("/api/bundles").get_json()["report"]
    assert (report["act"], report["stage"]) == (act, "done"), report
    return report


@needs_root
def test_an_uploaded_bundle_is_tried_on_the_next_parts_then_judges_and_gives_way(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (activation, desk):
        monkeypatch.setattr(module, "step_aside", lambda: None)  # this process goes on with other tests
    station = Station(tmp_path, tiny_bundle)
    station.file.write_text(station.file.read_text().replace(str(tiny_bundle.path), "models/current"))
    station.config = load_config(station.file)
    doubtful = cv2.addWeighted(good_image(), 0.4, bad_image(), 0.6, 0)
    cv2.imwrite(str(station.camera / "c_doubtful.png"), doubtful)
    old = released(tiny_bundle, tmp_path / "made", 1)
    lenient = released(tiny_bundle, tmp_path / "made", 2, threshold=THRESHOLD_OF_NOTHING)
    write_archive(lenient, archive_path(lenient.path))
    shutil.copytree(old.path, tmp_path / "models" / "old")
    (tmp_path / "models" / "current").symlink_to("old")
    page = create_app(station.config).test_client()
    with Engine(station, "--no-page") as engine:
        engine.ready()
        data = archive_path(lenient.path).read_bytes()
        sent = page.post(f"/api/bundles/upload?key={'0' * 16}&at=0&size={len(data)}", data=data)
        assert sent.get_json() == {"at": len(data), "whole": True}
        folder = done(station, page, "check")["bundle"]
        before = station.rows()[-1].id
        report = done(station, page, "shadow", bundle=folder, parts=PARTS, coming=True)
        assert (report["tried"], report["wanted"]) == (PARTS, PARTS)
        assert {(one["before"], one["now"]) for one in report["differences"]} == {("NG", "OK")}
        assert all(one["part"] > before for one in report["differences"]), "of the next parts, not of stored ones"
        assert {row.bundle for row in station.rows()} == {old.title}, "the line heard nothing of it"
        done(station, page, "activate", bundle=folder)
        wait_for(lambda: station.rows()[-1].bundle == lenient.title)
        done(station, page, "roll_back", reason="it lets bad parts pass")
        wait_for(lambda: station.rows()[-1].bundle == old.title)
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.id for row in rows] == list(range(1, len(rows) + 1)), "no part was left out"
