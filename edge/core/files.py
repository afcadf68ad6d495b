"""Files that are whole or not there: written under a temporary name, synced, renamed."""

from __future__ import annotations

import os
from pathlib import Path

INPUT = "input"  # the picture as the model saw it, without loss: what `edge replay` judges again


def write_atomically(path: Path, data: bytes, durable: bool = True) -> None:
    """Replace a file's content in one step; durable=False skips the fsync (run_dir is a tmpfs).

    Raises OSError, and then leaves nothing behind: on a full disk every byte counts.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk does not say for which file
        raise


def picture_path(images_dir: Path, inspection_id: int, kind: str) -> Path:
    """Where the recorder keeps a picture of one inspection; kind is frame, heat, thumb or input."""
    suffix = "png" if kind == INPUT else "jpg"
    return images_dir / f"{inspection_id // 1000:06d}" / f"{inspection_id:09d}_{kind}.{suffix}"
