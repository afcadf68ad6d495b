"""The recorder thread: rows into the history, pictures beside it, never in the way of a verdict."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge.decision import overlay
from edge.eventlog import EventLog
from edge.files import picture_path, write_atomically
from edge.health import LATEST, LATEST_RAW
from edge.preprocess import InputSpec, inspected_box
from edge.types import Image, Inspection
from edge.worker import Worker

THREAD = "recorder"
MAX_PICTURES = 8  # frames waiting to be stored; each holds its frame in memory
KINDS = ("frame", "heat", "thumb")
THUMB_WIDTH = 160
JPEG_QUALITY = 90

log = logging.getLogger(__name__)


class Recorder:
    """Takes inspections from the main loop. Rows are never dropped; pictures may be, and are counted."""

    def __init__(self, events: EventLog, spec: InputSpec, images_dir: Path, run_dir: Path, max_bytes: int) -> None:
        """spec: the bundle's input, for the place of the heatmap; max_bytes: what images_dir may hold."""
        self.worker = Worker(THREAD, self._run)
        self.images_dropped = 0
        self._events = events
        self._spec = spec
        self._run_dir = run_dir
        self._shelf = PictureShelf(images_dir, max_bytes)
        self._queue: queue.SimpleQueue[Inspection | None] = queue.SimpleQueue()
        self._waiting_pictures = 0
        self._counting = threading.Lock()
        self._storing = True

    def start(self) -> None:
        self.worker.start()

    def put(self, inspection: Inspection) -> None:
        """Hand one inspection over; never waits for the disk."""
        if inspection.image is not None:
            with self._counting:
                if self._waiting_pictures >= MAX_PICTURES:
                    self.images_dropped += 1
                    inspection = replace(inspection, image=None, anomaly_map=None)
                else:
                    self._waiting_pictures += 1
        self._queue.put(inspection)

    def waiting(self) -> int:
        """Rows that are not yet in the history."""
        return self._queue.qsize()

    def stop(self) -> None:
        """Store what waits, then end the thread."""
        self._queue.put(None)
        self.worker.join()

    def _run(self) -> None:
        self._shelf.take_stock()
        while (inspection := self._queue.get()) is not None:
            self._events.append(inspection)
            if inspection.image is not None:
                self._store_pictures(inspection, inspection.image)
                with self._counting:
                    self._waiting_pictures -= 1

    def _store_pictures(self, inspection: Inspection, image: Image) -> None:
        """A full or broken disk costs pictures before it costs rows."""
        try:
            pictures = self._pictures(inspection, image)
            write_atomically(self._run_dir / LATEST_RAW, pictures["frame"], durable=False)
            write_atomically(self._run_dir / LATEST, pictures.get("heat", pictures["frame"]), durable=False)
            self._shelf.add(inspection.id, pictures)
        except OSError as error:
            with self._counting:
                self.images_dropped += 1
            if self._storing:
                log.error("pictures cannot be stored: %s", error)
            self._storing = False
            return
        if not self._storing:
            log.info("pictures are stored again")
        self._storing = True

    def _pictures(self, inspection: Inspection, image: Image) -> dict[str, bytes]:
        """JPEG bytes by kind; heat only when there is an anomaly map. The thumbnail shows what the heatmap shows."""
        pictures = {"frame": _jpeg(image)}
        shown = image
        if inspection.anomaly_map is not None and inspection.threshold is not None:
            anomaly_map = np.nan_to_num(inspection.anomaly_map, posinf=0.0, neginf=0.0)
            shown = overlay(image, anomaly_map, inspection.threshold, inspected_box(image.shape, self._spec))
            pictures["heat"] = _jpeg(shown)
        height = max(1, round(shown.shape[0] * THUMB_WIDTH / shown.shape[1]))
        thumb = cv2.resize(shown, (THUMB_WIDTH, height), interpolation=cv2.INTER_AREA)
        pictures["thumb"] = _jpeg(np.asarray(thumb, dtype=np.uint8))
        return pictures


class PictureShelf:
    """images_dir with a limit in bytes: the oldest pictures go first. Counted as it grows, scanned only once."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.bytes = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._kept: deque[tuple[int, int]] = deque()  # (inspection id, bytes of its pictures), oldest first

    def take_stock(self) -> None:
        """Count what an earlier run left, and remove its unfinished files."""
        sizes: dict[int, int] = {}
        for path in self._folder.glob("*/*"):
            if path.suffix == ".tmp":
                path.unlink()
            elif path.name[:9].isdigit():
                inspection_id = int(path.name.split("_")[0])
                sizes[inspection_id] = sizes.get(inspection_id, 0) + path.stat().st_size
        self._kept.extend(sorted(sizes.items()))
        self.bytes = sum(sizes.values())
        self._make_room()

    def add(self, inspection_id: int, pictures: dict[str, bytes]) -> None:
        """Store JPEG bytes by kind. Not synced: a power cut may cost the last pictures, never a row."""
        size = sum(len(data) for data in pictures.values())
        self._kept.append((inspection_id, size))
        self.bytes += size
        self._make_room()
        for kind, data in pictures.items():
            path = picture_path(self._folder, inspection_id, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data, durable=False)

    def _make_room(self) -> None:
        while self.bytes > self._max_bytes and len(self._kept) > 1:
            inspection_id, size = self._kept.popleft()
            for kind in KINDS:
                picture_path(self._folder, inspection_id, kind).unlink(missing_ok=True)
            self.bytes -= size
            folder = picture_path(self._folder, inspection_id, KINDS[0]).parent
            if self._kept[0][0] // 1000 != inspection_id // 1000 and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _jpeg(image: Image) -> bytes:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
