"""Files that are written whole or not at all, and folders that belong to one process."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge.core.types import EdgeError

LOCK = "engine.lock"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


def write_atomically(path: Path, data: bytes, durable: bool = True, mode: int | None = None) -> None:
    """Replace a file's content in one step: write a temporary file, sync it, rename it, sync its folder.

    mode: of the new file; None: what the process makes files with.

    A power cut after the return leaves the new content, one before it leaves the old or the new one.
    durable=False skips the syncs, for run_dir, which is a tmpfs.

    Raises OSError, and then leaves nothing behind: on a full disk every byte counts. Root may write into the folder of
    another user: no link is followed.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        draft.replace(path)
        if durable:
            sync_folder(path.parent, inside=False)
    except OSError as error:
        draft.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk does not say for which file
        raise


def read_plain(path: Path, limit: int) -> bytes:
    """Return the content of a plain file of at most limit bytes, in a folder that may be another user's.

    No link is followed and no pipe is waited for. Raises OSError, also for what is no plain file or is longer.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def remedy(error: OSError) -> str:
    """Return what a person does about a file of root's that could not be written."""
    return "make room" if error.errno in NO_SPACE else "run this as root, e.g. with sudo"


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it, where they are missing; a power cut leaves them there. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent, inside=False)


def sync_folder(folder: Path, inside: bool = True) -> None:
    """Bring a folder's entries to the disk, and with inside everything below it; raises OSError."""
    for path in [*(folder.rglob("*") if inside else ()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def set_aside(path: Path) -> Path | None:
    """Rename what lies where a file belongs and is none, e.g. a folder or a pipe; return its new name, None if nothing.

    Raises OSError.
    """
    if path.is_file() or not os.path.lexists(path):
        return None
    kept = path.with_name(f"{path.name}.foreign-{secrets.token_hex(4)}")
    path.rename(kept)
    log.warning("%s: is no file, so the engine did not write it; kept as %s", path, kept.name)
    return kept


@contextmanager
def own_folders(*folders: Path) -> Iterator[None]:
    """Make the folders and keep other engines out of them while the block runs.

    Raises EdgeError when another engine uses one of them, and OSError of the file system.
    """
    with ExitStack() as stack:
        for folder in folders:
            make_folder(folder)
            set_aside(folder / LOCK)
            lock = stack.enter_context((folder / LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EdgeError(f"{folder}: another engine uses it; stop that one first") from None
        yield
