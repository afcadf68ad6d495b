import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.exchange import ExchangeError
from edge.exchange.health import HEALTH, Health, State, read_health, write_health

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def health(**changes: object) -> Health:
    facts: dict[str, object] = {
        "station": "S",
        "state": State.RUNNING,
        "detail": "",
        "pid": 1,
        "written_at": NOW,
        "started_at": NOW,
        "bundle": "tiny 1 0",
        "bundle_path": "/b",
        "threshold": 50.0,
        "runtime": "openvino",
        "cpu_tier": "AVX2",
        "camera": "folder x",
        "camera_fps": 30.0,
        "frame_age_ms": 12.0,
        "trigger": "free run 2 Hz",
        "deadline_ms": 100.0,
        "counts": {"OK": 1},
        "reasons": {"OK/score": 1},
        "latency": None,
        "last_id": 1,
        "last_verdict": "OK",
        "last_reason": "score",
        "recorder_queue": 3,
        "images_dropped": 4,
    }
    return Health.model_validate({**facts, **changes})


def test_health_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_health(tmp_path, health())
    assert read_health(tmp_path) == health()


def test_health_that_is_not_there_or_damaged_is_said_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="not started"):
        read_health(tmp_path)
    (tmp_path / HEALTH).write_text("{}")
    with pytest.raises(ExchangeError, match="cannot be read"):
        read_health(tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "long"])
def test_what_lies_where_health_belongs_is_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    place, other = tmp_path / HEALTH, tmp_path / "run"
    other.mkdir()
    write_health(other, health())
    if kind == "link":
        place.symlink_to(other / HEALTH)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.write_bytes((other / HEALTH).read_bytes() + b" " * 2**21)
    with pytest.raises(ExchangeError, match="cannot be read"):
        read_health(tmp_path)
