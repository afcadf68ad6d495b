from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from train.network.checkpoint import TOLERATED, History, resume, save, weights_of


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


@given(st.lists(st.floats(0.01, 10.0), min_size=1))
def test_what_is_kept_is_the_latest_epoch_about_as_good_as_the_best(losses: list[float]) -> None:
    history = History([{"validation_loss": loss} for loss in losses])
    allowed = TOLERATED * min(losses)
    assert losses[history.kept - 1] <= allowed
    assert all(loss > allowed for loss in losses[history.kept :])


def test_epochs_are_counted_from_the_lowest_validation_loss() -> None:
    losses = (3.0, 1.0, 2.0, 1.05)
    assert History([{"validation_loss": loss} for loss in losses]).since_best == 2
