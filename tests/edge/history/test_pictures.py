"""Which pictures stay: the law of the shelf, whatever order parts come in."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.history.pictures import (
    INPUT,
    KINDS,
    MAX_REMOVED,
    NoRoomError,
    PictureStore,
    Stock,
    highest_picture,
    keep_apart,
    picture_path,
)
from tests.system.disk import tmpfs

parts = st.lists(st.tuples(st.booleans(), st.integers(1, 400)), min_size=1, max_size=60)


def pictures(size: int) -> dict[str, bytes]:
    """So many bytes in all, over every kind."""
    each = {kind: b"x" * (size // len(KINDS)) for kind in KINDS}
    return each | {"frame": b"x" * (size - size // len(KINDS) * (len(KINDS) - 1))}


def on_disk(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def kept(folder: Path) -> list[int]:
    return sorted({int(p.name[:9]) for p in folder.rglob("*_*.*")})


@given(parts=parts, limit=st.integers(400, 2000))
@settings(max_examples=60, deadline=None)
def test_the_limit_holds_and_oldest_ok_pictures_go_before_any_other(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bool, int]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("shelf")
    shelf = PictureStore(folder, limit)
    ok = {number for number, (good, _) in enumerate(parts, start=995) if good}
    for number, (good, size) in enumerate(parts, start=995):
        before = set(kept(folder))
        stored = shelf.add(number, pictures(size), good)
        after = set(kept(folder))
        gone = before - after
        assert on_disk(folder) == shelf.bytes <= limit
        assert shelf.stock == Stock(shelf.bytes, min(after & ok, default=None), min(after - ok, default=None))
        assert (number in after) == stored
        assert stored or good, "NG and ERROR always find room"
        for kind in (ok, before - ok):
            gone_of_kind, left_of_kind = gone & kind, after & kind - {number}
            assert max(gone_of_kind, default=0) < min(left_of_kind, default=10**9), "the oldest of its kind first"
        if gone - ok:
            assert not good, "an OK part pushes out no other"
            assert not after & ok, "while there is an OK part's, it goes first"
    shutil.rmtree(folder)


def test_an_empty_folder_is_removed(tmp_path: Path) -> None:
    shelf = PictureStore(tmp_path, 300)
    for number in range(997, 1004):
        shelf.add(number, pictures(100), ok=True)
    assert kept(tmp_path) == [1001, 1002, 1003]
    assert not (tmp_path / "000000").exists()


def test_what_an_earlier_run_left_counts_and_its_drafts_go(tmp_path: Path) -> None:
    first = PictureStore(tmp_path, 10_000)
    for number, ok in ((3, False), (5, True), (6, False), (1004, True)):
        first.add(number, pictures(100), ok)
    (tmp_path / "000000" / ".000000009_heat.jpg.17.tmp").write_bytes(b"half a picture")
    again = PictureStore(tmp_path, 210)
    again.take_stock(lambda ids: {5, 1004} & set(ids))
    assert again.bytes == on_disk(tmp_path) == 200
    assert kept(tmp_path) == [3, 6], "OK pictures went, whatever their age"
    assert not list(tmp_path.rglob(".*.tmp"))


def test_taking_stock_of_nothing_is_fine(tmp_path: Path) -> None:
    shelf = PictureStore(tmp_path / "not there", 1)
    shelf.take_stock(lambda ids: set())
    assert shelf.bytes == 0


def test_a_part_too_large_for_the_limit_is_a_fault_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    shelf = PictureStore(tmp_path, 300)
    with pytest.raises(NoRoomError, match=r"storage\.max_image_mb"):
        shelf.add(1, pictures(400), ok=False)
    assert on_disk(tmp_path) == shelf.bytes == 0
    assert shelf.add(2, pictures(300), ok=True)


def test_making_room_for_one_part_never_takes_long(tmp_path: Path) -> None:
    shelf = PictureStore(tmp_path, 4 * (MAX_REMOVED + 40))
    for number in range(1, MAX_REMOVED + 41):
        shelf.add(number, pictures(4), ok=True)
    with pytest.raises(NoRoomError):
        shelf.add(10_000, pictures(4 * (MAX_REMOVED + 40)), ok=False)
    assert len(kept(tmp_path)) == 40
    assert shelf.add(10_001, pictures(4 * (MAX_REMOVED + 40)), ok=False)


def test_a_failed_write_leaves_nothing_of_the_part(tmp_path: Path) -> None:
    shelf = PictureStore(tmp_path, 1000)
    picture_path(tmp_path, 7, INPUT).mkdir(parents=True)  # a folder is where the last file should be
    picture_path(tmp_path, 7, INPUT).rename(tmp_path / "aside")
    shelf.add(6, pictures(100), ok=True)
    (tmp_path / "aside").rename(picture_path(tmp_path, 7, "heat"))
    with pytest.raises(OSError, match="directory"):
        shelf.add(7, {"frame": b"x", "heat": b"x"}, ok=True)
    assert [p for p in kept(tmp_path) if p != 7] == [6]
    assert not picture_path(tmp_path, 7, "frame").exists()
    assert shelf.bytes == 100


def test_the_reserve_of_the_disk_is_kept(tmp_path: Path) -> None:
    """Asking for more than the disk has: whatever can go goes, then nothing is stored."""
    shelf = PictureStore(tmp_path, 10_000)
    for number in range(1, 6):
        shelf.add(number, pictures(100), ok=number % 2 == 0)
    short = PictureStore(tmp_path, 10_000, keep_free_bytes=2 * shutil.disk_usage(tmp_path).total)
    short.take_stock(lambda ids: {2, 4} & set(ids))
    assert kept(tmp_path) == []
    with pytest.raises(NoRoomError, match=r"storage\.keep_free_mb"):
        short.add(9, pictures(100), ok=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", "size=2m") as folder:
        yield folder


def fill(folder: Path, leave: int) -> Path:
    """Somebody else's file that leaves so many bytes."""
    other = folder / "of somebody else"
    other.write_bytes(b"x" * (shutil.disk_usage(folder).free - leave))
    return other


def test_a_disk_that_others_fill_costs_ok_pictures_then_all_and_they_come_back(small_disk: Path) -> None:
    rounding = len(KINDS) * 4096
    shelf = PictureStore(small_disk / "images", 10_000_000, keep_free_bytes=500_000)
    for number in range(1, 31):
        shelf.add(number, pictures(100_000), ok=number > 3)
        assert shutil.disk_usage(small_disk).free >= 500_000 - rounding
    assert {1, 2, 3, 30} <= set(kept(small_disk))
    other = fill(small_disk, leave=0)
    assert shelf.add(31, pictures(100_000), ok=True)
    assert {1, 2, 3, 30, 31} <= set(kept(small_disk))
    other.unlink()
    while shelf.remove_oldest():
        pass
    shelf.add(32, pictures(100_000), ok=False)
    other = fill(small_disk, leave=0)
    with pytest.raises(NoRoomError, match="0 MB free"):
        shelf.add(33, pictures(100_000), ok=False)
    assert kept(small_disk) == []
    other.unlink()
    assert shelf.add(35, pictures(100_000), ok=True)


def test_a_full_disk_is_an_os_error_and_leaves_no_piece_of_a_picture(small_disk: Path) -> None:
    shelf = PictureStore(small_disk / "images", 10_000_000)
    fill(small_disk, leave=60_000)
    with pytest.raises(OSError, match="No space left"):
        shelf.add(1, pictures(200_000), ok=False)
    assert [path for path in (small_disk / "images").rglob("*") if path.is_file()] == []


@given(ids=st.lists(st.integers(1, 10**9 - 1), min_size=2, max_size=20, unique=True))
def test_pictures_of_two_parts_never_share_a_name_and_sort_by_id(ids: list[int]) -> None:
    paths = [str(picture_path(Path("images"), number, "heat")) for number in sorted(ids)]
    assert len(set(paths)) == len(ids)
    assert paths == sorted(paths)


@pytest.fixture
def few_files(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 100 files."""
    with tmpfs(tmp_path / "disk", "size=20m,nr_inodes=100") as folder:
        yield folder


def test_a_disk_that_takes_no_more_files_costs_the_oldest_pictures_and_no_new_one(few_files: Path) -> None:
    shelf = PictureStore(few_files / "images", 10_000_000, keep_free_bytes=1000)
    for number in range(1, 81):
        assert shelf.add(number, pictures(400), ok=number > 3)
    assert {1, 2, 3, 78, 79, 80} <= set(kept(few_files))
    while os.statvfs(few_files).f_favail:
        (few_files / f"other-{os.statvfs(few_files).f_favail}").touch()
    while shelf.remove_oldest():
        pass
    for other in range(500):
        with contextlib.suppress(OSError):
            (few_files / f"more-{other}").touch()
    with pytest.raises(NoRoomError, match="inodes"):
        shelf.add(81, pictures(400), ok=False)


FOREIGN = [
    "notes.txt",
    "000000/notes.txt",
    f"000000/{9 * chr(0xB2)}_frame.jpg",
    "000000/000002000_frame.jpg",
    "000000/000000001_frame.png",
    "abc/000000001_frame.jpg",
    "000999/000999999999999999_frame.jpg",
]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("put", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere"), os.mkfifo])
def test_what_is_no_picture_is_named_left_alone_and_not_counted(
    tmp_path: Path, name: str, put: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = PictureStore(tmp_path, 10_000)
    first.add(7, pictures(100), ok=True)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    put(tmp_path / name)
    again = PictureStore(tmp_path, 10_000)
    again.take_stock(set)
    assert again.bytes == 100
    assert os.path.lexists(tmp_path / name)
    assert "left alone" in caplog.text
    assert highest_picture(tmp_path) == 7
    assert again.remove_oldest()
    assert os.path.lexists(tmp_path / name)


def test_a_picture_that_cannot_be_removed_is_named_and_stepped_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = PictureStore(tmp_path, 300)
    for number in (1, 2, 3):
        shelf.add(number, pictures(100), ok=True)
    picture_path(tmp_path, 1, "heat").unlink()
    picture_path(tmp_path, 1, "heat").mkdir()
    assert shelf.add(4, pictures(100), ok=True)
    assert "cannot be removed" in caplog.text
    assert shelf.remove_oldest()


def test_the_highest_id_of_all_pictures_is_found(tmp_path: Path) -> None:
    assert highest_picture(tmp_path / "not there") == 0
    shelf = PictureStore(tmp_path, 10_000)
    for number in (3, 999, 1000, 1_000_007, 12_345_678_901):
        shelf.add(number, pictures(100), ok=True)
        assert highest_picture(tmp_path) == number


def test_pictures_of_another_history_are_never_this_ones_and_come_back_with_it(tmp_path: Path) -> None:
    first, second = "a" * 16, "b" * 16
    shelf = PictureStore(tmp_path, 10_000)
    shelf.add(1, pictures(100), ok=True)
    keep_apart(tmp_path, first, adopt=True)
    assert picture_path(tmp_path, 1, "frame").exists(), "pictures of a history from before it had a name"
    keep_apart(tmp_path, second, adopt=True)
    assert not picture_path(tmp_path, 1, "frame").exists()
    shelf = PictureStore(tmp_path, 10_000)
    shelf.add(2, pictures(100), ok=True)
    keep_apart(tmp_path, first, adopt=True)
    assert picture_path(tmp_path, 1, "frame").exists()
    assert not picture_path(tmp_path, 2, "frame").exists()
    keep_apart(tmp_path, second, adopt=True)
    assert picture_path(tmp_path, 2, "frame").exists()
    assert not picture_path(tmp_path, 1, "frame").exists()


def test_pictures_of_a_lost_history_are_kept_apart(tmp_path: Path) -> None:
    PictureStore(tmp_path, 10_000).add(1, pictures(100), ok=True)
    keep_apart(tmp_path, "a" * 16, adopt=False)
    assert not picture_path(tmp_path, 1, "frame").exists()
    assert len(kept(tmp_path)) == 1
