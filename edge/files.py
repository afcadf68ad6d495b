"""Files that are whole or not there: written under a temporary name, synced, renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, durable: bool = True) -> None:
    """Replace a file's content in one step; durable=False skips the fsync (run_dir is a tmpfs)."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with draft.open("wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    draft.replace(path)


def picture_path(images_dir: Path, inspection_id: int, kind: str) -> Path:
    """Where the recorder keeps a picture of one inspection; kind is frame, heat or thumb."""
    return images_dir / f"{inspection_id // 1000:06d}" / f"{inspection_id:09d}_{kind}.jpg"
