from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from train.network.checkpoint import History, auroc_error, resume, save, weights_of


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "heads_checkpoint.pt"
    save(path, "key", History([{"epoch": 1, "validation_loss": 2.0}]), {}, nn.Linear(3, 2))
    return path


def test_what_was_saved_is_taken_up(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimisers = [torch.optim.AdamW(one.parameters()) for one in (net, other)]
    net(torch.ones(1, 3)).sum().backward()
    optimisers[0].step()
    save(written, "key", History([{"epoch": 1, "validation_loss": 2.0}]), weights_of(net), net, optimisers[0])
    found = resume(written, "key", other, optimisers[1])
    assert found is not None
    assert found[0] == History([{"epoch": 1, "validation_loss": 2.0}])
    assert torch.equal(found[1]["weight"], net.weight)
    assert torch.equal(other.weight, net.weight)
    moments = [optimiser.state_dict()["state"][0]["exp_avg"] for optimiser in optimisers]
    assert torch.equal(*moments)
    assert "goes on after epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_begun_again(
    written: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    written.write_bytes(written.read_bytes()[:-200] if content is None else content)
    assert resume(written, "key", nn.Linear(3, 2)) is None
    assert "is damaged or of another version; the heads are trained from the start" in capsys.readouterr().out


def test_a_checkpoint_of_an_older_version_is_begun_again(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(written, weights_only=True)
    del state["kept"]
    torch.save(state, written)
    assert resume(written, "key", nn.Linear(3, 2)) is None
    assert "of another version" in capsys.readouterr().out


def test_a_checkpoint_of_before_the_scaler_was_kept_is_begun_again(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = nn.Linear(3, 2)
    before = net.weight.clone()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    assert resume(written, "key", net, scaler) is None
    assert torch.equal(net.weight, before)
    assert "is of another version of Linewatch; the heads are trained from" in capsys.readouterr().out
    save(written, "key", History([{"epoch": 1}]), {}, net, scaler)
    assert resume(written, "key", net, scaler) is not None


def test_a_checkpoint_of_another_recipe_is_begun_again(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Linear(3, 2)
    before = net.weight.clone()
    assert resume(written, "another key", net) is None
    assert torch.equal(net.weight, before)
    assert "of other data or another recipe" in capsys.readouterr().out


def test_an_interruption_while_saving_leaves_the_checkpoint_before(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        save(written, "key", History(), {}, nn.Linear(3, 2))
    assert resume(written, "key", nn.Linear(3, 2)) is not None


def history_of(aurocs: Sequence[float], error: float = 0.05) -> History:
    return History([{"validation_auroc": auroc, "validation_error": error} for auroc in aurocs])


@given(st.lists(st.floats(0.0, 1.0), min_size=1))
def test_what_is_kept_is_the_latest_epoch_within_a_standard_error_of_the_best_before_it(aurocs: list[float]) -> None:
    kept = history_of(aurocs).kept
    assert aurocs[kept - 1] >= max(aurocs[:kept]) - 0.05
    assert all(auroc < max(aurocs[:n]) - 0.05 for n, auroc in enumerate(aurocs[kept:], kept + 1))


def test_a_loss_that_grows_with_certainty_keeps_no_epoch_of_the_beginning() -> None:
    epochs = [{"validation_loss": n, "validation_auroc": 0.9, "validation_error": 0.05} for n in (1.0, 1.2, 1.5)]
    assert History(epochs).kept == 3


def test_without_validation_the_last_epoch_is_kept() -> None:
    assert History([{"epoch": n, "loss": 1.0} for n in (1, 2, 3)]).kept == 3
    assert History().kept == 0


def test_epochs_are_counted_from_the_one_that_is_kept() -> None:
    assert history_of([0.5, 0.9, 0.87, 0.6]).since_kept == 1


@pytest.mark.parametrize(("auroc", "good", "bad"), [(0.8, 40, 10), (0.95, 60, 30)])
def test_the_error_of_an_auroc_is_that_of_many_draws(auroc: float, good: int, bad: int) -> None:
    """Two normal distributions that lie apart so far."""
    rng = np.random.default_rng(0)
    apart = float(stats.norm.ppf(auroc)) * 2**0.5
    draws = [float((rng.normal(apart, size=bad)[:, None] > rng.normal(size=good)).mean()) for _ in range(2000)]
    assert auroc_error(auroc, good, bad) == pytest.approx(np.std(draws), rel=0.35, abs=0.03)


def test_a_handful_of_defects_that_are_all_told_apart_leave_an_error() -> None:
    assert auroc_error(1.0, 50, 8) > auroc_error(1.0, 50, 80) > 0.005
