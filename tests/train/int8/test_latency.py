"""The CPU that a latency budget is for, and the time of a model there."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.bundle import INT8_IR, Bundle
from edge.inference.cpu import read_cpu
from edge.inference.preprocess import InputSpec
from tests.tiny import SIZE
from tests.train.data.pictures import good, write
from train.int8 import Int8Error, latency
from train.int8.latency import Target, affordable_side, measure_latency, prepare_ms, read_target, slowed

AVX2 = "processor : 0\nmodel name : Old\nflags : avx2\n"


def report(digest: str, infer_ms: float) -> str:
    """The benchmark's report of an Atom that takes infer_ms for the bundle of that digest."""
    shipped = {"runtime": "openvino", "precision": "int8", "tier": "AVX2", "stages": {"infer_ms": {"p50": infer_ms}}}
    return json.dumps({"bundle": {"digest": digest}, "cpu": {"model": "Atom"}, "results": [shipped]})


def test_a_tier_is_measured_under_its_cap(tiny_bundle: Bundle, tmp_path: Path) -> None:
    if read_cpu().native_tier not in ("AMX", "AVX512_VNNI", "AVX2_VNNI"):
        pytest.skip(f"this CPU is {read_cpu().native_tier}: there is no lesser tier to stand in for")
    write(tmp_path / "part.png", good(0))
    spec = InputSpec(width=SIZE, height=SIZE)
    tier, ms = measure_latency(tiny_bundle.file(INT8_IR), spec, tmp_path / "part.png", read_target("AVX2"))
    assert tier == "AVX2 (capped)"
    assert ms > 0


def test_a_tier_above_this_cpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(AVX2)
    monkeypatch.setattr(latency, "read_cpu", lambda: read_cpu(tmp_path / "cpuinfo"))
    assert read_target("AVX2") == read_target("avx2") == Target("AVX2")
    with pytest.raises(Int8Error, match="--target AMX: this CPU is only AVX2; run `python -m edge bench"):
        read_target("AMX")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"no tier \(AMX, AVX512_VNNI, AVX2_VNNI, AVX2\), and no file"),
        ("not JSON", "is no report of the benchmark; run `python -m edge bench --bundle models/default"),
        ('{"results": []}', "is no report of the benchmark"),
        (report("0" * 64, 0.0), "says that a part takes 0 ms; run `python -m edge bench"),
        (report("0" * 64, -5.0), "says that a part takes -5 ms"),
        (report("0" * 64, float("nan")), "says that a part takes nan ms"),
        (report("0" * 64, float("inf")), "says that a part takes inf ms"),
        (report("0" * 64, 9.0), "measured another bundle than this models/default; run `python -m edge bench"),
    ],
)
def test_a_device_that_is_not_known_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "bench.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Int8Error, match=said) as refused:
        read_target(str(file))
    assert "\n" not in str(refused.value)


def test_a_model_that_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "part.png", good(0))
    with pytest.raises(Int8Error, match="measuring the latency failed"):
        measure_latency(
            tmp_path / "none.xml", InputSpec(width=SIZE, height=SIZE), tmp_path / "part.png", Target("AVX2")
        )


@given(st.integers(64, 2000), st.floats(0.0, 60.0), st.floats(0.1, 500.0))
def test_an_input_that_is_chosen_for_its_time_takes_no_more_than_that(side: int, before: float, infer: float) -> None:
    found = affordable_side(side * side, before, infer, 40.0)
    assert 0 <= found <= side
    assert found == 0 or before + infer * found**2 / side**2 <= 40.0 + 1e-9


def test_where_nothing_is_too_slow_the_whole_side_is_affordable() -> None:
    assert affordable_side(800 * 800, 5.0, 20.0, 40.0) == 800


def test_the_time_before_the_network_is_that_of_the_devices_own_preparing(tmp_path: Path) -> None:
    write(tmp_path / "part.png", good(0))
    assert prepare_ms(tmp_path / "part.png", InputSpec(width=SIZE, height=SIZE)) > 0


@pytest.mark.parametrize(("load", "said"), [(4.1, "; other work slows it (load 4.1 of 2): fit again"), (2.9, "")])
def test_times_of_a_busy_computer_are_said_to_be_such(load: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert slowed().startswith(said)
    assert bool(slowed()) is bool(said)
