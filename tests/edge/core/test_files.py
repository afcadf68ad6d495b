import threading
from pathlib import Path

import pytest

from edge.core.files import own_folders, write_atomically
from edge.core.types import EdgeError


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    contents = {bytes([byte]) * 200_000 for byte in b"ab"}
    write_atomically(path, b"a" * 200_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                write_atomically(path, content, durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_bytes() for _ in range(200)}
    stop.set()
    writer.join()
    assert seen <= contents
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        write_atomically(tmp_path / "absent" / "f", b"x")


def test_a_second_engine_is_kept_out_of_the_folders_and_gets_them_afterwards(tmp_path: Path) -> None:
    with (
        own_folders(tmp_path / "state", tmp_path / "run"),
        pytest.raises(EdgeError, match=r"run: another engine uses it; stop that one first"),
        own_folders(tmp_path / "run"),
    ):
        pass
    with own_folders(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
