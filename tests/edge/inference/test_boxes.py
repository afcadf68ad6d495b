"""edge.inference.placement.boxes: each defect one box, in its place on the frame, and never a high cell without one."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge.core.types import Image, Limits, Located, Prediction, Reason, Verdict
from edge.inference.bundle import FORMAT_BOXES, MANIFEST, Bundle, BundleError, open_bundle, sha256_bytes
from edge.inference.decision import MAX_REGIONS, box_regions, decide
from edge.inference.detector import RUNTIMES, Detector, DetectorError, Runtime, check_references
from edge.inference.heatmap import overlay
from edge.inference.placement.boxes import BoxFacts, boxes_on_frame, in_limits, located, suppress, voted
from edge.inference.preprocess import Crop, InputSpec, RegionView, view_of
from tests.tiny import BOX_TYPES, good_image

FEWER = settings(max_examples=40)
FACTS = BoxFacts(types=BOX_TYPES, limits=(1.0, 2.0))
LIMITS = Limits(1.0, 1.0)
WHOLE = (0, 0, 64, 64)
CELLS = hnp.arrays(np.float32, (4, 6), elements=st.floats(0, 4, width=32))
SIDES = hnp.arrays(np.float32, (4, 4, 6), elements=st.floats(-500, 500, width=32))
SHARES = hnp.arrays(np.float32, (2, 4, 6), elements=st.floats(0, 1, width=32))


@st.composite
def many(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes with whole sides, (N, 4), and their scores, all of them different."""
    count = draw(st.integers(1, 25))
    corner = draw(hnp.arrays(np.float32, (count, 2), elements=st.integers(0, 40)))
    size = draw(hnp.arrays(np.float32, (count, 2), elements=st.integers(1, 30)))
    scores = draw(st.permutations([float(number) for number in range(count)]))
    return np.hstack([corner, corner + size]), np.array(scores, np.float32)


def overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Count whole pixels: the reference that shares no line with the code under test."""
    pixels = [{(x, y) for x in range(int(c[0]), int(c[2])) for y in range(int(c[1]), int(c[3]))} for c in (a, b)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


@FEWER
@given(many(), st.sampled_from([0.3, 0.5, 0.7]))
def test_what_stays_is_what_no_better_box_that_stays_covers(
    found: tuple[NDArray[np.float32], NDArray[np.float32]], share: float
) -> None:
    boxes, scores = found
    expected: list[int] = []
    for number in sorted(range(len(scores)), key=lambda one: -scores[one]):
        if all(overlap(boxes[number], boxes[other]) < share for other in expected):
            expected.append(number)
    assert suppress(boxes, scores, share).tolist() == expected


@FEWER
@given(many(), st.floats(0.1, 9))
def test_a_voted_box_lies_between_those_of_its_type_over_it_in_any_unit_of_the_score(
    found: tuple[NDArray[np.float32], NDArray[np.float32]], unit: float
) -> None:
    boxes, scores = found
    kinds = np.arange(len(boxes)) % 2
    kept = suppress(boxes, scores + 1, 0.3)
    after = voted(boxes, scores + 1, kinds, kept)
    assert np.allclose(after, voted(boxes, (scores + 1) * np.float32(unit), kinds, kept), atol=1e-3)
    for number, box in zip(kept, after, strict=True):
        over = [
            other
            for other in range(len(boxes))
            if other == number or (kinds[other] == kinds[number] and overlap(boxes[number], boxes[other]) >= 0.5)
        ]
        assert (box >= boxes[over].min(axis=0) - 1e-3).all()
        assert (box <= boxes[over].max(axis=0) + 1e-3).all()
        if len(over) == 1:
            assert np.array_equal(box, boxes[number])


def test_two_boxes_that_are_as_sure_meet_in_the_middle_and_a_faint_one_has_little_say() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], np.float32)
    kinds, kept = np.zeros(2, np.intp), np.array([0])
    equal, faint = (voted(boxes, np.array(scores, np.float32), kinds, kept)[0] for scores in ((1, 1), (1, 0.5)))
    share = 8 / 12  # their overlap
    assert equal == pytest.approx(np.array([2, 0, 2, 0]) * share / (1 + share) + boxes[0], abs=1e-5)
    assert np.abs(faint - boxes[0]).max() < 0.01


@FEWER
@given(many())
def test_suppression_twice_is_suppression_once(found: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    boxes, scores = found
    once = suppress(boxes, scores, 0.5)
    assert suppress(boxes[once], scores[once], 0.5).tolist() == list(range(len(once)))


@FEWER
@given(CELLS, SIDES, SHARES)
def test_the_best_box_has_the_highest_value_of_the_map_whatever_its_sides_are(
    cells: NDArray[np.float32], sides: NDArray[np.float32], shares: NDArray[np.float32]
) -> None:
    anomaly_map, boxes = located(cells, sides, shares, FACTS, (48, 32))
    assert boxes[0].score == anomaly_map.max()
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    for box in boxes:
        assert 0 <= box.left < box.right <= 48
        assert 0 <= box.top < box.bottom <= 32


@FEWER
@given(CELLS, SIDES, SHARES, st.integers(0, 2), st.sampled_from([math.nan, math.inf]))
def test_a_number_that_is_not_finite_leaves_no_box_and_no_map(
    cells: NDArray[np.float32], sides: NDArray[np.float32], shares: NDArray[np.float32], which: int, bad: float
) -> None:
    (cells, sides, shares)[which].flat[3] = bad
    anomaly_map, boxes = located(cells, sides, shares, FACTS, (48, 32))
    assert np.isnan(anomaly_map).all()
    assert boxes == ()


def test_a_cell_is_measured_by_the_limit_of_its_likeliest_type() -> None:
    cells = np.array([[1.5, 1.5]], np.float32)
    shares = np.array([[[0.9, 0.2]], [[0.1, 0.8]]], np.float32)
    anomaly_map, kinds = in_limits(cells, shares, FACTS)
    assert anomaly_map.tolist() == [[1.5, 0.75]]
    assert kinds.tolist() == [[0, 1]]


def ng(boxes: tuple[Located, ...]) -> Prediction:
    score = boxes[0].score if boxes else 5.0
    return Prediction(score, 0.9, np.full((4, 4), score, np.float32), 0.0, 0.0, boxes=boxes)


@FEWER
@given(st.lists(st.floats(0.1, 4), min_size=1, max_size=40), st.floats(0.2, 3))
def test_regions_are_the_boxes_past_the_limit_and_an_ng_part_has_one(scores: list[float], limit: float) -> None:
    ordered = sorted(scores, reverse=True)
    boxes = tuple(Located(n, 2.0, n + 8.0, 9.0, score, "short") for n, score in enumerate(ordered))
    decision = decide(ng(boxes), Limits(limit, limit), WHOLE)
    past = [score for score in ordered if score >= limit][:MAX_REGIONS]
    assert [region.peak for region in decision.regions] == past
    assert decision.verdict is (Verdict.NG if past else Verdict.OK)


def test_a_score_that_no_box_explains_is_an_error() -> None:
    decision = decide(ng(()), LIMITS, WHOLE)
    assert (decision.verdict, decision.reason) == (Verdict.ERROR, Reason.INFERENCE_FAILED)


@FEWER
@given(st.floats(-50, 150), st.floats(-50, 150), st.floats(0, 90), st.floats(0, 90))
def test_a_region_lies_inside_the_inspected_rectangle(left: float, top: float, width: float, height: float) -> None:
    box = (10, 20, 50, 40)
    (region,) = box_regions((Located(left, top, left + width, top + height, 2.0, "x"),), LIMITS, box)
    assert 10 <= region.x < region.x + region.w <= 60
    assert 20 <= region.y < region.y + region.h <= 60
    assert region.area_px == region.w * region.h


def test_the_sentence_for_a_worker_names_the_types() -> None:
    boxes = tuple(Located(n * 9.0, 0.0, n * 9.0 + 8, 8.0, 3.0 - n / 9, name) for n, name in enumerate("aba"))
    assert decide(ng(boxes), LIMITS, WHOLE).words == "Defect found: a, b, 3 marked areas."


def test_a_box_moves_with_crop_and_scale() -> None:
    spec = InputSpec(width=64, height=32, crop=Crop(x=100, y=10, width=128, height=64))
    found = boxes_on_frame(ng((Located(8, 4, 16, 12, 2.0, "a"),)), RegionView((100, 10, 128, 64)), spec, (200, 300, 3))
    assert found.boxes is not None
    assert found.boxes[0] == Located(116, 18, 132, 34, 2.0, "a")


def test_a_box_turns_with_the_region() -> None:
    spec = InputSpec(width=64, height=64)
    quarter = np.array([[0.0, -1.0, 63.0], [1.0, 0.0, 0.0]])  # (x, y) -> (63 - y, x)
    found = boxes_on_frame(ng((Located(8, 4, 16, 10, 2.0, "a"),)), RegionView(WHOLE, quarter), spec, (64, 64, 3))
    assert found.boxes is not None
    (box,) = found.boxes
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((54, 8, 60, 16))


def test_a_box_in_an_ignored_place_has_no_say() -> None:
    spec = InputSpec(width=64, height=64, ignore=(((0.0, 0.0), (30.0, 0.0), (30.0, 63.0), (0.0, 63.0)),))
    boxes = (Located(4, 4, 12, 12, 3.0, "a"), Located(40, 4, 48, 12, 2.0, "b"))
    view = RegionView(WHOLE)
    found = boxes_on_frame(ng(boxes), view, spec, (64, 64, 3))
    assert (found.score, found.defect_type) == (2.0, "b")
    assert boxes_on_frame(ng(boxes[:1]), view, spec, (64, 64, 3)).score == 0.0


def test_a_score_that_is_not_a_number_stays_none() -> None:
    found = replace(ng(()), score=math.nan)
    assert math.isnan(boxes_on_frame(found, RegionView(WHOLE), InputSpec(width=64, height=64), (64, 64, 3)).score)


def spotted(value: int) -> Image:
    """A good image with a spot, which covers the tiny model's cells of columns 2 and 3, rows 2 and 3."""
    image = good_image(64, 64)
    image[16:32, 16:32] = value
    return image


@pytest.fixture(scope="module", params=RUNTIMES)
def detector(request: pytest.FixtureRequest, tiny_box_bundle: Bundle) -> Detector:
    return Detector.from_bundle(tiny_box_bundle, request.param)


def test_a_bundle_of_boxes_locates_and_names_the_defect(detector: Detector, tiny_box_bundle: Bundle) -> None:
    found = detector.predict(spotted(255))
    decision = decide(found, tiny_box_bundle.manifest.limits, found.box or WHOLE)
    assert decision.verdict is Verdict.NG
    assert {region.label for region in decision.regions} == {"bright"}
    strongest = decision.regions[0]
    assert 12 <= strongest.x < strongest.x + strongest.w <= 36
    assert found.score == strongest.peak == pytest.approx(127 / 50)
    assert found.defect_type == "bright"


def test_the_limit_of_the_type_decides(detector: Detector, tiny_box_bundle: Bundle) -> None:
    """The dark spot is as far from grey as the bright one, and twice as much is allowed."""
    shades = {value: detector.predict(spotted(value)).score for value in (208, 48)}
    assert shades[208] == pytest.approx(80 / 50)
    assert shades[48] == pytest.approx(80 / 100)


def test_a_good_part_has_boxes_below_the_limit_only(detector: Detector, tiny_box_bundle: Bundle) -> None:
    found = detector.predict(good_image())
    assert found.boxes is not None
    assert decide(found, tiny_box_bundle.manifest.limits, WHOLE).regions == ()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_its_references_are_reproduced(runtime: Runtime, tiny_box_bundle: Bundle) -> None:
    checks = check_references(Detector.from_bundle(tiny_box_bundle, runtime), tiny_box_bundle)
    assert [check.passed for check in checks] == [True, True]


def test_a_model_whose_types_are_others_is_refused(tiny_box_bundle: Bundle) -> None:
    facts = BoxFacts(types=("a", "b", "c"), limits=(1.0, 1.0, 1.0))
    manifest = tiny_box_bundle.manifest.model_copy(update={"boxes": facts})
    with pytest.raises(DetectorError, match="answers 'box_types' of"):
        Detector.from_bundle(replace(tiny_box_bundle, manifest=manifest))


def test_a_model_without_boxes_is_refused(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest.model_copy(update={"boxes": FACTS})
    with pytest.raises(DetectorError, match="no 'boxes'; export it again"):
        Detector.from_bundle(replace(tiny_bundle, manifest=manifest))


def edited(bundle: Bundle, target: Path, **facts: object) -> Path:
    """Copy a bundle with other facts in its manifest."""
    shutil.copytree(bundle.path, target)
    raw = json.dumps(json.loads((target / MANIFEST).read_text()) | facts).encode()
    (target / MANIFEST).write_bytes(raw)
    (target / "manifest.sha256").write_text(f"{sha256_bytes(raw)}  {MANIFEST}\n")
    return target


def test_a_bundle_of_boxes_has_a_format_that_older_stations_refuse_by_its_number(tiny_box_bundle: Bundle) -> None:
    """Older ones refuse every format but 1 and 2, in one line, before they read any other fact."""
    assert tiny_box_bundle.manifest.format == FORMAT_BOXES == 3
    assert "boxes" in json.loads((tiny_box_bundle.path / MANIFEST).read_text())


def test_a_bundle_without_boxes_is_written_as_before(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.manifest.format == 2
    assert "boxes" not in json.loads((tiny_bundle.path / MANIFEST).read_text())


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"format": 2}, "boxes: format 3 needs them, and no other knows them"),
        ({"boxes": {"types": ["a"], "limits": [1.0, 2.0]}}, "1 types of box and 2 limits; each type has one"),
        ({"boxes": {"types": ["a", "a"], "limits": [1.0, 2.0]}}, "two types of box have one name"),
        ({"boxes": {"types": ["a"], "limits": [0.0]}}, "boxes.limits.0: "),
        ({"types": ["a", "b"]}, "the threshold is 1"),
    ],
)
def test_boxes_that_contradict_themselves_are_refused_in_one_line(
    tiny_box_bundle: Bundle, tmp_path: Path, facts: dict[str, object], why: str
) -> None:
    with pytest.raises(BundleError) as refused:
        open_bundle(edited(tiny_box_bundle, tmp_path / "bundle", **facts))
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_ng_part_is_drawn_with_its_boxes_and_names(detector: Detector, tiny_box_bundle: Bundle) -> None:
    image = spotted(255)
    found = detector.predict(image)
    limits = tiny_box_bundle.manifest.limits
    regions = decide(found, limits, WHOLE).regions[:1]
    drawn = overlay(image, found.anomaly_map, limits, WHOLE, Verdict.NG, regions)
    bare = overlay(image, found.anomaly_map, limits, WHOLE, Verdict.NG, ())
    changed = np.argwhere((drawn != bare).any(axis=2))
    assert (drawn[regions[0].y, regions[0].x + 1] == 255).all()
    assert len(changed) > 2 * (regions[0].w + regions[0].h)
    assert np.array_equal(overlay(image, found.anomaly_map, limits, WHOLE, Verdict.OK, regions), bare)


def test_view_of_a_small_frame_still_maps_boxes(detector: Detector) -> None:
    """A frame of another size than the input: the box covers the same share of it."""
    large = np.repeat(np.repeat(spotted(255), 3, axis=0), 3, axis=1)
    found = detector.predict(large)
    assert found.boxes is not None
    assert found.box == view_of(large, detector.spec).box == (0, 0, 192, 192)
    best = found.boxes[0]
    assert (best.right - best.left, best.bottom - best.top) == pytest.approx((48, 48))
