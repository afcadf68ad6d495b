"""NAME.lwb: one file that carries one bundle. A tar file (POSIX ustar) of exactly one form, so it is read strictly.

Plain files only, not compressed; the manifest first, then its sums and signatures, then every file in the order of its
name; owner, date and rights are always the same. So one content has one archive and one hash. A reader refuses any
file that differs from that form in one byte: there is no way to write a link, a path that leads out, a file twice, or
a size that does not fit.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge.core.files import sync_folder
from edge.inference.bundle import DIGEST, MANIFEST, MAX_MANIFEST_BYTES, SIGNATURE, Bundle, BundleError, open_bundle

SUFFIX = ".lwb"
MAX_FILES = 256
MAX_BYTES = 2 * 1024**3  # of an archive
BLOCK = 512  # bytes
DRAFT = ".lwb-"  # begins the name of a folder into which an archive is unpacked
PART = ".fetch-"  # begins the name of what was fetched in part
_LEFTOVER = re.compile(r"\.?\.(lwb-.+|fetch-.+|[0-9a-f]{12}\.lwb(\.[0-9]+\.tmp)?)")  # nothing of anybody else's
_NAME_BYTES = 100
END = b"\0" * (2 * BLOCK)
_FIRST = {MANIFEST: 0, DIGEST: 1, SIGNATURE: 2}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in an archive."""

    name: str
    size: int  # bytes
    start: int  # of its content, in the archive

    @property
    def end(self) -> int:
        """The place behind the content and the zeros that fill its last block."""
        return self.start + -(-self.size // BLOCK) * BLOCK


def archive_path(folder: Path) -> Path:
    """Return where the archive of a bundle's folder lies: beside it."""
    return folder.with_name(folder.name + SUFFIX)


def write_archive(bundle: Bundle, target: Path) -> None:
    """Write the archive of a verified bundle, whole or not at all; raises BundleError and OSError."""
    names = [name for name in _FIRST if bundle.file(name).is_file()]
    names += sorted(bundle.manifest.files, key=_order)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as stream:
            for name in names:
                size = bundle.file(name).stat().st_size
                stream.write(_header(name, size))
                with bundle.file(name).open("rb") as content:
                    shutil.copyfileobj(content, stream, _CHUNK)
                stream.write(b"\0" * (-size % BLOCK))
            stream.write(END)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(0o644)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def extract_bundle(archive: Path, folder: Path, name: Callable[[Bundle], str]) -> Bundle:
    """Extract and verify an archive into a folder; its bundle appears there complete, or not at all.

    name: called with the verified bundle; returns the name of its folder, or raises when it must not be installed.
    A bundle that is there already stays. Raises BundleError.

    Names, sizes and their number are checked before anything is written. The files go to a temporary folder there, are
    verified and synced, and the temporary folder is renamed.
    """
    with unpacked(archive, folder) as bundle:
        target = folder / name(bundle)
        if os.path.lexists(target):
            there = open_bundle(target)
            if there.digest == bundle.digest:
                return there
            raise BundleError(f"{target}: holds another bundle, and a bundle is never changed; move it away first")
        sync_folder(bundle.path)
        bundle.path.chmod(0o755)
        bundle.path.rename(target)
        sync_folder(folder, inside=False)
    return open_bundle(target)


@contextmanager
def unpacked(archive: Path, beside: Path) -> Iterator[Bundle]:
    """Give the verified bundle of an archive in a temporary folder in `beside`, which goes when the block ends."""
    try:
        with archive.open("rb") as stream:
            entries = _entries(archive, stream)
            _refuse_full(archive, beside, sum(entry.size for entry in entries))
            draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=beside))
            handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(
                    handle, fcntl.LOCK_EX
                )  # `remove_leftovers` tells this one from one whose process was killed
                for entry in entries:
                    _copy(archive, stream, entry, draft / entry.name)
                yield open_bundle(draft)
            finally:
                os.close(handle)
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise BundleError(f"{error.filename or archive}: {error.strerror}; check the path and the free space") from None


def remove_leftovers(folder: Path, keep: str | None = None) -> None:
    """Remove what killed processes left in a folder of bundles: parts, drafts, unpacked archives. Raises OSError.

    keep: beginning of the names that stay, because the work on them goes on.
    """
    for path in folder.iterdir():
        if not _LEFTOVER.fullmatch(path.name) or (keep is not None and path.name.startswith(keep)):
            continue
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        elif not _in_use(path):
            shutil.rmtree(path)


def _in_use(draft: Path) -> bool:
    """Say whether a process that lives unpacks into this folder."""
    handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _header(name: str, size: int) -> bytes:
    """Return the only header that a file of this name and size has; raises BundleError."""
    if not _NAME.fullmatch(name) or len(name) >= _NAME_BYTES:
        raise BundleError(f"{name!r}: cannot be in an archive; a name has letters, digits, and . _ - between slashes")
    none = b"0000000\0"
    begins = name.encode().ljust(_NAME_BYTES, b"\0") + b"0000644\0" + none + none + b"%011o\0%011o\0" % (size, 0)
    ends = b"0".ljust(101, b"\0") + b"ustar\x0000".ljust(8 + 32 + 32, b"\0") + none + none
    blank = (begins + b" " * 8 + ends).ljust(BLOCK, b"\0")
    return blank[: len(begins)] + b"%06o\0 " % sum(blank) + blank[len(begins) + 8 :]


def _order(name: str) -> tuple[int, str]:
    return _FIRST.get(name, len(_FIRST)), name


def _entries(archive: Path, stream: BinaryIO) -> list[Entry]:
    """Return the files of an archive, after its whole form was checked; raises BundleError. Writes nothing."""
    length = os.fstat(stream.fileno()).st_size
    if length > MAX_BYTES:
        raise BundleError(f"{archive}: {length} bytes are more than a bundle has ({MAX_BYTES}); copy it again")
    found: list[Entry] = []
    place = 0
    while (header := _read_at(stream, place, BLOCK)) != END[:BLOCK]:
        if len(found) == MAX_FILES:
            raise BundleError(f"{archive}: holds more than {MAX_FILES} files; it is no bundle")
        entry = _entry(archive, header, place)
        if found and _order(entry.name) <= _order(found[-1].name):
            raise BundleError(f"{archive}: {entry.name!r} is there twice, or not in its place; {_REMEDY}")
        if entry.end + len(END) > length:
            raise BundleError(f"{archive}: ends within {entry.name!r}; it was cut off, copy it again")
        found.append(entry)
        place = entry.end
    if _read_at(stream, place, length) != END:
        raise BundleError(f"{archive}: does not end where an archive ends; {_REMEDY}")
    names = [entry.name for entry in found[:2]]
    if names != [MANIFEST, DIGEST] or found[0].size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{archive}: does not begin with {MANIFEST} and {DIGEST}; {_REMEDY}")
    return found


_REMEDY = "it is no archive of `python -m train pack`, or it was damaged: copy it again"


def _entry(archive: Path, header: bytes, place: int) -> Entry:
    """Return what a header says, if it is the very header that `write_archive` would have written."""
    if len(header) < BLOCK:
        raise BundleError(f"{archive}: has no end; it was cut off, copy it again")
    name, size = header[:_NAME_BYTES].rstrip(b"\0").decode("ascii", "replace"), header[124:135]
    plain = _NAME.fullmatch(name) and re.fullmatch(rb"[0-7]{11}", size)
    if not plain or _header(name, int(size, 8)) != header:
        raise BundleError(f"{archive}: byte {place} begins no plain file of a bundle; {_REMEDY}")
    return Entry(name, int(size, 8), place + BLOCK)


def _read_at(stream: BinaryIO, place: int, most: int) -> bytes:
    stream.seek(place)
    return stream.read(min(most, len(END) + 1))


def _copy(archive: Path, stream: BinaryIO, entry: Entry, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    stream.seek(entry.start)
    left = entry.size
    with target.open("xb") as out:
        while left:
            chunk = stream.read(min(left, _CHUNK))
            if not chunk:
                raise BundleError(f"{archive}: became shorter while it was read; copy it again")
            out.write(chunk)
            left -= len(chunk)
    if any(stream.read(entry.end - entry.start - entry.size)):
        raise BundleError(f"{archive}: hides bytes behind {entry.name!r}; {_REMEDY}")
    target.chmod(0o644)


def _refuse_full(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _CHUNK > free:
        raise BundleError(
            f"{archive}: needs {needed / 1e6:.0f} MB in {folder}, {free / 1e6:.0f} MB are free; make room"
        )
