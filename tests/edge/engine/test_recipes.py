import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from edge.config.station import StationConfig
from edge.core.types import EdgeError, Image, Prediction
from edge.engine import EngineError
from edge.engine.pins import ACTIVATED
from edge.engine.recipes import CHOICE, Recipe, Recipes
from edge.inference.bundle import Bundle, open_bundle, write_bundle
from edge.inference.detector import ReferenceCheck, check_references
from tests.edge.engine.parts import BUNDLE, chosen_recipe, wait_for
from tests.tiny import good_image

THRESHOLD_OF_NOTHING = {"value": 126.0, "method": "conformal", "n": 99, "alpha": 0.01, "bound": 0.01}


def variant(of: Bundle, target: Path, **facts: object) -> Bundle:
    """The same bundle with other facts."""
    known = of.manifest.model_dump(mode="json", exclude={"format", "files"})
    return write_bundle(target, {**known, **facts}, {name: of.file(name) for name in of.manifest.files})


def unreproducible(of: Bundle, target: Path) -> Bundle:
    good = {"file": "references/good.png", "score": 30.0, "tolerance": 0.1}
    bad = {"file": "references/bad.png", "score": 127.0, "tolerance": 2.0}
    return variant(of, target, name="wrong", references=[good, bad])


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle) -> StationConfig:
    """A station with a copy of the tiny bundle, another one, and one that does not reproduce its scores."""
    shutil.copytree(tiny_bundle.path, tmp_path / "first")
    variant(tiny_bundle, tmp_path / "second", name="second")
    unreproducible(tiny_bundle, tmp_path / "wrong")
    (tmp_path / "state").mkdir()
    return StationConfig.model_validate(
        {
            "name": "Test",
            "bundle": tmp_path / "first",
            "state_dir": tmp_path / "state",
            "run_dir": tmp_path / "run",
            "bundle_signatures": "optional",
            "camera": {"type": "folder", "path": tmp_path},
            "trigger": {"type": "free_run", "rate_hz": 1},
            "inspection": {"deadline_ms": 2000},
            "recipes": {"second": tmp_path / "second", "wrong": tmp_path / "wrong"},
        }
    )


def settled(recipes: Recipes, begin: Callable[[], None]) -> None:
    begin()
    wait_for(recipes.settle)


def test_a_recipe_takes_over_only_when_the_loop_settles_it(config: StationConfig) -> None:
    recipes = Recipes(config)
    before = recipes.active
    recipes.select("second")
    assert recipes.pending == "second"
    wait_for(lambda: not recipes._outcome.empty())
    assert recipes.active is before, "between two parts, and not before"
    assert recipes.settle()
    assert (recipes.active.name, recipes.active.bundle.manifest.name, recipes.pending) == ("second", "second", None)
    assert not recipes.settle()


def test_a_candidate_that_fails_leaves_the_old_one_in_use_and_says_why(config: StationConfig) -> None:
    recipes = Recipes(config)
    before = recipes.active
    settled(recipes, lambda: recipes.select("wrong"))
    assert recipes.active is before
    assert recipes.refusal is None
    assert "wrong: " in (recipes.fault or "")
    assert "references/good.png scores" in (recipes.fault or "")
    settled(recipes, lambda: recipes.select("second"))
    assert recipes.fault is None


def test_a_damaged_bundle_is_refused_too(config: StationConfig) -> None:
    recipes = Recipes(config)
    (config.recipes["second"] / "model_int8.bin").write_bytes(b"")
    settled(recipes, lambda: recipes.select("second"))
    assert recipes.active.name == "default"
    assert "sha256" in (recipes.fault or "")


def test_an_unknown_recipe_and_a_second_one_at_once_are_refused(config: StationConfig) -> None:
    recipes = Recipes(config)
    with pytest.raises(EngineError, match=r"no recipe 'third'; station\.toml has default, second, wrong"):
        recipes.select("third")
    recipes.select("second")
    with pytest.raises(EngineError, match="'second' is being verified"):
        recipes.select("default")
    wait_for(recipes.settle)


def test_the_latest_number_of_a_plc_wins_whatever_was_verified_before_it(config: StationConfig) -> None:
    recipes = Recipes(config)
    for numbers in ([1, 0], [1, 2, 1], [0, 1, 0, 1, 0], [2, 0]):
        for number in numbers:
            recipes.follow(number)
        wait_for(lambda: recipes.settle() and recipes.pending is None)
        assert list(config.bundles)[numbers[-1]] == recipes.active.name
        assert Recipes(config).active.name == recipes.active.name, "a restart takes the same one"


def test_a_selection_that_fails_after_another_was_verified_leaves_the_old_one_for_a_restart_too(
    config: StationConfig,
) -> None:
    recipes = Recipes(config)
    recipes.select("second")
    wait_for(lambda: not recipes._outcome.empty())
    recipes.follow(2)
    wait_for(lambda: recipes.settle() and recipes.pending is None)
    assert (recipes.active.name, Recipes(config).active.name) == ("default", "default")
    assert "wrong: " in (recipes.fault or "")


def test_a_number_that_is_selected_already_begins_nothing_and_an_unknown_one_leaves_a_trace(
    config: StationConfig, caplog: pytest.LogCaptureFixture
) -> None:
    recipes = Recipes(config)
    for _ in range(3):
        recipes.follow(0)
        recipes.follow(7)
    assert (recipes.pending, recipes.active.name, recipes.unknown) == (None, "default", True)
    assert "number 7" in (recipes.fault or "")
    assert "0 to 2" in caplog.text
    recipes.follow(0)
    assert (recipes.fault, recipes.unknown) == (None, False)


def test_a_self_test_in_progress_gives_its_result_before_a_plcs_selection_is_verified(config: StationConfig) -> None:
    recipes = Recipes(config)
    before = recipes.self_test.at
    recipes.retest()
    assert recipes.switching is None, "the same recipe goes on judging"
    recipes.follow(1)
    assert recipes.switching == "second"
    wait_for(lambda: recipes.settle() and recipes.pending is None)
    assert recipes.active.name == "second"
    assert recipes.self_test.at > before


def test_the_choice_survives_a_restart(config: StationConfig) -> None:
    recipes = Recipes(config)
    settled(recipes, lambda: recipes.select("second"))
    assert Recipes(config).active.name == "second"
    (config.state_dir / CHOICE).write_text("removed\n")
    with pytest.raises(EngineError, match="'removed'"):
        Recipes(config)


def test_a_self_test_that_fails_ends_the_judging_until_one_passes(config: StationConfig, tiny_bundle: Bundle) -> None:
    recipes = Recipes(config)
    first_at = recipes.self_test.at
    model = config.bundle / "model_int8.bin"
    whole = model.read_bytes()
    model.write_bytes(b"damaged")
    settled(recipes, recipes.retest)
    assert not recipes.self_test.passed
    assert "sha256" in (recipes.refusal or "")
    assert recipes.self_test.detail == recipes.refusal
    model.write_bytes(whole)
    settled(recipes, recipes.retest)
    assert recipes.self_test.passed
    assert recipes.self_test.at > first_at
    assert recipes.refusal is None
    assert recipes.active.bundle == open_bundle(config.bundle)
    assert recipes.active.bundle.digest == tiny_bundle.digest


def test_the_old_detector_is_dropped(config: StationConfig) -> None:
    recipes = Recipes(config)
    old = weakref.ref(recipes.active.detector)
    settled(recipes, lambda: recipes.select("second"))
    gc.collect()
    assert old() is None
    assert recipes.active.detector.predict(good_image()).score < recipes.active.bundle.manifest.threshold.value


def test_a_start_with_a_bundle_that_must_not_judge_is_refused(config: StationConfig) -> None:
    with pytest.raises(EdgeError, match=r"references/good\.png scores"):
        Recipes(config.model_copy(update={"bundle": config.recipes["wrong"]}))


def replaced(folder: Path, by: Path) -> None:
    """Put another bundle into a recipe's folder, as a copy over the old one does."""
    shutil.rmtree(folder)
    shutil.copytree(by, folder)


def test_a_self_test_of_another_bundle_fails_and_does_not_activate_it(
    config: StationConfig, tiny_bundle: Bundle
) -> None:
    recipes = Recipes(config)
    before = recipes.active
    other = variant(tiny_bundle, config.bundle.with_name("other"), threshold=THRESHOLD_OF_NOTHING)
    replaced(config.bundle, other.path)
    settled(recipes, recipes.retest)
    assert recipes.active is before
    assert not recipes.self_test.passed
    assert f"holds another bundle ({other.title})" in (recipes.refusal or "")
    replaced(config.bundle, tiny_bundle.path)
    settled(recipes, recipes.retest)
    assert recipes.refusal is None


def test_a_link_that_names_another_bundle_now_fails_the_self_test(config: StationConfig) -> None:
    link = config.bundle.with_name("current")
    link.symlink_to("first")
    recipes = Recipes(config.model_copy(update={"bundle": link}))
    before = recipes.active
    link.unlink()
    link.symlink_to("second")
    settled(recipes, recipes.retest)
    assert recipes.active is before
    assert "holds another bundle (second 1" in (recipes.refusal or "")


@pytest.fixture
def linked(config: StationConfig, tiny_bundle: Bundle) -> StationConfig:
    """The station, whose default recipe is a link to the first of two bundles."""
    variant(tiny_bundle, config.bundle.with_name("newer"), name="newer")
    link = config.bundle.with_name("current")
    link.symlink_to("first")
    return config.model_copy(update={"bundle": link})


def lead(link: Path, to: str) -> str:
    """Let a recipe's link lead to another folder; returns the digest of what lies there."""
    link.unlink()
    link.symlink_to(to)
    return open_bundle(link).digest


def test_an_activated_bundle_judges_without_a_restart_and_passes_the_self_test(linked: StationConfig) -> None:
    recipes = Recipes(linked)
    digest = lead(linked.bundle, "newer")
    settled(recipes, lambda: recipes.take("default", digest))
    assert recipes.active.bundle.digest == digest
    settled(recipes, recipes.retest)
    assert recipes.self_test.passed


def test_an_activated_bundle_that_fails_leaves_the_old_one_and_its_self_test(linked: StationConfig) -> None:
    recipes = Recipes(linked)
    before = recipes.active
    digest = lead(linked.bundle, "wrong")
    settled(recipes, lambda: recipes.take("default", digest))
    assert recipes.active is before
    assert "expected 30" in (recipes.fault or "")
    lead(linked.bundle, "first")
    settled(recipes, recipes.retest)
    assert recipes.self_test.passed


def test_a_bundle_of_another_digest_than_the_activated_one_is_not_taken(linked: StationConfig) -> None:
    recipes = Recipes(linked)
    before = recipes.active
    lead(linked.bundle, "newer")
    settled(recipes, lambda: recipes.take("default", "0" * 64))
    assert recipes.active is before
    assert "holds another bundle" in (recipes.fault or "")


def test_a_recipe_that_is_not_in_use_is_switched_to_its_activated_bundle(
    config: StationConfig, tiny_bundle: Bundle
) -> None:
    recipes = Recipes(config)
    newer = variant(tiny_bundle, config.bundle.with_name("newer"), name="newer")
    replaced(config.recipes["second"], newer.path)
    recipes.take("second", newer.digest)
    settled(recipes, lambda: recipes.select("second"))
    assert recipes.active.bundle.digest == newer.digest


@pytest.mark.parametrize("name", ["model_int8.xml", "model_int8.bin", "references/good.png"])
def test_a_file_that_was_changed_beside_an_unchanged_manifest_fails_the_self_test(
    config: StationConfig, name: str
) -> None:
    recipes = Recipes(config)
    before = recipes.active
    with (config.bundle / name).open("ab") as stream:
        stream.write(b"\n")
    settled(recipes, recipes.retest)
    assert recipes.active is before
    assert f"{name} does not match its sha256" in (recipes.refusal or "")


def test_a_bundle_that_was_replaced_while_the_engine_runs_is_not_switched_to(
    config: StationConfig, tiny_bundle: Bundle
) -> None:
    recipes = Recipes(config)
    variant(tiny_bundle, config.bundle.with_name("other"), name="other")
    replaced(config.recipes["second"], config.bundle.with_name("other"))
    settled(recipes, lambda: recipes.select("second"))
    assert recipes.active.name == "default"
    assert "holds another bundle (other 1" in (recipes.fault or "")
    assert recipes.bundle_change is None


def test_a_bundle_that_changes_while_it_is_verified_does_not_judge(
    config: StationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = Recipes(config)

    def check(*given: Any) -> list[ReferenceCheck]:
        model = config.recipes["second"] / "model_int8.xml"
        model.write_bytes(model.read_bytes() + b"\n")
        return check_references(*given)

    monkeypatch.setattr("edge.engine.recipes.check_references", check)
    settled(recipes, lambda: recipes.select("second"))
    assert recipes.active.name == "default"
    assert "model_int8.xml does not match" in (recipes.fault or "")


def test_a_start_with_another_bundle_than_last_time_is_said(
    config: StationConfig, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    assert Recipes(config).bundle_change is None
    assert Recipes(config).bundle_change is None
    other = variant(tiny_bundle, config.bundle.with_name("other"), name="other")
    replaced(config.bundle, other.path)
    changed = Recipes(config)
    assert changed.active.bundle.digest == other.digest
    assert changed.bundle_change == f"recipe default: {other.title} judges, last time it was {tiny_bundle.title}"
    assert f"digest {other.digest}, was {tiny_bundle.digest}" in caplog.text
    assert Recipes(config).bundle_change is None, "said once"


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(b"\xff["), lambda p: p.mkdir(), lambda p: p.write_text("{}")]
)
def test_a_damaged_memory_of_the_last_bundle_is_named_and_does_not_keep_the_engine_from_starting(
    config: StationConfig, damage: Callable[[Path], object]
) -> None:
    damage(config.state_dir / ACTIVATED)
    assert Recipes(config).active.name == "default"


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), cv2.error("odd"), MemoryError("odd")])
def test_whatever_a_candidate_raises_refuses_it_and_does_not_stop_the_engine(
    config: StationConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    recipes = Recipes(config)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("edge.engine.recipes.check_references", fail)
    settled(recipes, lambda: recipes.select("second"))
    assert recipes.active.name == "default"
    assert "the self-test failed (odd)" in (recipes.fault or "")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("odd"), cv2.error("odd"), InvalidArgument("odd"), EdgeError("odd")]
)
def test_whatever_the_model_raises_on_an_upload_is_an_error_in_one_line(error: Exception) -> None:
    class Failing:
        def predict_prepared(self, _: Image) -> Prediction:
            raise error

    with pytest.raises(EdgeError, match="odd"):
        Recipe("default", BUNDLE, Failing(), chosen_recipe(fail).check).predict_prepared(good_image())  # type: ignore[arg-type]


def fail(_: object) -> Any:
    raise AssertionError("not asked")


def test_a_bundle_of_other_bits_than_the_camera_gives_is_refused_with_the_remedy(
    config: StationConfig, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """12 bits taken for 16 are a picture a sixteenth as bright."""
    spec = tiny_bundle.manifest.input.model_copy(update={"bits": 12})
    deep = variant(tiny_bundle, tmp_path / "deep", input=spec.model_dump(mode="json"))
    of_deep = config.model_copy(update={"bundle": deep.path})
    with pytest.raises(EngineError, match=r"trained on 12 bits a sample, the camera gives 16; set camera.bits = 12"):
        Recipes(of_deep)
    camera = config.camera.model_copy(update={"bits": 12})
    assert Recipes(of_deep.model_copy(update={"camera": camera})).active.bundle.digest == deep.digest
    with pytest.raises(EngineError, match=r"set camera\.bits = 16"):
        Recipes(config.model_copy(update={"camera": camera, "state_dir": tmp_path}))
