"""train.network.geometry: where a map looks is found to a fraction of a pixel, whatever the map."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import AnomalyMap, Image
from edge.inference.placement import MapGeometry
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.bank import as_floats
from train.network.geometry import Answer, displacement, measure_geometry, sightings
from train.network.model import NormalityHead, PatchFeatures, moved

SIDE = 256


def photos(count: int = 4) -> list[Image]:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (count, SIDE, SIDE, 3)).astype(np.float32)
    return [(70 + 0.5 * cv2.GaussianBlur(image, (0, 0), 3)).astype(np.uint8)[np.newaxis] for image in noise]


def looking(stride: int, shift: tuple[float, float], blur: float = 10.0) -> Answer:
    """A map whose cells look `shift` input pixels beside their middle: the distance to mid grey, blurred."""

    def answer(tensor: Image) -> AnomalyMap:
        away = cv2.GaussianBlur(abs(tensor[0].mean(axis=2).astype(np.float32) - 110), (0, 0), blur)
        move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
        size = (SIDE, SIDE)
        seen = cv2.warpAffine(away, move, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=1)
        cells = SIDE // stride
        return np.asarray(cv2.resize(seen, (cells, cells), interpolation=cv2.INTER_AREA), np.float32)

    return answer


@settings(deadline=None, max_examples=8)
@given(st.sampled_from([4, 8, 16]), st.tuples(st.floats(-15, 15), st.floats(-15, 15)))
def test_a_displaced_map_is_found_where_it_looks(stride: int, shift: tuple[float, float]) -> None:
    found, off = measure_geometry(looking(stride, shift), photos(), 0)
    wanted = [(stride - 1) / 2 + by for by in shift]
    assert found.stride == stride
    assert found.offset == pytest.approx(wanted, abs=1.0)
    assert off <= 1.0


def test_a_wrong_geometry_is_off_by_as_much_as_it_is_wrong() -> None:
    answer = looking(16, (-12.5, -12.5))
    drawn_where_it_is_not = MapGeometry(columns=16, rows=16, stride=16.0, offset=(7.5, 7.5))
    off = displacement(sightings(answer, photos(), 16.0, 1), drawn_where_it_is_not)
    assert off == pytest.approx((12.5, 12.5), abs=1.0)


def test_a_map_that_does_not_answer_is_refused() -> None:
    with pytest.raises(NetworkError, match="does not answer to dots"):
        measure_geometry(lambda _: np.zeros((16, 16), np.float32), photos(), 0)


def test_a_map_that_places_dots_anywhere_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(NetworkError, match="pixels of the input beside where they are, at most 1 is allowed"):
        measure_geometry(lambda _: rng.uniform(size=(8, 8)).astype(np.float32) * 100, photos(), 0)


@pytest.mark.parametrize(("name", "shift"), [("tf_efficientnet_lite0", -12.5)])
def test_the_packaged_backbone_looks_up_and_left(name: str, shift: float) -> None:
    """Weights that TensorFlow trained with padding on the right and bottom, run with symmetric padding."""
    features = PatchFeatures(Backbone.pretrained(name), 16).eval()
    with torch.inference_mode():
        patches = torch.cat([features(as_floats(photo))[0].flatten(1).T for photo in photos()])
        head = NormalityHead(patches.mean(0), patches.std(0), (patches - patches.mean(0)) / patches.std(0)).eval()

        def answer(tensor: Image) -> AnomalyMap:
            return np.asarray(head(features(as_floats(tensor)))[0, 0].numpy())

        found, _ = measure_geometry(answer, photos(), 0)
    assert found.offset == pytest.approx((7.5 + shift, 7.5 + shift), abs=2.0)


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_moved_map_keeps_its_size_and_repeats_its_edge(x: int, y: int) -> None:
    maps = torch.arange(48.0).reshape(1, 1, 6, 8)
    found = moved(maps, x, y)
    rows, columns = torch.arange(6).sub(y).clamp(0, 5), torch.arange(8).sub(x).clamp(0, 7)
    assert torch.equal(found[0, 0], maps[0, 0][rows][:, columns])
