"""state_dir and run_dir belong to one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from edge.config.station import StationConfig
from edge.core.types import EdgeError

LOCK = "engine.lock"


class FolderError(EdgeError):
    """Another engine uses the folders."""


@contextmanager
def own_folders(config: StationConfig) -> Iterator[None]:
    """Make both folders and keep a second engine out of them; raises FolderError, and OSError of the file system."""
    with ExitStack() as stack:
        for folder in (config.state_dir, config.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderError(f"{folder}: another engine uses it; stop that one first") from None
        yield
