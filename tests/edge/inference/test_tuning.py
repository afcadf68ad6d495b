"""edge.inference.tuning: a profile counts for the place where it was measured, and nowhere else."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.config.station import StationConfig
from edge.inference.bundle import Bundle
from edge.inference.runtimes import Settings
from edge.inference.tuning import (
    Choice,
    Place,
    Profile,
    Trial,
    TuningError,
    here,
    read_profile,
    station_settings,
    write_profile,
)
from tests.edge.engine.parts import watching_station

CHOICE = Choice(inference_num_threads=1, enable_cpu_pinning=False)


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle) -> StationConfig:
    return watching_station(tmp_path, tiny_bundle)


def profile(place: Place) -> Profile:
    trial = Trial(choice=CHOICE, against=Choice(), p50_ms=4.0, ratio=0.8, low=0.7, high=0.9, n=100)
    return Profile(
        measured_at=datetime(2026, 1, 1, tzinfo=UTC), bundle="tiny 1", place=place, choice=CHOICE, trials=(trial,)
    )


def test_a_profile_of_this_place_is_followed(config: StationConfig, tiny_bundle: Bundle) -> None:
    written = profile(here(tiny_bundle))
    write_profile(config.tuning("default"), written)
    assert read_profile(config.tuning("default"), tiny_bundle) == written
    assert station_settings(config, "default", tiny_bundle) == Settings(threads=1, pinning=False)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("cpu", "another CPU"),
        ("tier", "AVX2"),
        ("logical_cores", 1000),
        ("openvino", "2020.1"),
        ("bundle_digest", "0" * 64),
    ],
)
def test_a_profile_of_another_place_is_refused_with_one_line_and_not_followed(
    config: StationConfig, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture, fact: str, value: object
) -> None:
    elsewhere = here(tiny_bundle).model_copy(update={fact: value})
    write_profile(config.tuning("default"), profile(elsewhere))
    assert station_settings(config, "default", tiny_bundle) == Settings()
    (record,) = caplog.records
    assert f"was measured with {fact.replace('_', ' ')} {value}" in record.message
    assert "edge tune" in record.message


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 9}', b"[]", b"\xff"])
def test_a_damaged_profile_is_refused_in_one_line(tiny_bundle: Bundle, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tuning.json"
    path.write_bytes(content)
    with pytest.raises(TuningError, match="edge tune") as refused:
        read_profile(path, tiny_bundle)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("inspection", [{"threads": 2}, {"tuned": False}, {"runtime": "onnxruntime"}])
def test_what_station_toml_says_comes_before_a_profile(
    config: StationConfig, tiny_bundle: Bundle, inspection: dict[str, object]
) -> None:
    write_profile(config.tuning("default"), profile(here(tiny_bundle)))
    told = config.model_copy(update={"inspection": config.inspection.model_copy(update=inspection)})
    assert station_settings(told, "default", tiny_bundle) == Settings(threads=told.inspection.threads)


def test_without_a_profile_the_runtime_chooses(config: StationConfig, tiny_bundle: Bundle) -> None:
    assert station_settings(config, "default", tiny_bundle) == Settings()
