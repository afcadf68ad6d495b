"""The recorder thread: rows into the history, pictures beside it, never in the way of a verdict."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from edge.config.station import StorageConfig
from edge.core.types import EdgeError, Image, Inspection, Verdict, one_line
from edge.core.worker import Worker
from edge.engine import EngineError
from edge.engine.drift import DriftWatch
from edge.exchange.health import Drift
from edge.exchange.live import named, write_live
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.pictures import INPUT, NoRoomError, PictureStore, Stock, keep_apart
from edge.inference.bundle import Bundle
from edge.inference.heatmap import class_overlay, overlay
from edge.inference.preprocess import prepare

THREAD = "recorder"
MAX_PICTURES = 8  # frames waiting to be stored; each holds its frame in memory
MAX_ROWS = 64  # of one transaction: a disk that is slow to sync takes many rows as fast as one
LATEST_S = 0.1  # a picture that is shown and not kept follows fast parts at most so often
STORE_WITHIN_S = 4.0  # at the end: a disk that does not take the rows by then does not get them
BUSY_PAUSE_S = 0.05
THUMB_WIDTH = 160
MOST_THUMB_HEIGHT = 640
JPEG_QUALITY = 90
PNG_EFFORT = 1  # of 9: larger files, in a fifth of the time

NOT_STORED = "pictures cannot be stored"

Judged = tuple[Inspection, Bundle]  # with the bundle that judged
Pending = tuple[Inspection, Image, Bundle]


@dataclass(frozen=True, slots=True)
class View:
    """What the camera sees, to be shown and not to be kept."""

    frame: Image  # (H, W, 3) uint8 BGR


log = logging.getLogger(__name__)


class Recorder:
    """Takes inspections from the main loop. Rows are never dropped; pictures may be, and are counted."""

    def __init__(
        self,
        events: EventLog,
        images_dir: Path,
        run_dir: Path,
        storage: StorageConfig,
        drift: DriftWatch | None = None,
    ) -> None:
        """drift: the watch of the bundle that judges first; None: drift is not watched."""
        self.worker = Worker(THREAD, self._run)
        self.images_dropped = 0
        self.storage_fault: str | None = None  # why pictures are not kept now
        self._events = events
        self._run_dir = run_dir
        self._ok_every = storage.ok_every
        self._shelf = PictureStore(images_dir, storage.max_image_mb * 1_000_000, storage.keep_free_mb * 1_000_000)
        self._queue: queue.SimpleQueue[Judged | View | None] = queue.SimpleQueue()
        self._view_waits = False
        self._unstored = 0
        self._waiting_pictures = 0
        self._shown_at = -math.inf  # monotonic s, of the last picture
        self._counting = threading.Lock()
        self._drift = drift
        self._images_dir = images_dir
        self._give_up_at = math.inf  # monotonic s
        self._ok_refused = False

    def start(self) -> None:
        """Count the pictures that are there, then start the thread. Raises HistoryError."""
        try:
            lost = self._events.lost()[:1]  # a history whose first rows were lost is not the one of the pictures
            keep_apart(self._images_dir, self._events.head().history, adopt=not lost or lost[0][0] > 1)
            self._shelf.take_stock(self._events.ok_of)
        except OSError as error:
            self._note(str(error))
        self.worker.start()

    def put(self, inspection: Inspection, bundle: Bundle) -> None:
        """Hand over one inspection and the bundle that judged it; never waits for the disk."""
        with self._counting:
            self._unstored += 1
            if inspection.image is not None:
                if self._waiting_pictures >= MAX_PICTURES:
                    self.images_dropped += 1
                    inspection = replace(inspection, image=None, anomaly_map=None, class_map=None)
                else:
                    self._waiting_pictures += 1
        self._queue.put((inspection, bundle))

    def show_view(self, frame: Image) -> None:
        """Show what the camera sees now, an (H, W, 3) uint8 BGR frame of no part; dropped while another one waits."""
        if not self._view_waits:
            self._view_waits = True
            self._queue.put(View(frame))

    def waiting(self) -> int:
        """Return the number of rows that are not yet in the history."""
        with self._counting:
            return self._unstored

    def pictures(self) -> Stock:
        """Return what is stored of pictures."""
        return self._shelf.stock

    def drift(self, bundle: Bundle) -> Drift | None:
        """Return the drift test's report on a bundle; None when it is off, or the bundle has judged no part yet."""
        watch = self._drift
        return watch.report() if watch is not None and watch.digest == bundle.digest else None

    def stop(self) -> None:
        """Store what waits, then end the thread; a disk that takes too long keeps nobody waiting."""
        self._give_up_at = time.monotonic() + STORE_WITHIN_S
        self._queue.put(None)
        self.worker.join(STORE_WITHIN_S + 1.0)
        if self.waiting():
            log.error("%d rows are not stored; the next start gives their ids ERROR/engine_died", self.waiting())

    def _run(self) -> None:
        pictures: deque[Pending] = deque()
        running = True
        while running or pictures:
            rows: list[Judged] = []
            view: View | None = None
            for item in self._items(self._patience_s(pictures) if running else 0.0):
                if item is None:
                    running = False
                    continue
                if isinstance(item, View):
                    view = item
                    continue
                rows.append(item)
                inspection, bundle = item
                if inspection.image is not None:
                    pictures.append((inspection, inspection.image, bundle))
            self._store_rows(rows)
            self._pass_over(pictures)
            if view is not None:
                self._write_view(view)
            if pictures and time.monotonic() > self._give_up_at:
                self._drop(len(pictures), "the engine stops, and the disk is too slow for them")
                pictures.clear()
            elif pictures and not (running and self._patience_s(pictures)):
                self._store_pictures(*pictures.popleft())

    def _items(self, wait_s: float | None) -> Iterator[Judged | View | None]:
        """Yield what is in the queue now, some at a time; wait for the first, with None for as long as it takes."""
        try:
            yield self._queue.get(block=wait_s != 0.0, timeout=wait_s)
            for _ in range(MAX_ROWS):
                yield self._queue.get_nowait()
        except queue.Empty:
            return

    def _kept(self, inspection: Inspection) -> bool:
        return inspection.verdict is not Verdict.OK or inspection.id % self._ok_every == 0

    def _patience_s(self, pictures: deque[Pending]) -> float | None:
        """Return how long the next picture may wait for another part; None when there is no picture."""
        if not pictures:
            return None
        if self._kept(pictures[0][0]):
            return 0.0
        return max(0.0, self._shown_at + LATEST_S - time.monotonic())

    def _pass_over(self, pictures: deque[Pending]) -> None:
        """Drop pictures that nobody keeps while a newer one is there to be shown."""
        while len(pictures) > 1 and not self._kept(pictures[0][0]):
            pictures.popleft()
            with self._counting:
                self._waiting_pictures -= 1

    def _store_rows(self, rows: Sequence[Judged]) -> None:
        """Store rows; when the disk is full, pictures go until the rows are stored."""
        for _, of_one_bundle in groupby(rows, key=lambda judged: judged[1].digest):
            judged = list(of_one_bundle)
            self._watch(judged[0][1])  # before the rows are stored: a watch reads the earlier parts from the history
            self._append([inspection for inspection, _ in judged])

    def _append(self, rows: Sequence[Inspection]) -> None:
        waited = False
        while True:
            try:
                self._events.append(*rows)
                break
            except HistoryError as error:
                waited = error.busy and time.monotonic() < self._give_up_at
                if not waited and not (error.disk_full and (self._shelf.remove_oldest() or self._events.reclaim())):
                    raise
                self._note(str(error), "rows wait" if waited else NOT_STORED)
            time.sleep(BUSY_PAUSE_S if waited else 0.0)
        if waited:
            self._note(None, end="rows are stored again")
        with self._counting:
            self._unstored -= len(rows)
        for row in rows:
            self._count_drift(row)

    def _watch(self, bundle: Bundle) -> None:
        """Watch the drift of this bundle from now on."""
        try:
            self._drift = self._drift.of(bundle) if self._drift is not None else None
        except OSError as error:  # the watch so far stays, and the next part tries again
            self._note(str(error))

    def _count_drift(self, row: Inspection) -> None:
        if self._drift is None or self._drift.digest != row.bundle_digest:
            return
        try:
            self._drift.add(row)
        except OSError as error:  # told as what it is, a disk that does not take a file; tried again with the next part
            self._note(str(error))

    def _write_view(self, view: View) -> None:
        self._view_waits = False
        try:
            jpeg = named(_jpeg(view.frame), None)
            write_live(self._run_dir, jpeg, jpeg)
        except (OSError, EngineError, cv2.error) as error:
            self._note(one_line(error, 200))

    def _store_pictures(self, inspection: Inspection, image: Image, bundle: Bundle) -> None:
        """Store the pictures of a part; a full or broken disk costs pictures before it costs rows."""
        self._shown_at = time.monotonic()
        try:
            pictures = _made(inspection, image, bundle, self._kept(inspection))
            write_live(self._run_dir, pictures.get("heat", pictures["frame"]), pictures["frame"])
            if self._kept(inspection):
                stored = self._shelf.add(inspection.id, pictures, inspection.verdict is Verdict.OK)
                self._count_refused(inspection, stored)
            self._note(None)
        except (OSError, NoRoomError, EngineError) as error:
            self._drop(1, str(error))
        with self._counting:
            self._waiting_pictures -= 1

    def _drop(self, parts: int, why: str) -> None:
        """Count the parts whose pictures are not stored, and say why."""
        with self._counting:
            self.images_dropped += parts
        self._note(why)

    def _count_refused(self, inspection: Inspection, stored: bool) -> None:
        """Count an OK part's pictures that would push out those of other parts; one log line per change."""
        if not stored:
            with self._counting:
                self.images_dropped += 1
        if inspection.verdict is Verdict.OK and self._ok_refused is stored:
            words = (
                "again"
                if stored
                else "no more: NG and ERROR parts' pictures take the place, raise storage.max_image_mb"
            )
            log.warning("pictures of OK parts are kept %s", words)
            self._ok_refused = not stored

    def _note(self, fault: str | None, what: str = NOT_STORED, end: str = "pictures are stored again") -> None:
        """Log one line per change."""
        if fault is not None and self.storage_fault is None:
            log.error("%s: %s", what, fault)
        elif fault is None and self.storage_fault is not None:
            log.info("%s", end)
        self.storage_fault = fault


def _made(inspection: Inspection, image: Image, bundle: Bundle, kept: bool) -> dict[str, bytes]:
    """Return the encoded pictures by kind; raises EngineError when the frame is one of which none can be made."""
    try:
        pictures = _pictures(inspection, image, bundle.manifest.boxes is not None)
        if kept and inspection.score is not None:
            pictures[INPUT] = _lossless(prepare(image, bundle.manifest.input))
        if kept and inspection.class_map is not None:
            said = class_overlay(image, inspection.class_map, _box(inspection, image))
            pictures["class"] = named(_jpeg(said), inspection.id)
    except (cv2.error, MemoryError, EdgeError) as error:
        size = " x ".join(str(length) for length in image.shape[1::-1])
        why = one_line(error, 200)
        raise EngineError(
            f"part {inspection.id}: no picture can be made of its frame of {size} pixels ({why})"
        ) from error
    return pictures


def _pictures(inspection: Inspection, image: Image, boxed: bool) -> dict[str, bytes]:
    """Return JPEG bytes by kind; heat only when there is an anomaly map. The thumbnail shows what the heatmap shows.

    Frame and heat name their part. boxed: the regions are boxes of the model's own.
    """
    pictures = {"frame": named(_jpeg(image), inspection.id)}
    shown = image
    if inspection.anomaly_map is not None and inspection.limits is not None:
        anomaly_map = np.nan_to_num(inspection.anomaly_map, posinf=0.0, neginf=0.0)
        boxes = inspection.regions if boxed else None
        shown = overlay(image, anomaly_map, inspection.limits, _box(inspection, image), inspection.verdict, boxes)
        pictures["heat"] = named(_jpeg(shown), inspection.id)
    height, width = shown.shape[:2]
    scale = min(THUMB_WIDTH / width, MOST_THUMB_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    thumb = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    pictures["thumb"] = _jpeg(np.asarray(thumb, dtype=np.uint8))
    return pictures


def _box(inspection: Inspection, image: Image) -> tuple[int, int, int, int]:
    return inspection.box or (0, 0, image.shape[1], image.shape[0])


def _jpeg(image: Image) -> bytes:
    return _encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _lossless(tensor: Image) -> bytes:
    """Return PNG bytes of a (1, height, width, 3) uint8 RGB tensor."""
    bgr = cv2.cvtColor(tensor[0], cv2.COLOR_RGB2BGR)
    return _encoded(".png", np.asarray(bgr, np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT])


def _encoded(kind: str, image: Image, settings: Sequence[int]) -> bytes:
    done, data = cv2.imencode(kind, image, settings)
    if not done:
        raise EngineError(f"{kind} cannot hold so many pixels")
    return data.tobytes()
