"""The pictures on the disk: their paths, and the order in which they go when there are too many."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.core.files import write_atomically
from edge.history.database import HistoryError
from edge.history.marks import noted_id

INPUT = "input"  # the picture as the model saw it, without loss: `edge replay` judges it again
KINDS = ("frame", "heat", "thumb", "class", INPUT)
KEEP_FILES = 64  # inodes that stay free on a disk where keep_free_bytes stay free; at most a twentieth of all
_NAME = re.compile(r"([0-9]{9,13})_(?:frame\.jpg|heat\.jpg|thumb\.jpg|class\.jpg|input\.png)")
_DRAFT = re.compile(r"\..*\.tmp")
_SHELF = re.compile(r"[0-9]{6,10}")  # the folder of a thousand parts
_HISTORY = re.compile(r"[0-9a-f]{16}|unknown-[0-9a-f]+")  # a folder that is named for a history
MAX_REMOVED = 64  # parts whose pictures go to make room for one: thinning never holds up the rows for long

log = logging.getLogger(__name__)


class NoRoomError(HistoryError):
    """There is no room for a picture, and nothing left that may go for it."""


def picture_path(images_dir: Path, inspection_id: int, kind: str) -> Path:
    """Return the path of one picture of an inspection; kind is frame, heat, thumb, class or input."""
    return images_dir / picture_name(inspection_id, kind)


def picture_name(inspection_id: int, kind: str) -> str:
    """Return the same path as seen from the folder of pictures."""
    return f"{inspection_id // 1000:06d}/{inspection_id:09d}_{kind}.{'png' if kind == INPUT else 'jpg'}"


def pictured(folder: Path, first: int, last: int) -> set[int]:
    """Return which parts of these ids have their picture as the camera took it; found faster than one by one."""
    found = set()
    for shelf in range(first // 1000, last // 1000 + 1):
        names = (entry.name.partition("_") for entry in _entries(folder / f"{shelf:06d}"))
        found |= {int(number) for number, _, kind in names if kind == "frame.jpg" and number.isdecimal()}
    return found


def highest_picture(folder: Path) -> int:
    """Return the highest id that a picture in this folder is named for; 0 when there is none."""
    for shelf in sorted(_shelves(folder), key=lambda entry: int(entry.name), reverse=True):
        ids = [number for entry in _entries(shelf.path) if (number := _picture_id(entry)) is not None]
        if ids:
            return max(ids)
    return 0


def keep_apart(folder: Path, history: str, adopt: bool) -> None:
    """Move the pictures of another history out of the way, and those of this history back; raises OSError.

    An empty folder in `folder` is named for the history that the pictures belong to. adopt: pictures that no folder
    is named for are this history's.
    """
    mine = folder / history
    named = [Path(entry.path) for entry in _entries(folder) if _HISTORY.fullmatch(entry.name) and entry.is_dir()]
    owner = next((path for path in named if not any(path.iterdir())), None)
    shelves = [Path(entry.path) for entry in _shelves(folder)]
    if shelves and owner != mine and not (owner is None and adopt):
        kept = owner or folder / f"unknown-{secrets.token_hex(4)}"
        kept.mkdir(exist_ok=True)
        for shelf in shelves:
            shelf.rename(kept / shelf.name)
        log.error("%s: these pictures belong to another history; they are not shown, and not removed", kept)
    mine.mkdir(parents=True, exist_ok=True)
    for back in _shelves(mine):
        Path(back.path).rename(folder / back.name)


def _entries(folder: Path | str, foreign: list[str] | None = None) -> list[os.DirEntry[str]]:
    """Return what lies in a folder; nothing when it cannot be read, and then its name is added to foreign."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []
    except OSError:
        if foreign is not None:
            foreign.append(str(folder))
        return []


def _shelves(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if _SHELF.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield entry


def _picture_id(entry: os.DirEntry[str]) -> int | None:
    """Return the id of the part whose picture this is; None when it is no picture of ours."""
    found = _NAME.fullmatch(entry.name)
    number = noted_id(found[1]) if found else None
    own = number is not None and Path(entry.path).parent.name == f"{number // 1000:06d}"
    return number if own and entry.is_file(follow_symlinks=False) else None


@dataclass(frozen=True, slots=True)
class Stock:
    """What is stored: whose pictures are the oldest, and how many bytes all of them have."""

    bytes: int = 0
    oldest_ok: int | None = None  # inspection id; None: no OK part has pictures
    oldest_other: int | None = None


class PictureStore:
    """The folder images_dir with a limit in bytes and a reserve of free space.

    The oldest OK parts' pictures go first, then the oldest others'; an OK part's never push out another's.
    The folder is scanned once, and then counted as it grows.
    """

    def __init__(self, folder: Path, max_bytes: int, keep_free_bytes: int = 0) -> None:
        """Set the limits; keep_free_bytes must stay free on the folder's disk, for rows and for the system."""
        self.bytes = 0
        self.stock = Stock()  # replaced as a whole, so that another thread may read it
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_free_bytes = keep_free_bytes
        self._ok: deque[tuple[int, int]] = deque()  # (inspection id, bytes of its pictures), oldest first
        self._others: deque[tuple[int, int]] = deque()

    def take_stock(self, ok_of: Callable[[Iterable[int]], set[int]]) -> None:
        """Count what an earlier run left, and remove its unfinished files; ok_of: those of some ids that are OK.

        What is no picture of a part is named in the log, left where it is, and not counted.
        """
        sizes, foreign = self._found()
        if foreign:
            log.warning(
                "%s: %d things are no pictures of parts, e.g. %s; left alone", self._folder, len(foreign), foreign[0]
            )
        if not sizes:
            return
        ok = ok_of(sizes)
        for inspection_id, size in sorted(sizes.items()):
            (self._ok if inspection_id in ok else self._others).append((inspection_id, size))
        self.bytes = sum(sizes.values())
        self._make_room(0, 0, ok=False)
        self._count()

    def _count(self) -> None:
        ok, other = (kept[0][0] if kept else None for kept in (self._ok, self._others))
        self.stock = Stock(self.bytes, ok, other)

    def _found(self) -> tuple[dict[int, int], list[str]]:
        """Return the bytes of each part's pictures, and what else lies there; unfinished files are removed."""
        sizes: dict[int, int] = {}
        foreign: list[str] = []
        shelves = list(_shelves(self._folder))
        known = {entry.name for entry in shelves}
        others = [entry for entry in _entries(self._folder, foreign) if entry.name not in known]
        foreign += [entry.path for entry in others if not (_HISTORY.fullmatch(entry.name) and entry.is_dir())]
        for entry in [entry for shelf in shelves for entry in _entries(shelf.path, foreign)]:
            number = _picture_id(entry)
            if number is not None:
                sizes[number] = sizes.get(number, 0) + entry.stat().st_size
            elif not (_DRAFT.fullmatch(entry.name) and _unlinked(Path(entry.path))):
                foreign.append(entry.path)
        return sizes, foreign

    def add(self, inspection_id: int, pictures: dict[str, bytes], ok: bool) -> bool:
        """Store encoded pictures by kind; False when an OK part's have no room beside those of other parts.

        Not synced: a power cut may cost the last pictures, never a row. Raises NoRoomError when there is no
        room at all, and OSError; neither leaves anything of this part behind.
        """
        size, files = sum(len(data) for data in pictures.values()), len(pictures) + 1  # one more for a folder
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._make_room(size, files, ok):
            if ok and self._others:
                return False
            raise NoRoomError(self._short_of(size, files))
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
        self._count()
        return True

    def remove_oldest(self, ok_only: bool = False) -> bool:
        """Remove one part's pictures, the least wanted ones; False when there are none."""
        kept = self._ok if self._ok or ok_only else self._others
        if not kept:
            return False
        inspection_id, size = kept.popleft()
        if self._unlink(inspection_id):
            self.bytes -= size
        self._count()
        return True

    def _make_room(self, size: int, files: int, ok: bool) -> bool:
        for _ in range(MAX_REMOVED):
            if self._fits(size, files) or not self.remove_oldest(ok_only=ok):
                break
        return self._fits(size, files)

    def _fits(self, size: int, files: int) -> bool:
        disk = os.statvfs(self._folder)
        if self.bytes + size > self._max_bytes or self._short_of_files(disk, files):
            return False
        return not self._keep_free_bytes or disk.f_bavail * disk.f_frsize >= self._keep_free_bytes + size

    def _short_of_files(self, disk: os.statvfs_result, files: int) -> bool:
        reserve = min(KEEP_FILES, disk.f_files // 20) if self._keep_free_bytes else 0
        return bool(disk.f_files) and disk.f_favail < reserve + files  # some file systems have no such limit: 0

    def _short_of(self, size: int, files: int) -> str:
        disk = os.statvfs(self._folder)
        free_mb, keep_mb = disk.f_bavail * disk.f_frsize // 1_000_000, self._keep_free_bytes // 1_000_000
        if self.bytes + size > self._max_bytes:
            return f"{self._folder}: one part's pictures ({size} bytes) exceed storage.max_image_mb; raise it"
        if self._short_of_files(disk, files):
            return f"{self._folder}: its disk takes {disk.f_favail} more files (inodes), too few; remove some files"
        return f"{self._folder}: {free_mb} MB free on its disk, storage.keep_free_mb keeps {keep_mb}; free some space"

    def _unlink(self, inspection_id: int) -> bool:
        """Remove a part's pictures; False when one of them cannot be removed, which the log tells."""
        paths = [picture_path(self._folder, inspection_id, kind) for kind in KINDS]
        gone = [_unlinked(path) for path in paths]
        newest = max((kept[-1][0] for kept in (self._ok, self._others) if kept), default=0)
        folder = paths[0].parent
        if newest // 1000 != inspection_id // 1000 and folder.is_dir() and not _entries(folder):
            with suppress(OSError):  # an empty folder does no harm
                folder.rmdir()
        return all(gone)


def _unlinked(path: Path) -> bool:
    """Remove a file; False when that is not possible, which the log tells."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s: cannot be removed (%s); remove it", path, error.strerror)
        return False
    return True
