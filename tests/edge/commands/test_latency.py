"""`edge commission --latency` against a camera whose delay is known."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.__main__ import main
from edge.cameras.latency import StreamLatency, latency_file, with_latency
from edge.commands import latency
from edge.commands.acceptance.late_camera import LateCamera
from edge.commands.acceptance.station import TrialStation
from edge.config.cameras import VideoCameraConfig
from edge.inference.bundle import Bundle

DARK, LIGHT = (np.full((96, 128, 3), level, np.uint8) for level in (40, 160))
DELAY_S, FPS = 0.3, 20.0
# Started for each change: it tells the camera of this test what to show, through a file.
LAMP = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"


@pytest.fixture
def camera() -> Iterator[LateCamera]:
    device = LateCamera(DARK, FPS, DELAY_S)
    yield device
    device.close()


def station(folder: Path, bundle: Bundle, source: str) -> TrialStation:
    return TrialStation(folder / "station", bundle, camera={"type": "video", "source": source})


def test_the_latency_of_a_stream_is_measured_by_a_light_and_used(
    tiny_bundle: Bundle,
    tmp_path: Path,
    camera: LateCamera,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(latency, "AFTER_S", 1.5)
    monkeypatch.setattr(latency.CommandFlash, "show", lambda _, light: camera.show(LIGHT if light else DARK))
    made = station(tmp_path, tiny_bundle, camera.url)
    assert main(["commission", "--config", str(made.file), "--latency", "--flash", "lamp"]) == 0
    found = StreamLatency.model_validate_json(latency_file(made.config).read_bytes())
    assert DELAY_S * 1e3 - 5 <= found.quickest_ms <= found.slowest_ms
    assert found.latency_ms == pytest.approx(found.slowest_ms + 1e3 / found.fps)
    assert found.quickest_ms < DELAY_S * 1e3 + 2e3 / FPS + 100, "a loaded machine is slower, not three periods"
    assert found.fps == pytest.approx(FPS, rel=0.05)
    said = capsys.readouterr().out
    assert "10 changes of the light were seen" in said
    used = with_latency(made.config).camera
    assert isinstance(used, VideoCameraConfig)
    assert used.latency_ms == found.latency_ms


def test_a_change_that_the_camera_does_not_see_is_no_measurement(
    tiny_bundle: Bundle,
    tmp_path: Path,
    camera: LateCamera,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(latency, "AFTER_S", 0.6)
    monkeypatch.setattr(latency, "BEFORE_S", 0.4)
    made = station(tmp_path, tiny_bundle, camera.url)
    lamp = f"{sys.executable} -c '{LAMP}' {tmp_path / 'lamp'}"
    assert main(["commission", "--config", str(made.file), "--latency", "--flash", lamp]) == 1
    assert "does not change with the light" in capsys.readouterr().err
    assert (tmp_path / "lamp").read_text() == "off", "the command was run with its word, and the lamp is off in the end"
    assert not latency_file(made.config).exists()


def test_a_lamp_that_cannot_be_switched_and_a_camera_that_is_no_stream_are_one_line(
    tiny_bundle: Bundle,
    tmp_path: Path,
    camera: LateCamera,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(latency, "AFTER_S", 0.2)
    made = station(tmp_path, tiny_bundle, camera.url)
    assert main(["commission", "--config", str(made.file), "--latency", "--flash", "/no/such/lamp"]) == 1
    assert "--flash: the command failed" in capsys.readouterr().err
    folder = TrialStation(tmp_path / "folder", tiny_bundle)
    assert main(["commission", "--config", str(folder.file), "--latency", "--flash", "lamp"]) == 1
    assert "--latency is for network streams" in capsys.readouterr().err
    assert main(["commission", "--config", str(folder.file), "--flash", "lamp"]) == 2
