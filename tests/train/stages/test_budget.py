import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.inference.bundle import INT8_IR, open_bundle
from edge.inference.preprocess import Crop, InputSpec
from tests.train.data.pictures import write_product
from tests.train.data.test_align import boards
from tests.train.int8.test_latency import report
from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.int8 import latency
from train.int8.latency import Target, measure_latency
from train.network.model import Place
from train.run import Run
from train.stages import StageError
from train.stages.budget import Size, _search, _shapes, _sizes, _untrained, budget, main

TINY = TrainConfig(bank=50, candidates=1000)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("product"), defects=0)


def sizes(*sides: int) -> list[Size]:
    return [Size(side, InputSpec(width=side, height=side)) for side in sides]


def searched(sides: list[Size], limit_ms: float, ms: Callable[[int], float]) -> list[int]:
    """The sides that the search measures on a CPU that takes ms(pixels)."""
    tier, tried = _search(sides, limit_ms, lambda size: ("AVX2", ms(size.pixels)))
    assert tier == "AVX2"
    return [one.size.side or 0 for one in tried]


def test_the_largest_side_inside_is_chosen_and_all_that_were_measured_are_listed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks of two sizes, really quantised and measured: the default first, which no photo is enlarged beyond."""
    chosen, words = budget(data, TINY, 1e6, None, Run(tmp_path / "run"))
    facts = Run(tmp_path / "run").read_report("budget.json", "budget")
    decided = {"side": 320, "scales": 1, "crop": chosen.crop, "follow": chosen.follow, "place": "off"}
    assert chosen == TINY.model_copy(update=decided)
    assert chosen.region is None, "the region is decided before the size: here the whole photo"
    assert [(row["side"], row["predicted_ms"], row["chosen"]) for row in facts["sizes"]] == [(320, None, True)]
    assert facts["sizes"][0]["ms"] > 0
    region, said = capsys.readouterr().out.split("\n", 1)
    assert region == f"region: {words}"
    assert words.startswith("the whole photo is inspected: ")
    assert re.fullmatch(
        r"budget: one scale, 384x256, takes \d+\.\d\d ms of 1e\+06 ms on .+ \(1 sizes measured\)\n", said
    )


@pytest.mark.parametrize("limit_ms", [1.0, 2.5, 4.0, 9.0])
@pytest.mark.parametrize("fixed_ms", [0.0, 0.9])
def test_the_search_finds_the_largest_that_fits(limit_ms: float, fixed_ms: float) -> None:
    """Also where a part of the time, that of the preparation, does not grow with the input."""
    tried = searched(sizes(*range(64, 1025, 32)), limit_ms, lambda pixels: fixed_ms + pixels / 1e5)
    fits = [side for side in range(64, 1025, 32) if fixed_ms + side * side / 1e5 <= limit_ms]
    assert max(side for side in tried if side in fits) == max(fits)
    assert len(tried) <= 6


def test_a_measurement_in_proportion_to_the_pixels_is_verified_once() -> None:
    assert searched(sizes(*range(64, 1025, 32)), 4.1, lambda pixels: pixels / 1e5) == [320, 640]


def test_nothing_inside_ends_at_the_smallest() -> None:
    assert searched(sizes(64, 96, 320, 640), 1.0, lambda pixels: 50.0)[-1] == 64


def test_a_size_that_the_config_names_is_the_only_one(data: Path) -> None:
    roles = split(read_dataset(data), TINY)
    for named, size in (({"side": 96}, "112x80"), ({"native": True}, "96x64")):
        assert [one.words for one in _sizes(TINY.model_copy(update=named), roles)] == [size]


def test_no_photo_is_enlarged_beyond_the_default(data: Path) -> None:
    found = _sizes(TINY, split(read_dataset(data), TINY))
    assert [one.side for one in found] == list(range(64, 321, 32))


def test_two_scales_that_nobody_asked_for_are_left_out_below_their_least_side(data: Path) -> None:
    """As without a budget: below 300 pixels the smaller of both scales sees too few cells (docs/decisions/0013)."""
    roles = split(read_dataset(data), TINY)
    large = TINY.model_copy(update={"crop": Crop(x=0, y=0, width=400, height=400)})
    both, one = _shapes(large, large, roles)
    assert (both[0].scales, both[1][0].side) == (2, 320)
    assert (one[0].scales, one[1][0].side) == (1, 64)
    ((asked, sizes),) = _shapes(*[large.model_copy(update={"scales": 2})] * 2, roles)
    assert (asked.scales, sizes[0].side) == (2, 64)


def test_places_come_first_and_are_left_out_where_the_budget_is_too_small(data: Path) -> None:
    roles = split(read_dataset(data), TINY)
    judged = TINY.model_copy(update={"place": "on", "scales": 1})
    places, without = _shapes(judged, TINY, roles)
    assert (places[0].place, places[1][0].side) == ("on", 256)
    assert (without[0].place, without[1][0].side) == ("off", 64)
    ((asked, sizes),) = _shapes(judged, judged, roles)
    assert (asked.place, sizes[0].side) == ("on", 64)


def test_the_time_of_laying_a_photo_over_the_reference_counts(tmp_path: Path) -> None:
    """A budget leaves it to the recipe whether places are judged, and measures them as the line will judge them."""
    boards(tmp_path)
    recipe = TINY.model_copy(update={"place": "on", "side": 64, "follow": None})
    chosen, _ = budget(tmp_path, recipe, 1e6, None, Run(tmp_path / "run"))
    assert (chosen.place, chosen.scales) == ("on", 1)
    assert chosen.align is not None
    (size,) = _sizes(chosen, split(read_dataset(tmp_path), chosen))
    assert size.spec.align == chosen.align, "what is measured"
    network, _ = _untrained(size.spec, chosen, split(read_dataset(tmp_path), chosen), tmp_path)
    assert isinstance(network.normality.second, Place)
    (row,) = Run(tmp_path / "run").read_report("budget.json", "budget")["sizes"]
    assert row["judged"] == "one scale and places"


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "fast"])
def test_a_budget_that_is_no_time_is_refused_before_anything_is_read(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--work", str(tmp_path), f"--latency-budget-ms={text}"])
    assert f"'{text}' is no time; use milliseconds of a part, above 0" in capsys.readouterr().err


def test_a_size_at_which_the_goods_do_not_fill_the_bank_is_left_out(data: Path) -> None:
    roles = split(read_dataset(data), TINY)
    patches = len(roles.fit) * 5 * 4  # an image at side 64
    many = TINY.model_copy(update={"candidates": 100_000})
    assert _sizes(many.model_copy(update={"bank": patches}), roles)[0].side == 64
    assert _sizes(many.model_copy(update={"bank": patches + 1}), roles)[0].side == 96
    assert _sizes(many.model_copy(update={"bank": 2 * patches, "scales": 2}), roles)[0].side == 64
    with pytest.raises(StageError, match=r"good images do not fill a bank of 20000; add good images or ask"):
        _sizes(TINY.model_copy(update={"bank": 20_000}), roles)


@pytest.fixture(scope="module")
def slow(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], float]:
    """What is said and reported of 50 ms on a device 1000 times slower than this CPU, and that CPU's own time."""
    folder = tmp_path_factory.mktemp("slow")
    bundle = open_bundle(latency.REFERENCE)
    shown = bundle.file(bundle.manifest.references[0].file)
    own_ms = measure_latency(bundle.file(INT8_IR), bundle.manifest.input, shown, Target("this CPU"))[1]
    (folder / "bench.json").write_text(report(bundle.digest, 1000 * own_ms))
    with pytest.raises(StageError) as refused:
        budget(data, TINY.model_copy(update={"side": 64}), 50.0, str(folder / "bench.json"), Run(folder / "run"))
    return str(refused.value), Run(folder / "run").read_report("budget.json", "budget"), own_ms


def test_nothing_inside_the_budget_is_one_line_with_the_fastest(slow: tuple[str, dict[str, Any], float]) -> None:
    said, facts, _ = slow
    assert re.fullmatch(
        r"no input takes 50 ms or less on Atom, AVX2: tf_efficientnet_lite0 at 80x64 with a bank of 50 takes "
        r"\d+\.\d\d ms; allow that much or use a faster CPU",
        said,
    )
    assert [(row["input"], row["chosen"]) for row in facts["sizes"]] == [("80x64", False)]


def test_a_device_is_as_much_slower_as_it_was_on_the_same_bundle(slow: tuple[str, dict[str, Any], float]) -> None:
    """The smaller network takes less than the reference, but by far not a thousandth of it."""
    _, facts, own_ms = slow
    assert facts["sizes"][0]["ms"] > 10 * own_ms
