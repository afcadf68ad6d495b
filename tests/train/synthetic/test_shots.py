import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.inference.preprocess import image_files, load_image
from train.data.check import check_dataset
from train.data.dataset import dataset_sha256, read_dataset
from train.stages import StageError
from train.stages.synth import main
from train.synthetic.defects import PAINTERS, defect_mask
from train.synthetic.flange import render
from train.synthetic.shots import KINDS, STORY, PlannedShot, plan_dataset, plan_frames, stage_shot, take

SIDE = 160


def folder_bytes(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def synth(folder: Path, *more: str) -> Path:
    counts = ["--train-good", "3", "--test-good", "2", "--test-bad-per-type", "1", "--size", f"{SIDE}x{SIDE}"]
    main(["--out", str(folder), *counts, *more])
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth(tmp_path_factory.mktemp("synth") / "set")


def test_the_same_seed_writes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    assert folder_bytes(synth(tmp_path / "again")) == folder_bytes(made)


def test_another_seed_writes_other_parts(made: Path, tmp_path: Path) -> None:
    other, first = folder_bytes(synth(tmp_path / "other", "--seed", "1")), folder_bytes(made)
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.endswith(".jpg"))


def test_asking_for_more_leaves_the_others_as_they_are(made: Path, tmp_path: Path) -> None:
    more = folder_bytes(synth(tmp_path / "more", "--train-good", "5", "--test-bad-per-type", "2"))
    for name, data in folder_bytes(made).items():
        if name != "synth.json":
            assert more[name] == data


def test_the_set_passes_check_with_every_mask(made: Path) -> None:
    report = check_dataset(made, min_good=3)
    assert (report.problems, report.warnings) == ([], [])
    masks = {row.label: row.masks for row in report.rows if row.split == "test"}
    assert masks == {"good": 0} | dict.fromkeys(PAINTERS, 1)


def test_no_two_photographs_show_the_same_part(made: Path) -> None:
    images = [load_image(made / name) for name in folder_bytes(made) if name.endswith(".jpg")]
    assert len({image.tobytes() for image in images}) == len(images) == 9


def test_the_report_counts_what_was_written(made: Path) -> None:
    report = json.loads((made / "synth.json").read_text())
    expected = {"train/good": 3, "test/good": 2} | {f"test/{kind}": 1 for kind in PAINTERS}
    assert report["counts"] == expected
    assert (report["seed"], report["width"], report["images"]) == (0, SIDE, 9)
    assert len(report["sha256"]) == 64


def test_width_comes_before_height() -> None:
    image, mask = take(PlannedShot("x.jpg", "test", "dent", 0), 0, 192, 128)
    assert image.shape == (128, 192, 3)
    assert mask is not None
    assert mask.shape == (128, 192)


def test_a_good_part_has_no_mask() -> None:
    assert take(PlannedShot("x.jpg", "train", "good", 0), 0, SIDE, SIDE)[1] is None


@pytest.mark.parametrize("kind", PAINTERS)
@pytest.mark.parametrize("index", range(4))
def test_a_defect_changes_the_image_under_its_mask_and_nowhere_else(kind: str, index: int) -> None:
    scene, defect = stage_shot(PlannedShot("x.jpg", "test", kind, index), 3, 256, 256)
    assert defect is not None
    mask = defect_mask(defect, 256, 256)
    assert set(np.unique(mask)) == {0, 255}
    change = np.abs(render(scene, defect).astype(int) - render(scene)).max(axis=2)
    near = cv2.dilate(mask, np.ones((13, 13), np.uint8)) > 0
    assert change[~near].max() == 0
    assert change[mask > 0].mean() > 5  # well above the sensor's noise of about one level


def test_the_frames_of_the_demo_tell_the_story(tmp_path: Path) -> None:
    main(["--frames", str(tmp_path / "frames"), "--size", "96x96"])
    names = [path.stem for path in image_files(tmp_path / "frames")]
    assert [name.split("_")[1] for name in names] == list(STORY)
    assert set(STORY) == set(KINDS)


def test_no_frame_of_the_demo_is_in_the_data_set() -> None:
    frame, good = plan_frames()[0], plan_dataset(1, 1, 1)[0]
    assert not np.array_equal(take(frame, 0, SIDE, SIDE)[0], take(good, 0, SIDE, SIDE)[0])


def test_the_shipped_frames_are_what_the_command_writes() -> None:
    samples = Path(__file__).parents[3] / "models" / "samples"
    report = json.loads((samples / "synth.json").read_text())
    shot = plan_frames()[4]
    drawn, _ = take(shot, report["seed"], report["width"], report["height"])
    shipped = load_image(samples / shot.file)
    assert len(image_files(samples)) == len(STORY) == report["images"]
    assert np.abs(drawn.astype(int) - shipped).mean() < 2.5  # JPEG


def test_foreign_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(StageError, match=r"did not write \(no synth.json\)"):
        synth(tmp_path, "--force")
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_earlier_set_is_replaced_only_with_force(made: Path, tmp_path: Path) -> None:
    folder = synth(tmp_path / "set", "--seed", "9")
    with pytest.raises(StageError, match="add --force"):
        synth(folder)
    synth(folder, "--force")
    assert dataset_sha256(read_dataset(folder)) == dataset_sha256(read_dataset(made))


def test_a_file_is_refused_as_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="is a file"):
        synth(tmp_path / "file")


def test_an_order_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no image was asked for"):
        synth(tmp_path / "set", "--train-good", "0", "--test-good", "0", "--test-bad-per-type", "0")


@pytest.mark.parametrize("option", [("--size", "512"), ("--size", "8x8"), ("--train-good", "-1"), ("--seed", "x")])
def test_malformed_options_are_usage_errors(tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        synth(tmp_path / "set", *option)
    assert stopped.value.code == 2
    assert not (tmp_path / "set").exists()
