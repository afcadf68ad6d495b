from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cameras.quality import Comparison, FrameCheck, QualityError, baseline_of, read_baseline
from edge.config.station import QualityConfig
from edge.core.types import Image
from edge.inference.preprocess import image_files, load_image
from edge.inference.usable import unusable
from tests.edge.engine.parts import frame
from tests.tiny import bad_image, good_image

SAMPLES = Path(__file__).parents[3] / "models" / "samples"

DATA = Path(__file__).parents[4] / "shared" / "data"


@given(level=st.integers(0, 255), height=st.integers(1, 200), width=st.integers(1, 200))
def test_a_frame_of_one_tone_is_refused(level: int, height: int, width: int) -> None:
    assert unusable(np.full((height, width, 3), level, np.uint8))


@pytest.mark.parametrize(("low", "high", "word"), [(0, 17, "black"), (250, 256, "white"), (0, 2, "black")])
def test_a_frame_that_is_nearly_black_or_white_is_refused_by_name(low: int, high: int, word: str) -> None:
    noise = np.random.default_rng(0).integers(low, high, (480, 640, 3)).astype(np.uint8)
    assert word in (unusable(noise) or "")


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 0, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_frame_is_refused(frame: np.ndarray) -> None:
    assert unusable(frame)


def test_ordinary_dark_and_binary_parts_pass() -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(5, 60, (400, 500, 3)).astype(np.uint8)
    binary = rng.choice(np.array([0, 255], np.uint8), (640, 640, 1)).repeat(3, axis=2)
    for image in (good_image(), bad_image(), dark, binary):
        assert unusable(image) is None


def lit_scene() -> Image:
    """A picture as a camera takes it: large and small shapes, an even light, a sensor's noise."""
    scene = cv2.resize(np.random.default_rng(3).integers(30, 220, (12, 16, 3)).astype(np.uint8), (640, 480))
    return noisy(scene, seed=4)


def without_rows(first: int) -> Image:
    """What a decoder shows when the data end at this row."""
    planes = cv2.cvtColor(lit_scene(), cv2.COLOR_BGR2YUV_I420)
    planes[first:480] = 0
    chroma = planes[480:].reshape(2, 240, 320)
    chroma[:, first // 2 :] = 0
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)


@pytest.mark.parametrize("first", [0, 240, 464])
def test_the_green_of_a_decoder_without_data_is_refused_in_part_too(first: int) -> None:
    stored = cv2.imencode(".jpg", without_rows(first), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    for image in (without_rows(first), cv2.imdecode(stored, cv2.IMREAD_COLOR)):
        assert ("green" if first else "flat") in (unusable(image) or "")


def test_a_picture_that_lost_its_colours_on_the_way_is_refused() -> None:
    planes = cv2.cvtColor(lit_scene(), cv2.COLOR_BGR2YUV_I420)
    planes[480:] = 0
    assert "green" in (unusable(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)) or "")


def test_a_part_that_is_green_or_lit_green_is_judged() -> None:
    scene = lit_scene()
    lit = scene.copy()
    lit[..., (0, 2)] //= 12
    green = scene.copy()
    green[100:300, 100:400] = noisy(np.full((200, 300, 3), (20, 150, 30), np.uint8), seed=1)
    for image in (scene, lit, green):
        assert unusable(image) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [None, 90, 50])
def test_noise_is_refused_however_it_is_stored(channels: int, quality: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, channels)).astype(np.uint8)
    frame = np.ascontiguousarray(np.broadcast_to(noise, (480, 640, 3)))
    if quality is not None:
        stored = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        frame = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
    assert "noise" in (unusable(frame) or "")


@pytest.mark.parametrize("sigma", [2.0, 12.0])
def test_a_noisy_picture_of_a_part_is_judged(sigma: float) -> None:
    assert unusable(noisy(lit_scene(), seed=5, sigma=sigma)) is None
    assert unusable(noisy(np.full((480, 640, 3), 120, np.uint8), seed=6, sigma=sigma)) is None, "a plain part"


@pytest.mark.parametrize("name", ["magnetic_tile", "cookie", "pcb"])
def test_no_real_part_is_refused(name: str) -> None:
    folders = sorted({p.parent for p in (DATA / name).rglob("train/good/*")})
    if not folders:
        pytest.skip(f"{DATA / name} is not there")
    for path in image_files(folders[0])[:10]:
        assert unusable(load_image(path)) is None, path


def test_the_frame_is_not_changed() -> None:
    image = bad_image()
    image.flags.writeable = False
    assert unusable(image) is None


def noisy(image: Image, seed: int, sigma: float = 2.0) -> Image:
    """The same scene again, as a sensor sees it."""
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


PART = load_image(SAMPLES / "01_good.jpg")
COMPARISON = Comparison(
    baseline_of([frame(seq=n, image=noisy(PART, n)) for n in range(1, 9)], "camera"), QualityConfig()
)


def moved(image: Image, share: float) -> Image:
    shift = np.asarray([[1, 0, image.shape[1] * share], [0, 1, 0]], np.float32)
    turned = cv2.warpAffine(image, shift, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)


def half_covered(image: Image) -> Image:
    covered = image.copy()
    covered[:, : image.shape[1] // 2] = 30
    return covered


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 4), "out of focus"),
        (lambda image: np.clip(image * 2.0, 0, 255).astype(np.uint8), "over-exposed"),
        (lambda image: (image * 0.5).astype(np.uint8), "under-exposed"),
        (lambda image: image[..., ::-1].copy(), "red and blue are swapped"),
        (lambda image: np.clip(image + np.array([0, 0, 30]), 0, 255).astype(np.uint8), "colours moved"),
        (lambda image: moved(image, 0.08), "moved by 8%"),
        (half_covered, "covered"),
        (lambda image: np.ascontiguousarray(image[:400]), "commission again"),
    ],
)
def test_what_is_wrong_with_the_view_is_named(change: Callable[[Image], Image], word: str) -> None:
    assert word in (COMPARISON.difference(noisy(np.asarray(change(PART), np.uint8), 99)) or "")


@given(seed=st.integers(100, 10_000), light=st.floats(0.93, 1.07), shift=st.floats(-0.01, 0.01))
def test_noise_and_small_changes_of_light_and_place_are_no_fault(seed: int, light: float, shift: float) -> None:
    image = np.clip(moved(PART, shift) * light, 0, 255).astype(np.uint8)
    assert COMPARISON.difference(noisy(image, seed)) is None


def test_defects_are_left_to_the_model() -> None:
    paths = image_files(SAMPLES)
    assert any("scratch" in path.name for path in paths)
    assert [path.name for path in paths if COMPARISON.difference(load_image(path))] == []


def test_the_check_remembers_the_fault_of_the_last_frame_only() -> None:
    check = FrameCheck(None, QualityConfig())
    assert not check.commissioned
    assert "black" in (check.refusal(frame(image=np.zeros((96, 128, 3), np.uint8))) or "")
    assert check.fault is not None
    assert check.refusal(frame()) is None
    assert check.fault is None


def test_a_frame_that_the_capture_marked_is_refused_in_its_words() -> None:
    marked = frame()
    object.__setattr__(marked, "fault", "frozen: it repeats itself")
    assert FrameCheck(None, QualityConfig()).refusal(marked) == "frozen: it repeats itself"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([PART, (PART * 0.7).astype(np.uint8)], "brightness varies"),
        ([PART, np.asarray(cv2.GaussianBlur(PART, (0, 0), 6), np.uint8)], "sharpness varies"),
        ([PART, PART, half_covered(PART)], "differs|brightness"),
        ([PART, np.zeros_like(PART)], "frame 2 is not usable"),
        ([PART, np.ascontiguousarray(PART[:400])], "resolution"),
    ],
)
def test_frames_that_vary_too_much_make_no_baseline(images: list[Image], words: str) -> None:
    with pytest.raises(QualityError, match=words):
        baseline_of([frame(seq=n, image=image) for n, image in enumerate(images, 1)], "camera")


def test_a_baseline_is_read_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline-default.json"
    assert read_baseline(path) is None
    baseline = baseline_of([frame(seq=n, image=noisy(PART, n)) for n in range(1, 4)], "camera")
    path.write_text(baseline.model_dump_json())
    assert read_baseline(path) == baseline
    path.write_text("{}")
    with pytest.raises(QualityError, match="commission"):
        read_baseline(path)
    damaged = baseline.model_copy(update={"reference_png": "AAAA"})
    with pytest.raises(QualityError, match="damaged"):
        Comparison(damaged, QualityConfig())
