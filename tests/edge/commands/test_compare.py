"""edge.commands.bench.compare: slower is what is slower beyond the noise, and only like is compared with like."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.bench.compare import MARGIN, block_medians, check_comparable, comparison, ratio, read_report

TIMES = st.lists(st.floats(0.1, 1e3), min_size=1, max_size=60)
RNG = np.random.default_rng(0)


def report(total_ms: float = 5.0) -> dict[str, Any]:
    """Return a report as far as a comparison reads it: one configuration with a tenth of noise."""
    blocks = (total_ms * RNG.normal(1, 0.1, 50)).tolist()
    times = {"p50": float(np.median(blocks))}
    result = {
        "tier": "AVX2",
        "runtime": "openvino",
        "precision": "int8",
        "bare_ms": times,
        "stages": {"infer_ms": times, "total_ms": times},
        "blocks": {"bare_ms": blocks, "infer_ms": blocks, "total_ms": blocks},
    }
    return {
        "measured_at": "2026-01-01",
        "bundle": {"title": "tiny 1", "input": "64x64"},
        "frame": "128x96",
        "cpu": {"model": "A CPU", "tier": "AVX2", "logical_cores": 2},
        "results": [result],
    }


def test_the_same_again_is_not_slower() -> None:
    for _ in range(20):
        _, slower = comparison(report(), report())
        assert slower == []


def test_a_fifth_slower_is_named_and_a_fifth_faster_is_not_complained_of() -> None:
    section, slower = comparison(report(), report(6.0))
    assert slower == ["AVX2 OpenVINO INT8 bare", "AVX2 OpenVINO INT8 infer", "AVX2 OpenVINO INT8 total"]
    assert {row[-1] for row in section.rows} == {"SLOWER"}
    section, slower = comparison(report(6.0), report())
    assert slower == []
    assert {row[-1] for row in section.rows} == {"faster"}


def test_less_than_two_runs_of_the_same_may_differ_by_is_not_slower() -> None:
    old = report()
    now = copy.deepcopy(old)
    blocks = now["results"][0]["blocks"]
    for series in blocks:
        blocks[series] = [5.0 * (1 + MARGIN / 2)] * 50
        old["results"][0]["blocks"][series] = [5.0] * 50
    assert comparison(old, now)[1] == []


def test_a_configuration_that_only_one_of_them_has_is_left_out() -> None:
    now = report()
    now["results"].append({**now["results"][0], "precision": "bf16"})
    assert len(comparison(report(), now)[0].rows) == 3


@pytest.mark.parametrize(
    ("part", "key", "value"), [("cpu", "model", "another"), ("cpu", "tier", "AMX"), ("bundle", "input", "32x32")]
)
def test_another_cpu_or_input_is_not_compared(part: str, key: str, value: str) -> None:
    old = report()
    old[part][key] = value
    with pytest.raises(match=f"{part}.{key} {value}, here it is"):
        check_comparable(old, report())
    check_comparable(report(), report())


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not JSON"), ("[]", "no blocks"), ('{"results": [{}]}', "no blocks"), (None, "read")],
)
def test_a_report_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(match=words) as refused:
        read_report(path)
    assert "\n" not in str(refused.value)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path, old = tmp_path / "old.json", report()
    path.write_text(json.dumps(old))
    assert read_report(path) == old


@given(values=TIMES, block=st.integers(1, 20))
def test_blocks_hold_every_value_once_and_lie_within_them(values: list[float], block: int) -> None:
    medians = block_medians(values, block)
    assert len(medians) == max(len(values) // block, 1)
    assert min(values) <= min(medians)
    assert max(medians) <= max(values)


@given(values=TIMES, factor=st.floats(0.1, 10))
def test_the_interval_holds_the_ratio_and_follows_the_scale(values: list[float], factor: float) -> None:
    found = ratio([value * factor for value in values], values)
    assert found.low <= found.high
    assert np.isclose(found.value, factor)
    same = ratio(values, values)
    assert np.isclose(found.low / factor, same.low)
    assert np.isclose(found.high / factor, same.high)


def test_two_runs_of_the_same_are_told_apart_about_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(0)
    runs = [ratio(rng.normal(5, 0.5, 30), rng.normal(5, 0.5, 30)) for _ in range(200)]
    assert sum(not one.low <= 1 <= one.high for one in runs) <= 20


def test_a_tenth_slower_is_seen_through_noise_of_a_tenth() -> None:
    rng = np.random.default_rng(0)
    found = ratio(rng.normal(5.5, 0.5, 50), rng.normal(5, 0.5, 50))
    assert found.low > 1
