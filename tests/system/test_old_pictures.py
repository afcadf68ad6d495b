"""No part is OK by a picture from before its trigger: a real engine, and a server that delays, stalls and hangs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.commands.acceptance.late_camera import LateCamera
from edge.commands.acceptance.station import EngineProcess, TrialStation, inspecting
from edge.core.types import Reason, Verdict
from edge.exchange.trigger_socket import TriggerAnswer
from edge.inference.bundle import Bundle
from tests.tiny import bad_image, good_image

FPS = 25.0
DELAY_S = 0.6
SETTLED_S = 3.0


@contextmanager
def line(
    folder: Path, bundle: Bundle, latency_ms: float | None, deadline_ms: float, delay_s: float = 0.0, sigma: float = 3.0
) -> Iterator[tuple[TrialStation, LateCamera]]:
    """A station that judges what a network camera shows."""
    device = LateCamera(good_image(), FPS, delay_s, sigma)
    source = {"type": "video", "source": device.url, "fps": FPS}
    camera = source if latency_ms is None else {**source, "latency_ms": latency_ms}
    try:
        station = TrialStation(folder / "station", bundle, deadline_ms, camera=camera)
        with inspecting(station) as engine:
            assert isinstance(engine, EngineProcess)
            yield station, device
            assert engine.stop() == 0
    finally:
        device.close()


def told(station: TrialStation) -> TriggerAnswer:
    answer = station.trigger()
    assert answer is not None
    return answer


def test_a_part_is_judged_by_its_own_picture_however_late_the_stream_is(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with line(tmp_path, tiny_bundle, DELAY_S * 1e3 + 1e3 / FPS, 2000.0, DELAY_S) as (station, device):
        time.sleep(SETTLED_S)
        verdicts = []
        for number in range(8):
            bad = number % 2 == 0
            device.show(bad_image() if bad else good_image())
            time.sleep(0.1)  # the pictures that arrive meanwhile show the part before
            verdicts.append((bad, told(station).verdict))
    assert (True, Verdict.OK) not in verdicts
    assert (True, Verdict.NG) in verdicts
    assert (False, Verdict.OK) in verdicts


def test_a_stream_that_is_later_than_the_deadline_releases_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with line(tmp_path, tiny_bundle, DELAY_S * 1e3 + 1e3 / FPS, 300.0, DELAY_S) as (station, _):
        time.sleep(SETTLED_S)
        assert {told(station).reason for _ in range(5)} == {Reason.STALE_FRAME}


def test_a_stream_whose_latency_is_unknown_releases_nothing(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with line(tmp_path, tiny_bundle, None, 300.0) as (station, _):
        time.sleep(SETTLED_S)
        assert {told(station).reason for _ in range(5)} == {Reason.STALE_FRAME}


@pytest.mark.parametrize("fault", ["stall", "reconnect"])
def test_pictures_that_were_stored_meanwhile_release_no_bad_part(
    fault: str, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """A network that stands still for a second, and a server that sends its last two seconds first."""
    with line(tmp_path, tiny_bundle, 100.0, 250.0) as (station, device):
        time.sleep(SETTLED_S)
        assert Verdict.OK in {told(station).verdict for _ in range(6)}, "good parts are released before"
        device.held, device.stored_s = fault == "stall", 2.0
        time.sleep(1.0)
        device.show(bad_image())
        time.sleep(0.05)
        device.held = False
        if fault == "reconnect":
            device.cut()
        until, answers = time.monotonic() + 6.0, []
        while time.monotonic() < until:
            answers.append(told(station))
        assert Verdict.OK not in {answer.verdict for answer in answers}
        assert Verdict.NG in {answer.verdict for answer in answers}, "and bad parts are found again afterwards"


@pytest.mark.parametrize("has_clock", [False, True])
def test_a_picture_that_hangs_releases_not_even_the_first_part(
    has_clock: bool, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with line(tmp_path, tiny_bundle, 60.0, 250.0) as (station, device):
        device.has_clock = has_clock
        time.sleep(SETTLED_S)
        assert Verdict.OK in {told(station).verdict for _ in range(6)}, (
            "a steady good part of a sensor with noise is OK"
        )
        device.hangs = True
        answers = [told(station) for _ in range(8)]
        assert {answer.verdict for answer in answers} == {Verdict.ERROR}
        assert Reason.BAD_FRAME in {answer.reason for answer in answers}
        device.hangs = False
        until = time.monotonic() + 30.0
        while told(station).verdict is not Verdict.OK:
            assert time.monotonic() < until, "it lives again"


def test_a_hanging_picture_of_a_camera_without_noise_is_told_by_the_next_trigger(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with line(tmp_path, tiny_bundle, 60.0, 250.0, sigma=0.0) as (station, device):
        device.has_clock = True
        time.sleep(SETTLED_S)
        seen = []
        for image in (bad_image(), good_image(), bad_image(), good_image()):
            device.show(image)
            time.sleep(0.2)
            seen.append(told(station).verdict)
        assert seen == [Verdict.NG, Verdict.OK, Verdict.NG, Verdict.OK]
        device.hangs = True
        device.show(bad_image())
        assert {told(station).verdict for _ in range(6)} == {Verdict.ERROR}
