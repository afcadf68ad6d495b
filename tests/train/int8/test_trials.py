from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Image
from edge.inference.part import PartNotFoundError
from edge.inference.preprocess import InputSpec, prepare
from tests.edge.inference.test_part import CROP, follow, photo
from tests.train.conftest import write_image
from train.int8.trials import MARKS, HeldOut, Settings, Trial, choose, compare, held_out, marked, over_limits, ways
from train.run import Run

GOODS = np.linspace(1.0, 1.2, 20)
BAD = np.linspace(2.0, 3.0, 10)
IMAGES = HeldOut((), np.array([False] * 20 + [True] * 10), "made up")


def scores(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


def trial(drop: float | None = 0.0, flips: float = 0.0, correlation: float = 1.0, what: str = "") -> Trial:
    return Trial(Settings(what), drop, correlation, flips, 400)


def test_the_same_scores_cost_nothing() -> None:
    found = compare(Settings(""), IMAGES, scores(GOODS, BAD), scores(GOODS, BAD))
    assert (found.auroc_drop, found.flips) == (0.0, 0.0)
    assert found.correlation == pytest.approx(1.0)
    assert found.passed


def test_a_scale_is_no_change_since_the_threshold_moves_with_it() -> None:
    found = compare(Settings(""), IMAGES, 3 * scores(GOODS, BAD), scores(GOODS, BAD))
    assert found.flips == 0.0


def test_a_defect_that_int8_no_longer_sees_is_a_drop_and_a_flip() -> None:
    blind = scores(GOODS, BAD)
    blind[20] = 0.9
    found = compare(Settings(""), IMAGES, blind, scores(GOODS, BAD))
    assert found.auroc_drop == pytest.approx(0.1)
    assert found.flips == pytest.approx(1 / 30)
    assert not found.passed


def test_one_image_whose_verdict_changes_is_no_evidence_and_two_are() -> None:
    assert Trial(Settings(""), 0.0, 1.0, 1 / 96, 96).passed
    assert not Trial(Settings(""), 0.0, 1.0, 2 / 96, 96).passed
    assert not Trial(Settings(""), 0.0, 1.0, 3 / 400, 400).passed


def test_a_way_over_the_limits_is_said_with_the_limits_and_what_to_do() -> None:
    assert "in 1 way tried: image AUROC may fall by 0.002 and 0.5%" in over_limits(1)
    assert "in each of 3 ways tried" in over_limits(3)
    assert "report" in over_limits(3)


def test_one_fibre_among_the_goods_hides_no_changed_verdict() -> None:
    """Verdicts are those of the threshold that ships, which leaves one part far beyond the rest out."""
    rng = np.random.default_rng(0)
    fp32 = np.exp(scores(rng.normal(0, 0.1, 30), rng.normal(0.35, 0.15, 90)))
    int8 = fp32 * np.exp(rng.normal(0, 0.08, 120))
    images = HeldOut((), np.arange(120) >= 30, "made up", groups=tuple(map(str, range(30))), cross=True, outliers=1)
    fibre = HeldOut((), np.arange(121) >= 31, "made up", groups=tuple(map(str, range(31))), cross=True, outliers=1)
    changed = compare(Settings(""), images, int8, fp32).flips * 120
    assert changed > 0
    found = compare(Settings(""), fibre, scores(np.array([4.0]), int8), scores(np.array([4.0]), fp32)).flips * 121
    assert found == pytest.approx(changed)


def test_the_photos_of_a_part_weigh_together_as_in_the_threshold_that_ships(tiny_run: Run) -> None:
    report = tiny_run.fit_report()
    lines = [f"train/good/{number:02d}.png,{number // 2}" for number in range(30)]
    (report.data / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    found = held_out(report)
    assert found.groups == tuple(f"part {number // 2}" for number in range(20, 30))
    assert (found.cross, found.outliers) == (report.cross, report.recipe.outliers)


def test_without_defects_there_is_no_drop_to_speak_of() -> None:
    goods = HeldOut((), np.zeros(20, np.bool_), "goods")
    assert compare(Settings(""), goods, GOODS, GOODS).auroc_drop is None


def test_the_first_within_the_limits_is_chosen() -> None:
    tried = [trial(0.01), trial(0.002, 0.005, 0.9), trial(0.0)]
    assert choose(tried) is tried[1]


def test_with_none_within_the_limits_the_least_over_them_is_chosen() -> None:
    tried = [trial(0.01), trial(0.004, 0.0, 0.9), trial(0.004, 0.0, 0.99), trial(0.0, 0.1)]
    assert choose(tried) is tried[2]


@given(st.lists(st.tuples(st.floats(-0.1, 0.5), st.floats(0, 1), st.floats(-1, 1)), min_size=1, max_size=8))
def test_nothing_chosen_is_further_over_the_limits_than_another(made: list[tuple[float, float, float]]) -> None:
    tried = [trial(*facts) for facts in made]
    assert choose(tried).loss[0] == min(one.loss[0] for one in tried)


def test_the_quantisers_own_ranges_come_after_those_that_are_measured() -> None:
    assert [way.observer for way in ways(64)] == ["minmax", "percentile", "kl"]
    assert {way.images for way in ways(64)} == {64}


def test_what_quantize_json_holds() -> None:
    found = trial(0.001, 0.0, 0.99, "a way").facts(chosen=True)
    assert found == {
        "what": "a way",
        "auroc_drop": 0.001,
        "correlation": 0.99,
        "flips": 0.0,
        "chosen": True,
    }


@given(seed=st.integers(0, 1000), share=st.sampled_from(MARKS))
def test_a_mark_changes_a_square_of_what_is_inspected(seed: int, share: float) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    changed = (marked(image, (20, 10, 40, 40), share, np.random.default_rng(seed)) != image).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert 0 < len(rows) <= 8
    assert 0 < len(columns) <= 8
    assert rows.min() >= 10
    assert rows.max() < 50
    assert columns.min() >= 20
    assert columns.max() < 60


def is_lost(image: Image, spec: InputSpec) -> bool:
    try:
        prepare(image, spec)
    except PartNotFoundError:
        return True
    return False


def test_a_mark_that_hides_a_followed_part_is_drawn_where_the_part_was(tiny_run: Run, tmp_path: Path) -> None:
    spec = InputSpec(crop=CROP, follow=follow("board", "picture", least=0.99), width=160, height=128)
    images = {f"train/good/{number}.png": photo("board", dx=3.0 * number) for number in range(5)}
    for name, image in images.items():
        write_image(tmp_path / name, image)
    one, box = images["train/good/0.png"], (CROP.x, CROP.y, CROP.width, CROP.height)
    assert any(is_lost(marked(one, box, 0.5, np.random.default_rng(seed)), spec) for seed in range(20))
    names = {"fit_images": (), "holdout_images": tuple(images), "validation_images": (), "cross": False}
    report = tiny_run.fit_report().model_copy(update={"data": tmp_path, "input": spec, **names})
    found = held_out(report)
    assert found.defective.tolist() == [False] * 5 + [True] * 5 * len(MARKS)
    assert len(found.tensors) == len(found.defective)
