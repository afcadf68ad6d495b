import itertools
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.check import check_dataset
from train.data.dataset import DataError, Dataset, Sample, dataset_sha256, load_mask, read_dataset
from train.data.parts import PartError, part_keys
from train.data.split import split_goods
from train.stages.check import main

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
SIDE = 24


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE + 8, 3), dtype=np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound data set: 20 good images, 2 good and 2 bad ones to test on, masks."""
    folder = tmp_path / "set"
    for i in range(20):
        save(folder / "train/good" / f"{i:03d}.png", picture(i))
    for i in range(2):
        save(folder / "test/good" / f"{i:03d}.png", picture(100 + i))
        save(folder / "test/crack" / f"{i:03d}.png", picture(200 + i))
        mask = np.zeros((SIDE, SIDE + 8), np.uint8)
        mask[4:9, 5:9] = 255
        save(folder / "ground_truth/crack" / f"{i:03d}_mask.png", mask)
    return folder


def problems(root: Path) -> list[str]:
    with pytest.raises(DataError) as refused:
        main(["--data", str(root)])
    return str(refused.value).splitlines()


def only_problem(root: Path) -> str:
    found = problems(root)
    assert len(found) == 1, found
    return found[0]


def only_warning(root: Path) -> str:
    report = check_dataset(root)
    assert report.problems == []
    assert len(report.warnings) == 1, report.warnings
    return report.warnings[0]


def test_a_sound_set_is_listed_with_counts_and_sizes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(root)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[:3] == [
        ["train", "good", "20", "0", "32x24"],
        ["test", "good", "2", "0", "32x24"],
        ["test", "crack", "2", "2", "32x24"],
    ]
    (region,) = rows[3:]
    assert region[:6] == ["region:", "the", "whole", "photo", "is", "inspected:"]


def test_the_range_of_sizes_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(root / "train/good/large.bmp", np.resize(picture(300), (100, 50, 3)))
    main(["--data", str(root)])
    assert "32x24 to 50x100" in capsys.readouterr().out


def test_the_json_report_has_rows_and_hash(root: Path, tmp_path: Path) -> None:
    main(["--data", str(root), "--json", str(tmp_path / "check.json")])
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["sha256"] == dataset_sha256(read_dataset(root))
    assert [row["images"] for row in report["rows"]] == [20, 2, 2]


def test_a_set_of_goods_alone_is_sound(root: Path) -> None:
    shutil.rmtree(root / "test")
    shutil.rmtree(root / "ground_truth")
    assert check_dataset(root).problems == []
    assert read_dataset(root).test == ()


def test_suffixes_are_read_in_any_case(root: Path) -> None:
    save(root / "upper.png", picture(300)).rename(root / "train/good/UPPER.PNG")
    assert len(read_dataset(root).train_good) == 21


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in only_problem(tmp_path / "nowhere")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "is a file" in only_problem(tmp_path / "file")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "the folder is empty" in only_problem(tmp_path)


def test_missing_goods_are_refused(root: Path) -> None:
    shutil.rmtree(root / "train")
    assert "train/good: does not exist" in only_problem(root)
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(root)


def test_too_few_goods_are_refused(root: Path) -> None:
    (root / "train/good/000.png").unlink()
    assert "19 good images, at least 20 are needed" in only_problem(root)
    assert check_dataset(root, min_good=19).problems == []


def test_a_zero_byte_image_is_refused(root: Path) -> None:
    (root / "train/good/zero.png").write_bytes(b"")
    assert "zero.png: the file is empty (0 bytes)" in only_problem(root)


def test_an_unreadable_image_is_refused(root: Path) -> None:
    (root / "test/good/noise.jpg").write_bytes(b"not a picture")
    assert "noise.jpg: not a readable image" in only_problem(root)


def test_an_empty_test_folder_is_refused(root: Path) -> None:
    (root / "test/dent").mkdir()
    assert "dent: holds no image" in only_problem(root)


def test_a_mask_of_another_size_is_refused(root: Path) -> None:
    save(root / "ground_truth/crack/000_mask.png", np.full((SIDE, SIDE), 255, np.uint8))
    assert "000_mask.png: the mask is 24x24, but its image is 32x24" in only_problem(root)


def test_an_unreadable_mask_is_refused(root: Path) -> None:
    (root / "ground_truth/crack/000_mask.png").write_bytes(b"")
    assert "000_mask.png: not a readable image" in only_problem(root)


def test_a_mask_without_an_image_is_refused(root: Path) -> None:
    (root / "test/crack/001.png").unlink()
    assert "001_mask.png: there is no image" in only_problem(root)


def test_a_copy_across_train_and_test_is_refused(root: Path) -> None:
    shutil.copy(root / "train/good/003.png", root / "test/good/copy.png")
    line = only_problem(root)
    assert "003.png" in line
    assert "copy.png: the same file in train and test" in line


def test_a_copy_in_another_format_across_train_and_test_is_refused(root: Path) -> None:
    save(root / "test/crack/copy.bmp", picture(3))
    line = only_problem(root)
    assert "003.png" in line
    assert "copy.bmp: the same picture, encoded differently in train and test" in line


def test_every_problem_is_listed(root: Path) -> None:
    (root / "train/good/zero.png").write_bytes(b"")
    (root / "test/dent").mkdir()
    save(root / "test/good/copy.bmp", picture(3))
    assert len(problems(root)) == 3


def test_a_duplicate_inside_train_is_a_warning(root: Path) -> None:
    save(root / "train/good/copy.bmp", picture(3))
    assert "twice in train" in only_warning(root)


def test_goods_that_are_all_copies_of_one_picture_are_refused(root: Path) -> None:
    for path in (root / "train/good").iterdir():
        save(path, picture(0))
    assert "all 20 good images are copies of one picture; photograph different parts" in only_problem(root)


def test_a_missing_mask_is_a_warning(root: Path) -> None:
    (root / "ground_truth/crack/001_mask.png").unlink()
    assert "1 of 2 images have no mask (first: 001.png)" in only_warning(root)


def test_an_empty_mask_is_a_warning(root: Path) -> None:
    save(root / "ground_truth/crack/001_mask.png", np.zeros((SIDE, SIDE + 8), np.uint8))
    assert "001_mask.png: marks no pixel" in only_warning(root)


def test_a_file_that_is_no_image_is_a_warning(root: Path) -> None:
    (root / "train/good/notes.txt").write_text("x")
    assert "notes.txt: not read" in only_warning(root)


def test_a_mask_named_otherwise_is_a_warning(root: Path) -> None:
    save(root / "ground_truth/crack/other.png", picture(1))
    assert "other.png: not read" in only_warning(root)


def test_warnings_are_printed_and_do_not_refuse(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train/good/notes.txt").write_text("x")
    main(["--data", str(root)])
    assert "\nwarning: " in capsys.readouterr().out


def test_a_mask_is_true_where_it_is_not_zero(root: Path) -> None:
    mask = load_mask(root / "ground_truth/crack/000_mask.png", (SIDE, SIDE + 8))
    assert mask.dtype == np.bool_
    assert mask.sum() == 20
    assert mask[4:9, 5:9].all()


def test_every_bad_image_finds_its_own_mask(root: Path) -> None:
    found = {s.path.stem: s.mask for s in read_dataset(root).test if s.label == "crack"}
    assert {stem: mask and mask.name for stem, mask in found.items()} == {"000": "000_mask.png", "001": "001_mask.png"}


@pytest.mark.parametrize("name", ["train/good/007.png", "test/crack/001.png", "ground_truth/crack/000_mask.png"])
def test_the_hash_changes_with_any_byte(root: Path, name: str) -> None:
    before = dataset_sha256(read_dataset(root))
    data = bytearray((root / name).read_bytes())
    for position in (0, len(data) // 2, len(data) - 1):
        data[position] ^= 1
        (root / name).write_bytes(data)
        assert dataset_sha256(read_dataset(root)) != before
        data[position] ^= 1
    (root / name).write_bytes(data)
    assert dataset_sha256(read_dataset(root)) == before


def test_the_hash_changes_with_a_name_but_not_with_the_place(root: Path, tmp_path: Path) -> None:
    before = dataset_sha256(read_dataset(root))
    moved = shutil.copytree(root, tmp_path / "moved")
    assert dataset_sha256(read_dataset(moved)) == before
    (moved / "train/good/000.png").rename(moved / "train/good/zzz.png")
    assert dataset_sha256(read_dataset(moved)) != before


def goods(names: list[str]) -> list[Sample]:
    return [Sample(Path("set/train/good") / name, "good", None) for name in names]


parts_and_counts = st.lists(st.integers(1, 6), min_size=2, max_size=30)


@given(parts_and_counts, st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_no_part_is_on_both_sides_of_the_split(counts: list[int], share: float, seed: int) -> None:
    samples = goods([f"part{k}_view{i}.png" for k, count in enumerate(counts) for i in range(count)])
    fit, holdout = split_goods(samples, share, seed, r"part(\d+)_")
    parts = [{s.path.name.split("_")[0] for s in side} for side in (fit, holdout)]
    assert not parts[0] & parts[1]
    assert fit
    assert holdout
    assert sorted(fit + holdout, key=lambda s: samples.index(s)) == samples


@given(st.integers(2, 200), st.floats(0.05, 0.5), st.integers(0, 2**32))
def test_without_a_rule_the_share_is_kept_and_the_split_repeats(count: int, share: float, seed: int) -> None:
    samples = goods([f"{i}.png" for i in range(count)])
    fit, holdout = split_goods(samples, share, seed)
    assert (fit, holdout) == split_goods(samples, share, seed)
    assert abs(len(holdout) - share * count) <= 1


@given(st.lists(st.integers(0, 3000), min_size=2, max_size=60, unique=True), st.integers(1, 80))
def test_numbers_at_most_a_gap_apart_are_one_part(numbers: list[int], gap: int) -> None:
    files = [Path(f"frame_{number}.jpg") for number in numbers]
    keys = dict(zip(numbers, part_keys(files, r"_(\d+)", gap), strict=True))
    ordered = sorted(numbers)
    for low, high in itertools.pairwise(ordered):
        assert (keys[low] == keys[high]) == (high - low <= gap)


def test_groups_csv_keeps_its_groups_together(root: Path) -> None:
    lines = [f"train/good/{i:03d}.png,part{i // 5}" for i in range(20)]
    (root / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    dataset = read_dataset(root)
    fit, holdout = split_goods(dataset.train_good, 0.25, 0)
    assert {len(fit), len(holdout)} == {15, 5}
    assert len({s.part for s in holdout}) == 1
    with pytest.raises(PartError, match="keep one of them"):
        split_goods(dataset.train_good, 0.25, 0, r"(\d)")


def test_a_part_among_the_goods_that_is_measured_on_as_well_is_refused(root: Path) -> None:
    """Its test photo would be judged by what its own photo taught; parts of labelled defects are left out anyway."""
    save(root / "train/crack/007.png", picture(7000))
    lines = ["train/good/003.png,a", "test/crack/001.png,a", "train/crack/007.png,b", "test/good/000.png,b"]
    (root / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    line = only_problem(root)
    assert "groups.csv: 1 images of test/ show parts that are in train/good, too" in line
    assert "(first: test/crack/001.png and train/good/003.png, part a); keep all images of a part on one side" in line


def test_goods_that_all_show_one_part_are_refused(root: Path) -> None:
    lines = [f"train/good/{i:03d}.png,a" for i in range(20)]
    (root / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    assert "says that all 20 good images show one part; photograph different parts" in only_problem(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,part\n", "the first line must be file,group"),
        ("file,group\ntrain/good/none.png,a\n", "names train/good/none.png, which does not exist"),
        ("file,group\ntrain/good/000.png,\n", "lacks its file or its group"),
    ],
)
def test_an_unusable_groups_csv_is_refused(root: Path, text: str, message: str) -> None:
    (root / "groups.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_dataset(root)


@pytest.mark.parametrize(
    ("regex", "gap", "message"),
    [
        ("(", 0, "not a regular expression"),
        ("part", 0, "has no group"),
        ("x([0-9])", 0, "does not match part1.png"),
        ("(part)", 5, "group_gap needs numbers"),
        (None, 5, "group_gap is set without group_regex"),
    ],
)
def test_an_unusable_rule_is_refused(regex: str | None, gap: int, message: str) -> None:
    with pytest.raises(PartError, match=message):
        split_goods(goods(["part1.png", "part2.png"]), 0.5, 0, regex, gap)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="must lie between 0 and 1"):
        split_goods(goods(["a.png", "b.png"]), share, 0)


def test_one_part_cannot_be_split() -> None:
    with pytest.raises(DataError, match="2 good images show 1 part"):
        split_goods(goods(["p1_a.png", "p1_b.png"]), 0.5, 0, "(p1)")


def real(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"real data is absent: {SHARED / name}")
    return SHARED / name


@pytest.mark.parametrize(("name", "empty_masks"), [("magnetic_tile", 4), ("cookie", 0), ("pcb", 0)])
def test_real_data_passes_check(name: str, empty_masks: int) -> None:
    report = check_dataset(real(name))
    assert report.problems == []
    assert sum("marks no pixel" in warning for warning in report.warnings) == empty_masks


def test_the_exposures_of_a_magnetic_tile_stay_on_one_side() -> None:
    dataset: Dataset = read_dataset(real("magnetic_tile"))
    fit, holdout = split_goods(dataset.train_good, 0.2, 0)
    sides = [{sample.part for sample in side} for side in (fit, holdout)]
    assert all(sides)
    assert sides[0] & sides[1] == set()
    assert len(fit) + len(holdout) == len(dataset.train_good) > len(sides[0] | sides[1])
