from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cameras.capture import Freeze
from edge.cameras.stillness import LEARN, PartWatch, Restlessness, changed
from edge.core.types import Image
from tests.edge.engine.parts import frame

SIZE = (640, 480)
RNG = np.random.default_rng(0)
TOPS = count()
NOISE = RNG.standard_normal((4 * SIZE[1], SIZE[0], 3), np.float32)


def scene(part: int = 0) -> Image:
    """A belt with texture, and a part somewhere on it."""
    belt = np.random.default_rng(1).integers(90, 110, (SIZE[1] // 8, SIZE[0] // 8, 3)).astype(np.uint8)
    image = np.asarray(cv2.resize(belt, SIZE, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    cv2.circle(image, (250 + 20 * part, 240), 110, (160, 150 - 7 * part, 140), -1)
    return image


def noisy(image: Image, sigma: float) -> Image:
    top = next(TOPS) * 37 % (len(NOISE) - SIZE[1])
    return np.clip(image + np.float32(sigma) * NOISE[top : top + SIZE[1]], 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


def with_clock(image: Image, tick: int, size: int = 4) -> Image:
    image = image.copy()
    image[20 : 20 + size, 20 : 20 + 4 * size] = (37 * tick % 256, 91 * tick % 256, 201 * tick % 256)
    return image


def learned(images: list[Image], frozen_frames: int = 5) -> Freeze:
    freeze = Freeze(frozen_frames)
    for number, image in enumerate(images):
        freeze.fault(image, float(number))
        assert not freeze.repeats, number
    return freeze


@pytest.mark.parametrize(("quality", "size"), [(60, 24), (80, 4), (95, 12), (None, 4)])
def test_a_picture_that_hangs_but_for_a_clock_repeats_from_its_first_frame_on(quality: int | None, size: int) -> None:
    coded = (lambda image: image) if quality is None else (lambda image: jpeg(image, quality))
    freeze = learned([coded(noisy(scene(), 3.0)) for _ in range(LEARN + 1)])
    hangs = noisy(scene(), 3.0)
    assert freeze.fault(coded(with_clock(hangs, 0, size)), 50.0) == ""
    for tick in range(1, 8):
        fault = freeze.fault(coded(with_clock(hangs, tick, size)), 50.0 + tick)
        assert freeze.repeats, tick
        assert bool(fault) is (tick >= 4)
    assert freeze.fault(coded(with_clock(noisy(scene(), 3.0), 9, size)), 60.0) == ""
    assert not freeze.repeats, "one living frame and all is well"


@settings(max_examples=8, deadline=None)
@given(sigma=st.floats(0.7, 12), quality=st.sampled_from([70, 85, 95, None]))
def test_a_steady_part_with_a_sensors_noise_never_repeats(sigma: float, quality: int | None) -> None:
    coded = (lambda image: image) if quality is None else (lambda image: jpeg(image, quality))
    learned([coded(noisy(scene(), sigma)) for _ in range(LEARN + 12)])


@pytest.mark.parametrize("codec", ["mp4v", "XVID"])
def test_skipped_blocks_of_a_video_codec_are_no_frozen_camera(tmp_path: Path, codec: str) -> None:
    file = str(tmp_path / "steady.avi")
    writer = cv2.VideoWriter(file, cv2.VideoWriter.fourcc(*codec), 25, SIZE)
    for _ in range(LEARN + 60):
        writer.write(noisy(scene(), 2.0))
    writer.release()
    reader = cv2.VideoCapture(file, cv2.CAP_FFMPEG)
    images = []
    while (read := reader.read())[0]:
        images.append(np.asarray(read[1], np.uint8))
    reader.release()
    assert len(images) > LEARN + 50
    learned(images)


def test_a_camera_without_noise_is_only_frozen_when_nothing_changes_at_all() -> None:
    freeze = learned([with_clock(scene(), tick) for tick in range(LEARN + 20)])
    assert freeze.still == 0.0


def test_pairs_of_one_frame_teach_nothing() -> None:
    """A stream of 50 frames a second from a sensor of 25."""
    freeze = Freeze(5)
    faults = []
    for number in range(LEARN * 3):
        image = noisy(scene(), 3.0)
        faults += [freeze.fault(image, number), freeze.fault(image.copy(), number)]
    assert set(faults) == {""}
    assert freeze.still is not None
    assert freeze.still > 0.1


@given(share=st.floats(0, 1))
def test_the_share_that_changed_is_that_of_the_area(share: float) -> None:
    one = np.full((320, 320, 3), 100, np.uint8)
    other = one.copy()
    other[: round(320 * share)] += 1
    assert abs(changed(one, other) - share) < 0.03
    assert changed(one, one[:-1]) == 1.0


def watched(still: float | None, images: list[Image]) -> list[bool]:
    watch = PartWatch()
    box = (100, 50, 440, 380)
    return [bool(watch.fault(replace(frame(1.0, image=image), still=still), box)) for image in images]


def test_a_part_whose_picture_is_that_of_the_part_before_is_told_even_with_a_clock_in_it() -> None:
    hangs = [with_clock(scene(), tick)[0:480] for tick in range(4)]
    moved = [np.roll(image, (130, 130), axis=(0, 1)) for image in hangs]  # the clock lies in the inspected region
    for images in (hangs, moved):
        assert watched(0.0, images) == [False, True, True, True]
        assert watched(0.25, [noisy(scene(), 3.0), *images]) == [False, False, True, True, True]
    assert watched(None, hangs) == [False] * 4, "a folder of pictures may repeat"


def test_other_parts_and_noisy_pictures_of_one_part_are_new() -> None:
    assert watched(0.0, [scene(number) for number in range(6)]) == [False] * 6
    assert watched(0.25, [jpeg(noisy(scene(), 2.0), 90) for _ in range(6)]) == [False] * 6


def test_restlessness_is_learned_once() -> None:
    restless = Restlessness()
    images = [noisy(scene(), 3.0) for _ in range(LEARN + 1)]
    for last, image in pairwise(images):
        restless.repeats(image, last)
    before = restless.limit
    for tick in range(200):
        restless.repeats(with_clock(scene(), tick), with_clock(scene(), tick + 1))
    assert restless.limit == before > 0.1
