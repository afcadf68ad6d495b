"""train.network.boxes.windows and labels: a box stays on its defect through every turn, cut and scale."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Located, Prediction
from edge.inference.placement.boxes import boxes_on_frame
from edge.inference.preprocess import Crop, InputSpec, RegionView
from train.config import TrainConfig
from train.data.dataset import GOOD, Sample
from train.network.boxes import BoxesError
from train.network.boxes.labels import has_boxes, on_input, read_labels, types_of
from train.network.boxes.windows import Windows, mirrored, quarter

SPEC = InputSpec(width=256, height=256)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A grey photo with one white rectangle."""
    folder = tmp_path_factory.mktemp("photos")
    image = np.full((256, 256, 3), 90, np.uint8)
    image[100:124, 60:100] = 255
    cv2.imwrite(str(folder / "one.png"), image)
    return Sample(folder / "one.png", "defect", None)


BOX = (60.0, 100.0, 100.0, 124.0, "spot")


@pytest.mark.parametrize("turn", [0.0, 180.0])
def test_the_box_of_a_window_frames_the_defect(labelled: Sample, turn: float) -> None:
    recipe = TrainConfig(turn=turn, light=0.0)
    windows = Windows(SPEC, {labelled: [BOX]}, [], ["spot"], recipe)
    seen = 0
    for index in range(40):
        window = windows.draw(0, index)
        bright = cv2.blur(window.pixels.mean(axis=2), (3, 3)) > 170
        for (left, top, right, bottom), known in zip(window.boxes, window.known, strict=True):
            if not known:
                continue
            seen += 1
            ys, xs = np.nonzero(bright)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(
                (left, top, right, bottom), abs=2.5
            )
    assert seen > 10


def test_a_window_is_the_same_in_every_run(labelled: Sample) -> None:
    first, second = (Windows(SPEC, {labelled: [BOX]}, [], ["spot"], TrainConfig()).draw(3, 4) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.boxes, second.boxes)


@given(st.integers(0, 30), st.integers(0, 20))
@settings(max_examples=20)
def test_four_quarters_and_two_mirrors_are_nothing(x: int, y: int) -> None:
    image = np.random.default_rng(x).integers(0, 255, (24, 36, 3)).astype(np.uint8)
    boxes = np.array([[x, y, x + 5.0, y + 3.0]])
    turned = (image, boxes)
    for _ in range(4):
        turned = quarter(*turned)
    again = mirrored(*mirrored(*turned))
    assert np.array_equal(again[0], image)
    assert np.array_equal(again[1], boxes)


@given(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)),
    st.booleans(),
)
@settings(max_examples=40)
def test_the_way_to_the_input_is_the_device_s_way_back(box: tuple[int, int, int, int], turned: bool) -> None:
    spec = InputSpec(width=96, height=64, crop=Crop(x=10, y=20, width=192, height=128))
    view = RegionView((10, 20, 192, 128), np.array([[0.0, -1.0, 200.0], [1.0, 0.0, 5.0]]) if turned else None)
    x, y, w, h = box
    label = (float(x + 20), float(y + 30), float(x + 20 + w), float(y + 30 + h), "a")
    (there,) = on_input([label], view, spec, (300, 300, 3))
    found = Prediction(2.0, 0.5, np.zeros((2, 2), np.float32), 0.0, 0.0, boxes=(Located(*there, 2.0, "a"),))
    back = boxes_on_frame(found, view, spec, (300, 300, 3)).boxes
    assert back is not None
    assert (back[0].left, back[0].top, back[0].right, back[0].bottom) == pytest.approx(label[:4], abs=1e-3)


def write(folder: Path, text: str) -> list[Sample]:
    (folder / "boxes").mkdir()
    (folder / "boxes" / "one.txt").write_text(text)
    return [Sample(folder / "test" / "defect" / "one.png", "defect", None)]


def test_labels_are_read_with_the_names_of_their_types(tmp_path: Path) -> None:
    samples = write(tmp_path, "1 2 30 40 2\n\n5,6,7,8,1\n")
    assert has_boxes(tmp_path)
    labels = read_labels(tmp_path, samples, ["open", "short"])
    assert labels[samples[0]] == [(1.0, 2.0, 30.0, 40.0, "short"), (5.0, 6.0, 7.0, 8.0, "open")]
    assert types_of(labels, ["open", "short"]) == ("open", "short")


def test_a_word_is_a_type_itself(tmp_path: Path) -> None:
    samples = write(tmp_path, "1 2 3 4 deep scratch\n1 2 3 4 dent\n")
    labels = read_labels(tmp_path, samples)
    assert types_of(labels) == ("deep scratch", "dent")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 2 3\n", "one.txt:1: '1 2 3' is not `x1 y1 x2 y2 type`"),
        ("1 2 3 4 1\n9 2 3 4 1\n", "one.txt:2: x1 y1 must be the upper left corner"),
        ("1 2 nan 4 1\n", "one.txt:1: x1 y1 must be"),
        ("1 2 3 4 7\n", "one.txt:1: type '7' is none of 1 to 2"),
        ("", "one.txt: holds no box"),
    ],
)
def test_a_label_that_cannot_be_meant_is_named_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BoxesError) as refused:
        read_labels(tmp_path, write(tmp_path, text), ["open", "short"])
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_photos_of_one_name_do_not_share_their_boxes(tmp_path: Path) -> None:
    samples = write(tmp_path, "1 2 30 40 a\n")
    other = Sample(tmp_path / "test" / "other" / "one.png", "other", None)
    with pytest.raises(BoxesError, match="2 photos are called one, and would share these boxes; rename all but one"):
        read_labels(tmp_path, [*samples, other])


def test_a_defect_without_labels_is_named_and_a_good_part_needs_none(tmp_path: Path) -> None:
    good = Sample(tmp_path / "train" / "good" / "g.png", GOOD, None)
    bad = Sample(tmp_path / "test" / "defect" / "b.png", "defect", None)
    with pytest.raises(BoxesError, match=r"b.txt: is missing; write a line"):
        read_labels(tmp_path, [good, bad])
    assert read_labels(tmp_path, [good]) == {good: []}
