"""Training in miniature: 80x64 pixels, a few steps."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from edge.inference.preprocess import InputSpec
from tests.train.data.pictures import write_product
from train.__main__ import main
from train.config import TrainConfig
from train.data.dataset import read_dataset
from train.data.split import split
from train.network import NetworkError
from train.network.backbones import Backbone
from train.network.checkpoint import History, save
from train.network.saved import MODEL
from train.network.train_heads import DefectNet, train_heads
from train.run import Run
from train.stages.fit import CHECKPOINT, fit

ROOT = Path(__file__).parents[3]
SPEC = InputSpec(width=80, height=64)
LITE0 = "tf_efficientnet_lite0"
SMALL = {"side": 64, "bank": 50, "candidates": 1000, "epochs": 2, "steps": 2, "batch": 4}
OPTIONS = ["--side", "64", "--bank", "50", "--batch", "4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("product"))


@dataclass
class Trained:
    before: dict[str, torch.Tensor]
    net: DefectNet
    history: History


def train(data: Path, checkpoint: Path, poison: str | None = None, **options: object) -> Trained:
    recipe = TrainConfig.model_validate(SMALL | options)
    backbone = Backbone.pretrained(LITE0)
    if poison is not None:
        backbone.get_parameter(poison).data.fill_(float("nan"))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    net, history = train_heads(
        backbone, split(read_dataset(data), recipe), ("dent", "scratch"), SPEC, recipe, checkpoint, "key"
    )
    return Trained(before, net, history)


@pytest.mark.parametrize(("unfreeze", "learning"), [("none", set()), ("upper", {2, 3, 4}), ("all", {0, 1, 2, 3, 4})])
def test_what_is_frozen_stays_and_so_do_the_batch_norms_statistics(
    data: Path, tmp_path: Path, unfreeze: str, learning: set[int]
) -> None:
    trained = train(data, tmp_path / CHECKPOINT, unfreeze=unfreeze, patience=100)
    after = trained.net.backbone.state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, trained.before[key])}
    assert {re.search(r"blocks\.(\d)", key)[1] for key in changed if "blocks." in key} == {str(i) for i in learning}
    assert not [key for key in changed if "blocks." not in key or "running" in key or "num_batches" in key]


def test_a_loss_that_is_no_number_is_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"^the loss is nan in epoch 1; lower `rate` \(now 0.002\) and start again$"):
        train(data, tmp_path / CHECKPOINT, poison="stages.conv_stem.weight")
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_run_that_had_stopped_early_does_not_go_on(data: Path, tmp_path: Path) -> None:
    """Interrupted after the last epoch that it needed, before the bank was built."""
    first = train(data, tmp_path / CHECKPOINT, epochs=1)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    figures = {"validation_loss": 1.0, "validation_error": 0.05}
    history = History([{"epoch": n, "validation_auroc": auroc, **figures} for n, auroc in ((1, 0.9), (2, 0.6))])

    class Kept:
        def __init__(self, facts: object) -> None:
            self.state_dict = lambda: facts

    save(tmp_path / CHECKPOINT, "key", history, state["kept"], first.net, *map(Kept, state["steppers"]))
    found = train(data, tmp_path / CHECKPOINT, epochs=5, patience=1)
    assert found.history == history
    assert all(torch.equal(found.net.state_dict()[key], value) for key, value in state["kept"].items())


def command(data: Path, work: Path, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *launcher, "-m", "train", "fit", "--data", str(data), "--work", str(work), *OPTIONS, *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _interruptible() -> None:
    """A shell's background jobs, and all they start, would ignore the signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in the order of the processes that this file starts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_interrupted_run_ends_where_an_undisturbed_one_does(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    lasting = ("--epochs", "6", "--steps", "2", "--patience", "6")
    arguments = command(data, tmp_path / "run", *lasting)
    with subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, preexec_fn=_interruptible) as run:
        deadline = time.monotonic() + 300
        while not (tmp_path / "run" / CHECKPOINT).exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=300)[1].decode().splitlines()
    assert run.returncode == 130
    assert said[-1] == "linewatch: interrupted; nothing finished was changed"
    for folder in ("run", "undisturbed"):
        assert main(command(data, tmp_path / folder, *lasting)[3:]) == 0
        assert ("goes on after epoch" in capsys.readouterr().out) == (folder == "run")
    again, undisturbed = (torch.load(tmp_path / name / MODEL, weights_only=True) for name in ("run", "undisturbed"))
    for key in ("backbone", "heads"):
        assert all(torch.equal(again[key][name], value) for name, value in undisturbed[key].items())
    assert again["fusion"] == undisturbed["fusion"]
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_ten_steps_are_a_run_like_any_other(data: Path, tmp_path: Path) -> None:
    assert len(train(data, tmp_path / CHECKPOINT, epochs=5, steps=2, patience=5).history.epochs) == 5


def test_labels_are_learned_for_twice_as_many_epochs_and_a_number_that_is_asked_for_stays() -> None:
    assert [TrainConfig().with_epochs(labels).epochs for labels in (True, False)] == [28, 14]
    assert TrainConfig(epochs=3).with_epochs(labels=True).epochs == 3


def test_a_slow_machine_learns_for_fewer_epochs_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousandth of a second is too short for any epoch: two are done, and the rate falls to its end in them."""
    found = train(data, tmp_path / CHECKPOINT, epochs=5, minutes=1e-5)
    said = capsys.readouterr().out
    assert len(found.history.epochs) == 2
    assert "the heads learn for 2 of 5 epochs" in said
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["steppers"][1]["total_steps"] == 2 * SMALL["steps"]


def test_two_processes_of_torchrun_train_one_network(data: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    arguments = command(data, tmp_path / "run", "--epochs", "2", "--steps", "2", launcher=launcher)
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fit: ") == 1
    assert Run(tmp_path / "run").fit_report().types == ("dent", "scratch")
    assert len(Run(tmp_path / "run").read_report("heads.json", "fit")["epochs"]) == 2


def test_defects_under_train_are_learned_from_without_being_asked_for(data: Path, tmp_path: Path) -> None:
    report = fit(data, TrainConfig.model_validate(SMALL), Run(tmp_path / "run"))
    assert report is not None
    labelled = [*report.defect_images, *(name for name in report.validation_images if "/good/" not in name)]
    assert sorted(labelled) == sorted(f"train/{name}/{i:03d}.png" for name in ("dent", "scratch") for i in range(6))


def test_a_region_that_was_decided_before_is_told_in_the_words_of_then(data: Path, tmp_path: Path) -> None:
    """A latency budget decides the region first; fit then sees it as stated."""
    recipe = TrainConfig.model_validate(SMALL | {"crop": {"x": 0, "y": 0, "width": 90, "height": 60}})
    fit(data, recipe, Run(tmp_path), "0,0,90,60 holds all good parts")
    assert Run(tmp_path).read_report("region.json", "fit")["words"] == "0,0,90,60 holds all good parts"
