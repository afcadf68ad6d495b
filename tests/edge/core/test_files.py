import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.files import picture_path, write_atomically


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


@given(ids=st.lists(st.integers(1, 10**9 - 1), min_size=2, max_size=20, unique=True))
def test_pictures_of_two_parts_never_share_a_name_and_sort_by_id(ids: list[int]) -> None:
    paths = [str(picture_path(Path("images"), number, "heat")) for number in sorted(ids)]
    assert len(set(paths)) == len(ids)
    assert paths == sorted(paths)
