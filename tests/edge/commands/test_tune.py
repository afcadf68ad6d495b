"""edge.commands.tune: what is kept was faster twice, reproduces the references, and is what the engine then uses."""

from pathlib import Path

import pytest

from edge.commands import tune as module
from edge.commands.bench.noise import Ratio
from edge.commands.tune import MIN_BLOCKS, TuneError, axes, find, race, tune, words
from edge.config.station import StationConfig
from edge.core.files import own_folders
from edge.core.types import EdgeError
from edge.inference.bundle import Bundle
from edge.inference.cpu import Topology, read_topology
from edge.inference.runtimes import Settings
from edge.inference.tuning import Choice, Trial, read_profile, station_settings
from tests.edge.engine.parts import watching_station
from tests.edge.engine.test_recipes import unreproducible
from tests.tiny import good_image

SHORT_S = 0.01


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle) -> StationConfig:
    return watching_station(tmp_path, tiny_bundle)


def trial(choice: Choice, against: Choice, found: Ratio) -> Trial:
    return Trial(choice=choice, against=against, p50_ms=1.0, ratio=found.value, low=found.low, high=found.high, n=50)


def test_only_what_the_cpu_has_is_tried() -> None:
    plain = [set(change) for axis in axes(Topology(2, 2, hybrid=False)) for change in axis]
    assert {"scheduling_core_type"} not in plain
    assert {"enable_hyper_threading"} not in plain
    every = [set(change) for axis in axes(Topology(12, 8, hybrid=True)) for change in axis]
    for name in ("scheduling_core_type", "enable_hyper_threading", "inference_num_threads", "enable_cpu_pinning"):
        assert {name} in every


def test_threads_and_hybrid_cores_are_read_from_the_kernel(tmp_path: Path) -> None:
    cpus = tmp_path / "cpus"
    for number in range(64):
        (cpus / f"cpu{number}/topology").mkdir(parents=True)
        (cpus / f"cpu{number}/topology/thread_siblings_list").write_text(f"{number // 2 * 2}-{number // 2 * 2 + 1}\n")
    found = read_topology(cpus, tmp_path)
    assert found.physical <= (found.logical + 2) // 2 + 1
    assert not found.hybrid
    for kind in ("cpu_core", "cpu_atom"):
        (tmp_path / kind).mkdir()
    assert read_topology(tmp_path / "absent", tmp_path) == Topology(found.logical, found.logical, hybrid=True)


def test_every_choice_of_a_race_is_measured_beside_the_other(tiny_bundle: Bundle) -> None:
    candidates = [Choice(inference_num_threads=1), Choice(enable_cpu_pinning=False)]
    trials = race(tiny_bundle, [good_image()], Choice(), candidates, SHORT_S)
    assert [one.choice for one in trials] == candidates
    assert all(one.n >= MIN_BLOCKS * 10 and one.low <= one.high and one.p50_ms > 0 for one in trials)


def scripted(monkeypatch: pytest.MonkeyPatch, verdict: dict[str, Ratio]) -> None:
    """Races decided beforehand: by whom they are run is measured in another test."""

    def raced(_b: Bundle, _f: object, against: Choice, candidates: list[Choice], _s: float) -> list[Trial]:
        alone = "again " if len(candidates) == 1 else ""
        return [trial(one, against, verdict.get(alone + one.words(), Ratio(1.0, 0.9, 1.1))) for one in candidates]

    monkeypatch.setattr(module, "race", raced)


def test_the_fastest_beyond_the_noise_is_kept_when_it_wins_again(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, unsure = Ratio(0.8, 0.75, 0.85), Ratio(0.5, 0.3, 1.05)
    verdict = {
        "inference_num_threads 1": fast,
        "inference_num_threads 2": unsure,
        "again inference_num_threads 1": fast,
    }
    scripted(monkeypatch, verdict)
    profile = find(tiny_bundle, Topology(2, 2, hybrid=False), SHORT_S, lambda _: None)
    assert profile.choice == Choice(inference_num_threads=1)
    assert "0.80 x OpenVINO's own choice (95 % interval 0.75 to 0.85)" in words(profile)


def test_what_does_not_win_again_was_luck(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, {"inference_num_threads 1": Ratio(0.8, 0.75, 0.85)})
    profile = find(tiny_bundle, Topology(2, 2, hybrid=False), SHORT_S, lambda _: None)
    assert profile.choice == Choice()
    assert "OpenVINO's own choice stays" in words(profile)


def test_the_station_follows_what_was_found(
    config: StationConfig,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = Ratio(0.8, 0.75, 0.85)
    scripted(monkeypatch, {"inference_num_threads 1": fast, "again inference_num_threads 1": fast})
    said: list[str] = []
    line = tune(config, "default", SHORT_S, said.append)
    assert line.startswith("inference_num_threads 1: ")
    assert any("inference_num_threads 1" in one for one in said)
    assert read_profile(config.tuning("default"), tiny_bundle).choice == Choice(inference_num_threads=1)
    assert station_settings(config, "default", tiny_bundle) == Settings(threads=1)


def test_a_bundle_that_this_cpu_does_not_reproduce_is_not_tuned(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="edge check"):
        race(unreproducible(tiny_bundle, tmp_path / "wrong"), [good_image()], Choice(), [], SHORT_S)


@pytest.mark.parametrize(
    ("recipe", "inspection", "words"),
    [("absent", {}, "no recipe 'absent'"), ("default", {"threads": 1}, "leaves nothing to choose")],
)
def test_what_cannot_be_tuned_is_one_line(
    config: StationConfig,
    recipe: str,
    inspection: dict[str, int],
    words: str,
) -> None:
    told = config.model_copy(update={"inspection": config.inspection.model_copy(update=inspection)})
    with pytest.raises(TuneError, match=words):
        tune(told, recipe, SHORT_S, lambda _: None)


def test_a_running_engine_is_not_measured_beside(config: StationConfig) -> None:
    with own_folders(config.state_dir, config.run_dir), pytest.raises(EdgeError, match="stop that one first"):
        tune(config, "default", SHORT_S, lambda _: None)
