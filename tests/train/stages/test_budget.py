import json
import re
from pathlib import Path
from typing import Any

import pytest

from edge.inference.bundle import INT8_IR, Bundle, open_bundle
from edge.inference.cpu import read_cpu
from edge.inference.preprocess import InputSpec
from tests.tiny import SIZE
from tests.train.data.pictures import good, write, write_product
from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.int8 import Int8Error, target
from train.int8.contest import contest, validation_pictures
from train.int8.latency import Timed, measure
from train.int8.target import read_target
from train.run import Run
from train.stages import StageError
from train.stages import budget as stage
from train.stages.budget import Candidate, budget, grid

AVX2 = "processor : 0\nmodel name : Old\nflags : avx2\n"
TINY = TrainConfig(side=64, bank=50, candidates=1000)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("product"), defects=0)


def test_the_best_of_those_inside_is_chosen_and_all_are_listed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two candidates, really quantised, measured and trained."""
    monkeypatch.setattr(stage, "BACKBONES", ("tf_efficientnet_lite0", "tf_efficientnet_lite1"))
    chosen = budget(data, TrainConfig(side=64, bank=50, candidates=1000), 1e6, None, Run(tmp_path / "run"))
    facts = Run(tmp_path / "run").read_report("budget.json", "budget")
    assert [row["backbone"] for row in facts["candidates"]] == list(stage.BACKBONES)
    assert all(row["ms"] > 0 and row["inside"] for row in facts["candidates"])
    best = max(facts["candidates"], key=lambda row: (row["validation_auroc"], -row["ms"]))
    assert [row["chosen"] for row in facts["candidates"]] == [row is best for row in facts["candidates"]]
    assert (chosen.backbone, chosen.side, chosen.bank) == (best["backbone"], 64, 50)
    assert facts["validation"]["defects"] == "artificial"
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.startswith("*") for row in rows].count(True) == 1
    assert len(rows) == 2


def test_what_the_recipe_names_is_not_varied(data: Path) -> None:
    roles = split(read_dataset(data), TINY)
    named = grid(TrainConfig(backbone="tf_efficientnet_lite1", side=64, bank=50), roles)
    assert [(one.recipe.backbone, one.recipe.side, one.recipe.bank) for one in named] == [
        ("tf_efficientnet_lite1", 64, 50)
    ]
    free = {(one.recipe.backbone, one.recipe.side, one.recipe.bank) for one in grid(TrainConfig(), roles)}
    assert free >= {(backbone, side, 1000) for backbone in stage.BACKBONES for side in stage.SIDES}


def test_a_bank_that_the_goods_do_not_fill_is_no_candidate(data: Path) -> None:
    roles = split(read_dataset(data), TINY)
    assert len(roles.fit) * 20 < 1000  # 5 x 4 patches an image
    with pytest.raises(StageError, match="good images fill no bank"):
        grid(TrainConfig(side=64), roles)
    assert len(grid(TrainConfig(side=64, patch_stride=8, bank=1000), roles)) == len(stage.BACKBONES)


def test_finalists_are_the_most_costly_inside_one_for_each_backbone_and_side() -> None:
    spec = InputSpec(width=64, height=64)
    names = [(256, 1000, 1.0), (256, 4000, 2.0), (320, 1000, 3.0), (320, 4000, 4.0), (384, 1000, 5.0)]
    found = [Candidate(TrainConfig(side=side, bank=bank), spec, ms, ms < 5) for side, bank, ms in names]
    assert stage._finalists(found) == [found[3], found[1]]


def test_a_tier_is_measured_under_its_cap(tiny_bundle: Bundle, tmp_path: Path) -> None:
    if read_cpu().native_tier not in ("AMX", "AVX512_VNNI", "AVX2_VNNI"):
        pytest.skip(f"this CPU is {read_cpu().native_tier}: there is no lesser tier to stand in for")
    write(tmp_path / "part.png", good(0))
    timed = Timed(tiny_bundle.file(INT8_IR), InputSpec(width=SIZE, height=SIZE), tmp_path / "part.png")
    tier, found = measure([timed, timed], read_target("AVX2").cap)
    assert tier == "AVX2 (capped)"
    assert len(found) == 2
    assert all(0 < one.infer_ms < one.total_ms for one in found)


def test_a_tier_above_this_cpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(AVX2)
    monkeypatch.setattr(target, "read_cpu", lambda: read_cpu(tmp_path / "cpuinfo"))
    assert read_target("AVX2") == target.Target("AVX2")
    with pytest.raises(Int8Error, match="--target AMX: this CPU is only AVX2; run `python -m edge bench"):
        read_target("AMX")


def report(digest: str, infer_ms: float) -> str:
    shipped = {"runtime": "openvino", "precision": "int8", "tier": "AVX2", "stages": {"infer_ms": {"p50": infer_ms}}}
    return json.dumps({"bundle": {"digest": digest}, "cpu": {"model": "Atom"}, "results": [shipped]})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"no tier \(AMX, AVX512_VNNI, AVX2_VNNI, AVX2\), and no file"),
        ("not JSON", "is no report of the benchmark; run `python -m edge bench --bundle models/default"),
        ('{"results": []}', "is no report of the benchmark"),
        (report("0" * 64, 9.0), "measured another bundle than this models/default; run `python -m edge bench"),
    ],
)
def test_a_device_that_is_not_known_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "bench.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Int8Error, match=said) as refused:
        read_target(str(file))
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def slow(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], float]:
    """What is said and reported of 50 ms on a device 1000 times slower than this CPU, and that CPU's own time."""
    folder = tmp_path_factory.mktemp("slow")
    bundle = open_bundle(target.REFERENCE)
    here = Timed(bundle.file(INT8_IR), bundle.manifest.input, bundle.file(bundle.manifest.references[0].file))
    own = measure([here], None)[1][0]
    (folder / "bench.json").write_text(report(bundle.digest, 1000 * own.infer_ms))
    recipe = TrainConfig(side=64, bank=50, candidates=1000, backbone="tf_efficientnet_lite0")
    with pytest.raises(StageError) as refused:
        budget(data, recipe, 50.0, str(folder / "bench.json"), Run(folder / "run"))
    return str(refused.value), Run(folder / "run").read_report("budget.json", "budget"), own.infer_ms


def test_nothing_inside_the_budget_is_one_line_with_the_fastest(slow: tuple[str, dict[str, Any], float]) -> None:
    said, facts, _ = slow
    assert re.fullmatch(
        r"no candidate takes 50 ms or less on Atom, AVX2: the fastest, tf_efficientnet_lite0 at 80x64 with a bank of "
        r"50, takes \d+\.\d\d ms; allow that much or use a faster CPU",
        said,
    )
    assert [(row["inside"], row["validation_auroc"], row["chosen"]) for row in facts["candidates"]] == [
        (False, None, False)
    ]


def test_a_device_is_as_much_slower_as_it_was_on_the_same_bundle(slow: tuple[str, dict[str, Any], float]) -> None:
    """The smaller network takes less than the reference, but by far not a thousandth of it."""
    _, facts, own_ms = slow
    assert facts["candidates"][0]["ms"] > 10 * own_ms


def test_labelled_defects_judge_where_there_are_any(tmp_path: Path) -> None:
    roles = split(read_dataset(write_product(tmp_path, goods=40)), TINY)
    spec = InputSpec(width=80, height=64)
    _, defective, kind = validation_pictures(spec, roles, 0)
    assert (kind, defective.count(True)) == ("labelled", 12)
    aurocs, facts = contest([(TINY, spec)], roles)
    assert facts == {"good": defective.count(False), "defective": 12, "defects": "labelled"}
    assert aurocs[0] > 0.9  # squares and bars that nobody could miss
