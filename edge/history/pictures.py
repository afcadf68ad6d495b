"""The pictures on the disk: their paths, and the order in which they go when there are too many."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edge.core.files import write_atomically
from edge.history.database import HistoryError

INPUT = "input"  # the picture as the model saw it, without loss: `edge replay` judges it again
KINDS = ("frame", "heat", "thumb", INPUT)
MAX_REMOVED = 64  # parts whose pictures go to make room for one: thinning never holds up the rows for long


class NoRoomError(HistoryError):
    """There is no room for a picture, and nothing left that may go for it."""


def picture_path(images_dir: Path, inspection_id: int, kind: str) -> Path:
    """Return the path of one picture of an inspection; kind is frame, heat, thumb or input."""
    suffix = "png" if kind == INPUT else "jpg"
    return images_dir / f"{inspection_id // 1000:06d}" / f"{inspection_id:09d}_{kind}.{suffix}"


class PictureStore:
    """The folder images_dir with a limit in bytes and a reserve of free space.

    The oldest OK parts' pictures go first, then the oldest others'; an OK part's never push out another's.
    The folder is scanned once, and then counted as it grows.
    """

    def __init__(self, folder: Path, max_bytes: int, keep_free_bytes: int = 0) -> None:
        """Set the limits; keep_free_bytes must stay free on the folder's disk, for rows and for the system."""
        self.bytes = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_free_bytes = keep_free_bytes
        self._ok: deque[tuple[int, int]] = deque()  # (inspection id, bytes of its pictures), oldest first
        self._others: deque[tuple[int, int]] = deque()

    def take_stock(self, ok_ids: Callable[[int, int], set[int]]) -> None:
        """Count what an earlier run left, and remove its unfinished files; ok_ids: the ids of a range that are OK."""
        sizes: dict[int, int] = {}
        for path in self._folder.glob("*/*"):
            if path.suffix == ".tmp":
                path.unlink()
            elif path.name[:9].isdigit():
                inspection_id = int(path.name.split("_")[0])
                sizes[inspection_id] = sizes.get(inspection_id, 0) + path.stat().st_size
        if not sizes:
            return
        ok = ok_ids(min(sizes), max(sizes))
        for inspection_id, size in sorted(sizes.items()):
            (self._ok if inspection_id in ok else self._others).append((inspection_id, size))
        self.bytes = sum(sizes.values())
        self._make_room(0, ok=False)

    def add(self, inspection_id: int, pictures: dict[str, bytes], ok: bool) -> bool:
        """Store encoded pictures by kind; False when an OK part's have no room beside those of other parts.

        Not synced: a power cut may cost the last pictures, never a row. Raises NoRoomError when there is no
        room at all, and OSError; neither leaves anything of this part behind.
        """
        size = sum(len(data) for data in pictures.values())
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._make_room(size, ok):
            if ok and self._others:
                return False
            raise NoRoomError(self._short_of(size))
        try:
            for kind, data in pictures.items():
                path = picture_path(self._folder, inspection_id, kind)
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, data, durable=False)
        except OSError:
            self._unlink(inspection_id)
            raise
        (self._ok if ok else self._others).append((inspection_id, size))
        self.bytes += size
        return True

    def remove_oldest(self, ok_only: bool = False) -> bool:
        """Remove one part's pictures, the least wanted ones; False when there are none."""
        kept = self._ok if self._ok or ok_only else self._others
        if not kept:
            return False
        inspection_id, size = kept.popleft()
        self._unlink(inspection_id)
        self.bytes -= size
        return True

    def _make_room(self, size: int, ok: bool) -> bool:
        for _ in range(MAX_REMOVED):
            if self._fits(size) or not self.remove_oldest(ok_only=ok):
                break
        return self._fits(size)

    def _fits(self, size: int) -> bool:
        if self.bytes + size > self._max_bytes:
            return False
        return not self._keep_free_bytes or shutil.disk_usage(self._folder).free >= self._keep_free_bytes + size

    def _short_of(self, size: int) -> str:
        free_mb, keep_mb = shutil.disk_usage(self._folder).free // 1_000_000, self._keep_free_bytes // 1_000_000
        if self.bytes + size > self._max_bytes:
            return f"{self._folder}: one part's pictures ({size} bytes) exceed storage.max_image_mb; raise it"
        return f"{self._folder}: {free_mb} MB free on its disk, storage.keep_free_mb keeps {keep_mb}; free some space"

    def _unlink(self, inspection_id: int) -> None:
        for kind in KINDS:
            picture_path(self._folder, inspection_id, kind).unlink(missing_ok=True)
        folder = picture_path(self._folder, inspection_id, KINDS[0]).parent
        newest = max((kept[-1][0] for kept in (self._ok, self._others) if kept), default=0)
        if folder.is_dir() and newest // 1000 != inspection_id // 1000 and not any(folder.iterdir()):
            folder.rmdir()
