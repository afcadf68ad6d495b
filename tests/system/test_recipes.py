"""Recipes, self-tests and the commissioned view, with the real engine in a process of its own."""

import secrets
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pymodbus.client import ModbusTcpClient

from edge.__main__ import main
from edge.commands.acceptance.fake_plc import FakePlc
from edge.core.types import Image, Reason, Verdict
from edge.exchange import ExchangeError
from edge.exchange.health import Health, State
from edge.exchange.requests import Requests
from edge.inference.bundle import Bundle
from edge.line.modbus_server import Coil
from tests.edge.engine.parts import wait_for
from tests.edge.engine.test_recipes import THRESHOLD_OF_NOTHING, replaced, unreproducible, variant
from tests.system.station import HANG_S, Engine, Station, free_port
from tests.tiny import good_image


@pytest.fixture
def station(tmp_path: Path, tiny_bundle: Bundle) -> Station:
    """A station with three recipes: its own copy of the tiny bundle, a second one, and one that must not judge."""
    shutil.copytree(tiny_bundle.path, tmp_path / "own")
    variant(tiny_bundle, tmp_path / "second", name="second")
    unreproducible(tiny_bundle, tmp_path / "wrong")
    station = Station(tmp_path, tiny_bundle)
    text = station.file.read_text().replace(str(tiny_bundle.path), "own")
    station.file.write_text(f'{text}[recipes]\nsecond = "second"\nwrong = "wrong"\n')
    return station


def health(station: Station) -> Health:
    found = station.health()
    assert found is not None
    return found


def box(station: Station) -> Requests:
    return Requests(station.config.run_dir)


def test_a_recipe_is_switched_between_two_parts_and_kept_over_a_restart(station: Station) -> None:
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert health(station).recipes == ["default", "second", "wrong"]
        wait_for(lambda: len(station.rows()) >= 3)
        box(station).switch_recipe("second", HANG_S)
        wait_for(lambda: health(station).recipe == "second")
        wait_for(lambda: any(row.bundle.startswith("second ") for row in station.rows()[-1:]))
        assert engine.stop() == 0
    rows = station.rows()
    names = [row.bundle.split()[0] for row in rows]
    assert names == sorted(names, key=["tiny", "second"].index), "one switch, no part between two bundles"
    assert {row.reason for row in rows} == {Reason.SCORE}
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert health(station).recipe == "second"
        assert engine.stop() == 0


def test_a_plc_selects_the_recipe_by_its_number_and_one_that_cannot_be_used_changes_nothing(station: Station) -> None:
    port = free_port()
    text = station.file.read_text().replace('type = "free_run"\nrate_hz = 10.0', 'type = "modbus"')
    station.file.write_text(f'{text}[[output]]\ntype = "modbus"\nport = {port}\n')
    with Engine(station, "--no-page") as engine:
        engine.ready()
        plc = FakePlc("127.0.0.1", port, HANG_S)
        assert plc.part()["recipe"] == 0
        plc.select_recipe(1)
        plc.wait(lambda now: now["recipe"] == 1, "switched to recipe 1")
        judged_by_second = [plc.part() for _ in range(3)]
        for unusable in (2, 9):  # one that fails its self-test, and one that does not exist
            plc.select_recipe(unusable)
            wait_for(lambda: unusable == 9 or health(station).recipe_fault)  # noqa: B023
            assert plc.part()["recipe"] == 1
        plc.select_recipe(0)
        plc.wait(lambda now: now["recipe"] == 0, "switched back")
        plc.part()
        plc.close()
        assert engine.stop() == 0
    rows = station.rows()
    assert [row.bundle.split()[0] for row in rows] == ["tiny", *["second"] * 5, "tiny"]
    assert {row.reason for row in rows} == {Reason.SCORE}
    assert [part["sequence"] for part in judged_by_second] == [2, 3, 4]


def test_the_latest_selection_of_a_plc_wins_and_nothing_is_ready_until_it_judges(station: Station) -> None:
    port = free_port()
    text = station.file.read_text().replace('type = "free_run"\nrate_hz = 10.0', 'type = "modbus"')
    station.file.write_text(f'{text}[[output]]\ntype = "modbus"\nport = {port}\n')
    judged = []
    with Engine(station, "--no-page") as engine, ModbusTcpClient("127.0.0.1", port=port, timeout=HANG_S) as client:
        engine.ready()
        plc = FakePlc("127.0.0.1", port, HANG_S)
        for numbers in ((1, 0), (2, 1), (0, 1, 2, 0), (1,)):  # 2 fails its self-test
            for number in numbers:
                plc.select_recipe(number)
                assert client.read_holding_registers(0, count=1).registers == [number]
            assert not plc.read()["ready"]
            plc.write(Coil.TRIGGER, True)
            assert plc.read()["overrun"], "no part before the switch is over"
            plc.write(Coil.TRIGGER, False)
            now = plc.wait(lambda now: bool(now["ready"]), "ready")
            assert (now["recipe"], now["recipe_pending"], now["recipe_fault"]) == (numbers[-1], False, 0)
            judged.append(plc.part())
        plc.select_recipe(9)
        now = plc.wait(lambda now: bool(now["recipe_fault"]), "aware of the unknown number")
        assert (now["recipe"], now["recipe_fault"]) == (1, 1)
        assert client.read_holding_registers(0, count=1).registers == [1], "what is in use, not what was refused"
        wait_for(lambda: "number 9" in (health(station).recipe_fault or ""))
        judged.append(plc.part())
        plc.close()
        assert engine.stop() == 0
    assert engine.said.count("no recipe has the number 9") == 1
    names = ["tiny", "second"]
    assert [row.bundle.split()[0] for row in station.rows()] == [names[part["recipe"]] for part in judged]


def test_a_recipe_that_fails_its_self_test_leaves_the_old_one_judging(station: Station) -> None:
    with Engine(station, "--no-page") as engine:
        engine.ready()
        box(station).switch_recipe("wrong", HANG_S)
        wait_for(lambda: health(station).recipe_fault)
        said, before = health(station), len(station.rows())
        with pytest.raises(ExchangeError, match="no recipe 'third'"):
            box(station).switch_recipe("third", HANG_S)
        wait_for(lambda: len(station.rows()) >= before + 3)
        assert engine.stop() == 0
    assert (said.recipe, said.recipe_pending, said.state) == ("default", None, State.RUNNING)
    assert "references/good.png" in (said.recipe_fault or "")
    assert {row.bundle.split()[0] for row in station.rows()} == {"tiny"}


def test_a_self_test_that_fails_makes_every_part_an_error_until_one_passes(station: Station) -> None:
    model = station.folder / "own" / "model_int8.bin"
    whole = model.read_bytes()
    with Engine(station, "--no-page") as engine:
        engine.ready()
        box(station).self_test(HANG_S)
        first = health(station).self_test
        wait_for(lambda: health(station).self_test != first)
        assert health(station).self_test.passed  # type: ignore[union-attr]
        model.write_bytes(b"damaged")
        box(station).self_test(HANG_S)
        wait_for(lambda: health(station).state is State.FAULT)
        wait_for(lambda: [row.reason for row in station.rows()[-1:]] == [Reason.SELF_TEST_FAILED])
        failing = station.rows()[-1].id
        wait_for(lambda: station.rows()[-1].id > failing + 3)
        model.write_bytes(whole)
        box(station).self_test(HANG_S)
        wait_for(lambda: health(station).state is State.RUNNING)
        wait_for(lambda: [row.reason for row in station.rows()[-1:]] == [Reason.SCORE])
        assert engine.stop() == 0
    refused = [row for row in station.rows() if row.reason is Reason.SELF_TEST_FAILED]
    assert {row.verdict for row in refused} == {Verdict.ERROR}
    assert [row.id for row in refused] == list(range(refused[0].id, refused[-1].id + 1)), "none was judged meanwhile"


def test_a_self_test_never_activates_another_bundle_and_a_restart_that_does_says_so(
    station: Station, tiny_bundle: Bundle
) -> None:
    own = station.folder / "own"
    blind = variant(tiny_bundle, station.folder / "blind", name="blind", threshold=THRESHOLD_OF_NOTHING)
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: len(station.rows()) >= 3)
        replaced(own, blind.path)
        box(station).self_test(HANG_S)
        wait_for(lambda: health(station).state is State.FAULT)
        assert "holds another bundle (blind 1" in health(station).detail
        failing = len(station.rows())
        wait_for(lambda: len(station.rows()) > failing + 3)
        assert engine.stop() == 0
    rows = station.rows()
    assert {row.bundle for row in rows} == {tiny_bundle.title}
    assert {row.verdict for row in rows[failing + 1 :]} == {Verdict.ERROR}
    with Engine(station, "--no-page") as engine:
        engine.ready()
        said = health(station).bundle_change
        assert engine.stop() == 0
    assert said == f"recipe default: {blind.title} judges, last time it was {tiny_bundle.title}"
    assert f"digest {blind.digest}, was {tiny_bundle.digest}" in engine.said


def scene(seed: int) -> Image:
    """A textured part, with a sensor's noise."""
    image = np.full((96, 128, 3), 128, np.uint8)
    cv2.circle(image, (64, 48), 30, (100, 120, 150), -1)
    cv2.rectangle(image, (20, 20), (50, 40), (150, 130, 110), -1)
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def show(station: Station, *images: Image) -> None:
    """Replace what the camera sees from now on; under new names, so that no file is replaced while it is in view."""
    old = list(station.camera.iterdir())
    for image in images:
        cv2.imwrite(str(station.camera / f"{secrets.token_hex(8)}.png"), image)
    for path in old:
        path.unlink()


def commission(station: Station) -> int:
    return main(["commission", "--config", str(station.file), "--frames", "6", "--seconds", "1.8"])


def test_a_covered_camera_is_a_camera_fault_and_not_a_defect(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    show(station, *(scene(seed) for seed in range(5)))
    with Engine(station, "--no-page") as engine:
        engine.ready()
        assert health(station).commissioned is False
        assert commission(station) == 1
        assert "another engine uses it" in capsys.readouterr().err
        assert engine.stop() == 0
    assert commission(station) == 0
    assert "commissioned: 6 frames" in capsys.readouterr().out
    covered = scene(9)
    covered[:, :70] = 90
    with Engine(station, "--no-page") as engine:
        engine.ready()
        wait_for(lambda: [row.reason for row in station.rows()[-1:]] == [Reason.SCORE])
        assert health(station).commissioned is True
        before = station.rows()[-1].id
        show(station, covered)
        wait_for(lambda: "looks different" in (health(station).quality_fault or ""))
        assert health(station).state is State.CAMERA_FAULT
        wait_for(lambda: "looks different" in station.rows()[-1].detail)
        assert station.rows()[-1].reason is Reason.BAD_FRAME
        show(station, scene(1))
        wait_for(lambda: health(station).state is State.RUNNING)
        assert engine.stop() == 0
    bad = [row for row in station.rows() if row.reason is Reason.BAD_FRAME]
    assert all(row.id > before and row.verdict is Verdict.ERROR for row in bad)
    looked = [row.detail for row in bad if "may be half-written" not in row.detail]
    assert "looks different" in looked[0]


def test_pictures_that_vary_make_no_baseline(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    show(station, scene(0), (good_image() // 3).astype(np.uint8))
    assert commission(station) == 1
    assert capsys.readouterr().err.startswith("linewatch: ")
    assert not list(station.config.state_dir.glob("baseline-*"))
    shutil.rmtree(station.camera)
    assert commission(station) == 1
    assert "camera is in fault" in capsys.readouterr().err


def test_a_stop_in_the_middle_of_a_self_test_is_a_stop_as_usual(station: Station) -> None:
    with Engine(station, "--no-page") as engine:
        assert engine.ready() == "READY"
        Requests(station.config.run_dir).self_test(HANG_S)
        assert engine.stop() == 0
