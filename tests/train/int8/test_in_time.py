"""The input that the time of this CPU chooses: the same in each process, and the same after an interruption."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.bundle import INT8_IR, Bundle
from edge.inference.preprocess import InputSpec
from tests.tiny import SIZE
from tests.train.data.pictures import good, write, write_product
from train.config import TrainConfig
from train.data.dataset import dataset_sha256, read_dataset
from train.data.input_spec import spec_of
from train.int8 import in_time
from train.int8.in_time import chosen_before, slower_than_predicted, with_side
from train.network.checkpoint import History, save
from train.run import Run
from train.stages.fit import CHECKPOINT, _first_choice

ROOT = Path(__file__).parents[3]
TWO = TrainConfig(scales=2)


@given(st.integers(100, 2000), st.integers(100, 2000), st.integers(64, 1280), st.integers(0, 40))
def test_times_that_choose_the_same_input_choose_the_same_recipe(height: int, width: int, side: int, more: int) -> None:
    own = float(height), float(width)
    one, other = (with_side(TWO, own, number) for number in (side, side + more))
    assert spec_of(own, one) == spec_of(own, TWO.model_copy(update={"side": side}))
    assert (one == other) == (spec_of(own, one) == spec_of(own, other))


@pytest.mark.parametrize(
    ("recipe", "taken"),
    [
        (TrainConfig(), True),
        (TrainConfig(scales=2), True),
        (TrainConfig(scales=1), False),
        (TrainConfig(side=320), False),
        (TrainConfig(seed=1), False),
    ],
    ids=["open", "two scales", "one scale", "a side", "another seed"],
)
def test_an_interrupted_run_keeps_the_input_of_its_first_start(
    recipe: TrainConfig, taken: bool, tmp_path: Path
) -> None:
    dataset = read_dataset(write_product(tmp_path / "data", goods=2, defects=0))
    first = TrainConfig(scales=2, side=609)
    key = f"{dataset_sha256(dataset)} {first.model_dump_json()}"
    save(tmp_path / CHECKPOINT, key, History(), {}, torch.nn.Linear(1, 1))
    assert _first_choice(recipe, dataset, Run(tmp_path)) == (first if taken else None)
    write_product(tmp_path / "data", goods=3, defects=0)
    assert _first_choice(recipe, read_dataset(tmp_path / "data"), Run(tmp_path)) is None, "of other photos"


def test_what_is_no_recipe_chooses_nothing() -> None:
    assert chosen_before(TrainConfig(), "{}}") is None


@pytest.mark.parametrize(("limit_ms", "slow"), [(1e-6, True), (1e6, False)])
def test_a_shipped_model_is_timed_against_what_was_predicted(
    limit_ms: float, slow: bool, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "part.png", good(0))
    monkeypatch.setattr(in_time, "DEFAULT_BUDGET_MS", limit_ms)
    said = slower_than_predicted(tiny_bundle.file(INT8_IR), InputSpec(width=SIZE, height=SIZE), tmp_path / "part.png")
    assert (said is not None) is slow
    if said is not None:
        assert "ms with 2 threads on this CPU, over the default budget of 1e-06 ms; train with --latency-" in said
        assert "\n" not in said


PROCESS = """
import sys
from pathlib import Path

from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.int8 import in_time
from train.run import Run, rank
from train.stages.fit import _in_time

if rank() == 1:
    in_time.DEFAULT_BUDGET_MS = 1e-6  # to this process everything takes too long
dataset, recipe = read_dataset(Path(sys.argv[1])), TrainConfig(scales=2, crop=None, follow=None)
found = _in_time(recipe, split(dataset, recipe), dataset, Run(Path(sys.argv[2])))
Path(sys.argv[2], str(rank())).write_text(found.model_dump_json())
"""


def test_all_processes_of_a_torchrun_take_what_the_first_one_chose(tmp_path: Path) -> None:
    write_product(tmp_path / "data", goods=4, defects=0)
    (tmp_path / "process.py").write_text(PROCESS)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [*launcher, str(tmp_path / "process.py"), str(tmp_path / "data"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fit: ") == 1
    first, second = ((tmp_path / name).read_text() for name in "01")
    assert first == second
    assert TrainConfig.model_validate_json(first).side is not None
