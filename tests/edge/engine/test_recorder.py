import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge.engine.recorder
from edge.config.station import StorageConfig
from edge.core.types import Image, Inspection, Region, Verdict
from edge.core.worker import WorkerError
from edge.engine.drift import DriftWatch
from edge.engine.recorder import MAX_PICTURES, THUMB_WIDTH, Recorder
from edge.exchange.health import LATEST, LATEST_RAW
from edge.exchange.live import read_live
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.pictures import PictureStore, picture_path
from edge.inference.bundle import Bundle
from edge.inference.heatmap import class_overlay, overlay
from edge.inference.preprocess import load_image
from tests.edge.engine.parts import BUNDLE, inspection, wait_for
from tests.tiny import LIMITS, bad_image

JPEGS = ("frame", "heat", "thumb")


class Station:
    def __init__(self, folder: Path) -> None:
        self.images, self.run = folder / "images", folder / "run"
        self.run.mkdir()
        self.events = EventLog(folder / "events.db")
        self.recorder = Recorder(self.events, self.images, self.run, StorageConfig())

    def pictures(self) -> set[str]:
        return {p.name for p in self.images.rglob("*") if p.is_file()}


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.events.close()


def test_a_row_and_its_pictures_are_stored(station: Station) -> None:
    station.recorder.start()
    station.recorder.put(inspection(7, bad_image()), BUNDLE)
    station.recorder.stop()
    assert [row.id for row in station.events.recent(10)] == [7]
    assert station.pictures() == {"000000007_input.png", *(f"000000007_{kind}.jpg" for kind in JPEGS)}
    thumb = load_image(picture_path(station.images, 7, "thumb"))
    assert thumb.shape == (120, THUMB_WIDTH, 3)
    assert (station.run / LATEST).read_bytes() == picture_path(station.images, 7, "heat").read_bytes()
    assert (station.run / LATEST_RAW).read_bytes() == picture_path(station.images, 7, "frame").read_bytes()


def test_the_heat_picture_is_the_overlay_and_the_frame_is_untouched(station: Station) -> None:
    part = inspection(1, bad_image())
    station.recorder.start()
    station.recorder.put(part, BUNDLE)
    station.recorder.stop()
    assert part.anomaly_map is not None
    painted = overlay(bad_image(), part.anomaly_map, LIMITS, (0, 0, 128, 96), part.verdict)
    for kind, wanted in (("heat", painted), ("frame", bad_image())):
        stored = load_image(picture_path(station.images, 1, kind)).astype(int)
        other = painted if kind == "frame" else bad_image()
        assert np.abs(stored - wanted).mean() < np.abs(stored - other.astype(int)).mean() / 2


def test_a_class_map_is_stored_as_a_second_overlay_and_goes_with_the_other_pictures(station: Station) -> None:
    said = np.zeros((24, 32), np.float32)
    said[6:12, 8:16] = 1.0
    station.recorder.start()
    station.recorder.put(replace(inspection(1, bad_image()), class_map=said), BUNDLE)
    station.recorder.stop()
    assert "000000001_class.jpg" in station.pictures()
    stored = load_image(picture_path(station.images, 1, "class")).astype(int)[24:48, 32:64]  # where the map is 1
    painted = class_overlay(bad_image(), said, (0, 0, 128, 96))[24:48, 32:64]
    assert np.abs(stored - painted).mean() < np.abs(stored - bad_image()[24:48, 32:64].astype(int)).mean() / 2
    store = PictureStore(station.images, 1_000_000_000)
    store.take_stock(lambda ids: set())
    assert store.bytes == sum(path.stat().st_size for path in station.images.rglob("*.*"))
    assert store.remove_oldest()
    assert station.pictures() == set()


def test_the_heat_picture_of_a_bundle_with_boxes_shows_them(station: Station, tiny_box_bundle: Bundle) -> None:
    part = replace(inspection(1, bad_image()), regions=(Region(20, 30, 50, 40, 2000, 60.0, "spur"),))
    station.recorder.start()
    station.recorder.put(part, tiny_box_bundle)
    station.recorder.stop()
    assert part.anomaly_map is not None
    painted = overlay(bad_image(), part.anomaly_map, LIMITS, (0, 0, 128, 96), part.verdict, part.regions)
    outlined = overlay(bad_image(), part.anomaly_map, LIMITS, (0, 0, 128, 96), part.verdict)
    stored = load_image(picture_path(station.images, 1, "heat")).astype(int)
    assert np.abs(stored - painted).mean() < np.abs(stored - outlined.astype(int)).mean() / 2
    assert [region.label for region in station.events.recent(1)[0].regions] == ["spur"]


def test_colours_are_stored_as_they_were_seen(station: Station) -> None:
    red = np.full((96, 128, 3), (20, 20, 220), np.uint8)
    station.recorder.start()
    station.recorder.put(inspection(1, red), BUNDLE)
    station.recorder.stop()
    blue, _, reddish = load_image(station.run / LATEST_RAW)[48, 64]
    assert reddish > 200
    assert blue < 40


def test_a_part_without_a_frame_has_a_row_and_no_pictures(station: Station) -> None:
    station.recorder.start()
    station.recorder.put(inspection(1), BUNDLE)
    station.recorder.stop()
    assert station.events.last_id() == 1
    assert station.pictures() == set()
    assert not (station.run / LATEST).exists()


def test_a_frame_that_was_not_judged_has_no_heat_picture_but_is_shown(station: Station) -> None:
    station.recorder.start()
    station.recorder.put(replace(inspection(1, bad_image()), anomaly_map=None), BUNDLE)
    station.recorder.stop()
    assert station.pictures() == {"000000001_frame.jpg", "000000001_input.png", "000000001_thumb.jpg"}
    assert (station.run / LATEST).exists()


def test_a_map_that_is_no_number_does_not_stop_the_recorder(station: Station) -> None:
    station.recorder.start()
    station.recorder.put(replace(inspection(1, bad_image()), anomaly_map=np.full((8, 8), np.nan, np.float32)), BUNDLE)
    station.recorder.stop()
    station.events.recent(1)
    assert "000000001_heat.jpg" in station.pictures()


def test_a_slow_disk_costs_pictures_and_never_rows(station: Station) -> None:
    """Everything waits before the thread starts, as when the disk hangs."""
    extra = 5
    for number in range(1, MAX_PICTURES + extra + 1):
        station.recorder.put(inspection(number, bad_image()), BUNDLE)
    assert station.recorder.images_dropped == extra
    station.recorder.start()
    station.recorder.stop()
    assert station.events.counts().total == MAX_PICTURES + extra
    assert len(station.pictures()) == MAX_PICTURES * (len(JPEGS) + 1)


def test_room_for_pictures_comes_back_when_they_are_stored(station: Station) -> None:
    station.recorder.start()
    for number in range(1, 3 * MAX_PICTURES):
        station.recorder.put(inspection(number, bad_image()), BUNDLE)
        wait_for(lambda: f"{number:09d}_thumb.jpg" in station.pictures())  # noqa: B023
    station.recorder.stop()
    assert station.recorder.images_dropped == 0


@pytest.mark.parametrize("latest_s", [0.05, 3600.0])
def test_a_picture_that_nobody_keeps_is_made_at_most_so_often_and_the_last_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, latest_s: float
) -> None:
    made: list[int] = []

    def noting(inspection: Inspection, image: Image, boxed: bool) -> dict[str, bytes]:
        made.append(inspection.id)
        return pictures_of(inspection, image, boxed)

    pictures_of = edge.engine.recorder._pictures
    monkeypatch.setattr("edge.engine.recorder._pictures", noting)
    monkeypatch.setattr("edge.engine.recorder.LATEST_S", latest_s)
    events = EventLog(tmp_path / "events.db")
    recorder = Recorder(events, tmp_path / "images", tmp_path, StorageConfig(ok_every=7))
    recorder.start()
    for number in range(1, 31):
        recorder.put(inspection(number, bad_image(), Verdict.OK), BUNDLE)
        wait_for(lambda: made and recorder.waiting() == 0)
    if latest_s < 1:
        wait_for(lambda: made[-1] == 30)  # nothing comes after it, and the recorder still runs
    recorder.stop()
    if latest_s > 1:
        assert made == [1, 7, 14, 21, 28, 30]
    assert (recorder.images_dropped, events.counts().total) == (0, 30), "that is the policy, nothing was lost"
    assert {int(path.name[:9]) for path in (tmp_path / "images").rglob("*.jpg")} == {7, 14, 21, 28}
    events.close()


def test_stop_stores_all_that_waits(station: Station) -> None:
    station.recorder.start()
    for number in range(1, 101):
        station.recorder.put(inspection(number), BUNDLE)
    station.recorder.stop()
    assert station.events.last_id() == 100
    assert station.events.counts().total == 100


def test_pictures_that_cannot_be_stored_are_counted_and_rows_go_on(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    station.images.write_text("a file where the folder should be")
    station.recorder.start()
    for number in range(1, 4):
        station.recorder.put(inspection(number, bad_image()), BUNDLE)
    station.recorder.stop()
    assert station.events.counts().total == 3
    assert station.recorder.images_dropped == 3
    assert len([r for r in caplog.records if "cannot be stored" in r.message]) == 1


def test_a_history_that_cannot_be_written_ends_the_thread(station: Station) -> None:
    station.recorder.start()
    station.recorder.put(inspection(1), BUNDLE)
    station.recorder.put(inspection(1), BUNDLE)  # the same id again
    station.recorder.worker.join(30)
    with pytest.raises(WorkerError, match=r"thread recorder died .*history"):
        station.recorder.worker.check()


def test_drift_is_told_of_the_bundle_that_judges_and_of_no_other(tmp_path: Path, tiny_bundle: Bundle) -> None:
    events = EventLog(tmp_path / "events.db")
    watch = DriftWatch(BUNDLE, events, tmp_path)
    recorder = Recorder(events, tmp_path / "images", tmp_path, StorageConfig(), watch)
    recorder.start()
    assert recorder.drift(BUNDLE) == watch.report(), "before the first part too: an alarm outlives a restart"
    assert recorder.drift(tiny_bundle) is None
    recorder.put(inspection(1), tiny_bundle)
    wait_for(lambda: recorder.drift(tiny_bundle))
    assert recorder.drift(BUNDLE) is None
    recorder.stop()
    events.close()


def test_rows_are_stored_in_the_order_of_parts(station: Station) -> None:
    stored: list[int] = []

    class Noting(EventLog):
        def append(self, *inspections: Inspection) -> None:
            stored.extend(inspection.id for inspection in inspections)
            super().append(*inspections)

    events = Noting(station.run / "other.db")
    recorder = Recorder(events, station.images, station.run, StorageConfig())
    for number in range(1, 21):
        recorder.put(inspection(number, bad_image() if number % 2 else None), BUNDLE)
    recorder.start()
    recorder.stop()
    events.close()
    assert stored == list(range(1, 21))


def test_event_log_error_is_an_edge_error_with_the_file(station: Station) -> None:
    station.events.append(inspection(1))
    with pytest.raises(HistoryError, match=r"events\.db"):
        station.events.append(inspection(1))


def test_what_the_camera_sees_is_shown_without_a_part_and_not_kept(station: Station) -> None:
    station.recorder.start()
    station.recorder.put(inspection(7, bad_image()), BUNDLE)
    wait_for(lambda: (station.run / LATEST).exists())
    shown = read_live(station.run / LATEST)
    assert shown is not None
    assert shown.part == 7
    station.recorder.show_view(bad_image())
    station.recorder.stop()
    view = read_live(station.run / LATEST)
    assert view is not None
    assert view.part is None
    assert {name[:9] for name in station.pictures()} == {"000000007"}
    assert station.events.counts().total == 1


@pytest.mark.parametrize("shape", [(60_000, 2), (2, 60_000), (66_000, 1), (1, 66_000), (1, 1)])
@pytest.mark.parametrize("judged", [True, False])
def test_a_frame_of_odd_size_costs_its_pictures_at_most(station: Station, shape: tuple[int, int], judged: bool) -> None:
    odd = inspection(1, np.full((*shape, 3), 90, np.uint8))
    odd = replace(odd, box=None) if judged else replace(odd, box=None, anomaly_map=None, score=None)
    station.recorder.start()
    station.recorder.put(odd, BUNDLE)
    wait_for(lambda: station.recorder._waiting_pictures == 0)
    told = station.recorder.storage_fault
    dropped = station.recorder.images_dropped
    station.recorder.put(inspection(2, bad_image()), BUNDLE)
    station.recorder.stop()
    station.recorder.worker.join(60)
    assert station.events.last_id() == 2
    assert "000000002_frame.jpg" in station.pictures()
    assert (told is not None) == (dropped == 1) == ("000000001_frame.jpg" not in station.pictures())
    if told:
        assert f"part 1: no picture can be made of its frame of {shape[1]} x {shape[0]} pixels" in told


def test_rows_wait_while_another_process_holds_the_lock_and_are_stored_after(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    station.events.reserve(32)
    station.recorder.start()
    with closing(sqlite3.connect(station.events.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        station.recorder.put(inspection(1), BUNDLE)
        wait_for(lambda: "locked" in (station.recorder.storage_fault or ""))
        station.recorder.worker.check()
    wait_for(lambda: station.recorder.waiting() == 0)
    station.recorder.stop()
    assert station.events.last_id() == 1
    assert station.recorder.storage_fault is None
    assert "rows wait" in caplog.text


def test_a_lock_that_is_never_let_go_does_not_keep_the_stop_waiting(
    station: Station, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.engine.recorder.STORE_WITHIN_S", 0.2)
    station.events.reserve(32)
    station.recorder.start()
    with closing(sqlite3.connect(station.events.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in (1, 2, 3):
            station.recorder.put(inspection(number), BUNDLE)
        station.recorder.stop()
        assert station.recorder.waiting() == 3
    assert "3 rows are not stored; the next start gives their ids ERROR/engine_died" in caplog.text
    station.recorder.worker.join(60)


def test_pictures_of_ok_parts_that_find_no_place_are_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    station = Station(tmp_path / "run")
    monkeypatch.setattr(station.recorder._shelf, "add", lambda _number, _pictures, ok: not ok)
    station.recorder.start()
    for number, verdict in enumerate((Verdict.NG, Verdict.OK, Verdict.OK), start=1):
        station.recorder.put(inspection(number, bad_image(), verdict), BUNDLE)
        wait_for(lambda: station.recorder._waiting_pictures == 0)
    station.recorder.stop()
    assert station.recorder.images_dropped == 2
    assert caplog.text.count("pictures of OK parts are kept no more") == 1
    station.events.close()
