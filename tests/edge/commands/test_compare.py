"""edge.commands.bench.compare: slower is what is slower beyond the noise, and only like is compared with like."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.commands.bench.compare import MARGIN, CompareError, check_comparable, comparison, read_report

RNG = np.random.default_rng(0)


def report(total_ms: float = 5.0) -> dict[str, Any]:
    """As `edge bench` writes it, as far as a comparison reads it: one configuration with a tenth of noise."""
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
    with pytest.raises(CompareError, match=f"{part}.{key} {value}, here it is"):
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
    with pytest.raises(CompareError, match=words) as refused:
        read_report(path)
    assert "\n" not in str(refused.value)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path, old = tmp_path / "old.json", report()
    path.write_text(json.dumps(old))
    assert read_report(path) == old
