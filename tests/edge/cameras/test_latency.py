import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge.cameras.latency import (
    LatencyError,
    StreamLatency,
    latency_file,
    source_scrypt,
    source_sha256,
    timing_doubts,
    with_latency,
)
from edge.config.cameras import VideoCameraConfig
from edge.config.station import StationConfig

STREAM = "rtsp://camera/1"


def station(
    folder: Path, camera: dict[str, Any], deadline_ms: float = 100.0, trigger: str = "software"
) -> StationConfig:
    return StationConfig.model_validate(
        {
            "name": "Test",
            "bundle": folder,
            "state_dir": folder,
            "run_dir": folder / "run",
            "camera": camera,
            "trigger": {"type": trigger} | ({"rate_hz": 1} if trigger == "free_run" else {}),
            "inspection": {"deadline_ms": deadline_ms},
        }
    )


def video(**keys: Any) -> dict[str, Any]:
    return {"type": "video", "source": STREAM, **keys}


def store(config: StationConfig, latency_ms: float, source: str = STREAM) -> None:
    latency = StreamLatency(
        made_at=datetime.now(UTC),
        source_sha256=source_sha256(VideoCameraConfig(type="video", source=source)),
        changes=10,
        quickest_ms=latency_ms / 2,
        slowest_ms=latency_ms,
        latency_ms=latency_ms,
        fps=25.0,
    )
    latency_file(config).write_text(latency.model_dump_json())


def test_what_was_measured_of_a_stream_is_used_where_the_file_does_not_say_it(tmp_path: Path) -> None:
    config = station(tmp_path, video())
    assert with_latency(config) == config
    store(config, 80.0)
    camera = with_latency(config).camera
    assert isinstance(camera, VideoCameraConfig)
    assert (camera.latency_ms, camera.fps) == (80.0, 25.0)
    by_hand = station(tmp_path, video(latency_ms=5.0, fps=30.0))
    assert with_latency(by_hand) == by_hand


def test_the_file_knows_its_source_and_tells_nothing_of_its_password(tmp_path: Path) -> None:
    config = station(tmp_path, video())
    store(config, 80.0)
    salts = ["00" * 16, "11" * 16]
    camera = VideoCameraConfig(type="video", source=STREAM)
    assert source_scrypt(camera, salts[0]) != source_scrypt(camera, salts[1])
    for source, known in ((STREAM, True), (f"{STREAM}0", False)):
        stored = json.loads(latency_file(config).read_text()) | {"salt": salts[0], "source_sha256": ""}
        stored["source_scrypt"] = source_scrypt(VideoCameraConfig(type="video", source=source), salts[0])
        latency_file(config).write_text(json.dumps(stored))
        assert (with_latency(config) != config) is known


def test_the_latency_of_another_source_counts_as_none_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    config = station(tmp_path, video())
    store(config, 80.0, source="rtsp://camera/2")
    assert with_latency(config) == config
    latency_file(config).write_text('{"latency_ms": 1}')
    with pytest.raises(LatencyError, match="run `edge commission --latency` again"):
        with_latency(config)


@pytest.mark.parametrize(
    ("camera", "deadline_ms", "trigger", "words"),
    [
        (video(), 100, "software", "every part gets ERROR/stale_frame; run `edge commission --latency`"),
        (video(latency_ms=50.0), 100, "software", "camera.fps: not given"),
        (video(latency_ms=80.0, fps=25.0), 100, "software", "80 ms latency and 40 ms frame period are 120 ms"),
        (video(latency_ms=60.0, fps=25.0), 100, "software", None),
        (video(), 100, "free_run", None),
        (video(source="/dev/video0"), 100, "software", None),
        (video(source="parts.mp4"), 100, "software", None),
        ({"type": "genicam", "device": "Fake_1"}, 100, "software", None),
        ({"type": "folder", "path": "."}, 100, "software", None),
    ],
)
def test_a_configuration_that_can_prove_no_frame_is_named_with_its_numbers(
    tmp_path: Path, camera: dict[str, Any], deadline_ms: float, trigger: str, words: str | None
) -> None:
    doubts = timing_doubts(station(tmp_path, camera, deadline_ms, trigger))
    assert [words in doubt for doubt in doubts if words] == ([True] if words else [])
    assert bool(doubts) is bool(words)
