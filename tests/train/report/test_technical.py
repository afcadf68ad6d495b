import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.inference.bundle import Bundle
from tests.tiny import write_tiny_bundle
from train.__main__ import main
from train.stages.evaluate import evaluate_bundle

BENCHMARK = {
    "measured_at": "2026-01-31T06:00:00+00:00",
    "cpu": {"model": "Some CPU", "tier": "AVX2", "logical_cores": 2, "load_before": 0.25},
    "frame": "128x96",
    "rss_mb": 210.4,
    "skipped": ["AMX"],
    "results": [
        {
            "tier": "AVX2",
            "runtime": "openvino",
            "precision": "int8",
            "n": 73,
            "fps": 61.7,
            "stages": {
                key: {"p50": 11.25, "p95": 13.75, "p99": 17.35, "max": 19.5}
                for key in ("prepare_ms", "infer_ms", "decide_ms", "total_ms")
            },
        }
    ],
}
# Of the prose itself: the level of the intervals, and the headings' own numbers.
OWN = {"95", *"12345678"}


@pytest.fixture(scope="module")
def measured(_tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path, Path]:
    """A packed bundle, the folder of what was measured of it, and the photos."""
    folder = tmp_path_factory.mktemp("technical")
    bundle = write_tiny_bundle(folder / "tiny", folder / "work")
    evaluate_bundle(bundle.path, _tiny_run / "photos", folder / "evaluate.json")
    (folder / "bench.json").write_text(json.dumps(BENCHMARK | {"bundle": {"digest": bundle.digest}}))
    return bundle, folder, _tiny_run / "photos"


def write(measured: tuple[Bundle, Path, Path], out: Path, *more: str) -> int:
    bundle, folder, _ = measured
    command = ["--bundle", str(bundle.path), "--evaluation", str(folder / "evaluate.json"), "--out", str(out)]
    return main(["report", *command, *more])


@pytest.fixture(scope="module")
def page(measured: tuple[Bundle, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    _, folder, photos = measured
    out = tmp_path_factory.mktemp("page") / "technical.html"
    assert write(measured, out, "--benchmark", str(folder / "bench.json"), "--data", str(photos)) == 0
    return out.read_text(encoding="utf-8"), json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))


def leaves(facts: Any) -> Iterator[Any]:
    if isinstance(facts, dict):
        for key, value in facts.items():
            yield key
            yield from leaves(value)
    elif isinstance(facts, list):
        yield len(facts)
        for value in facts:
            yield from leaves(value)
    else:
        yield facts


def told(token: str, values: list[float], words: str) -> bool:
    """Does a figure of the page stand in the JSON: as it is, rounded, or as a share of a hundred?"""
    digits = len(token.partition(".")[2])
    return token in words or any(f"{value:.{digits}f}" in (token, f"-{token}") for value in values)


def test_every_figure_of_the_page_stands_in_the_json_beside_it(page: tuple[str, dict[str, Any]]) -> None:
    text, facts = page
    visible = re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)
    tokens = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", html.unescape(visible))) - OWN
    found = list(leaves(facts))
    numbers = [float(value) for value in found if isinstance(value, int | float)]
    at = facts["measured"]["int8"]["at_threshold"]
    numbers += [facts["measured"]["n_defective"] - at["escapes"], facts["measured"]["n_good"] - at["overkill"]]
    values = [*numbers, *(100 * number for number in numbers)]
    words = " ".join(value for value in found if isinstance(value, str))
    assert len(tokens) > 40
    assert {token for token in tokens if not told(token, values, words)} == set()


def test_the_page_shows_latency_and_parts_a_second_of_the_benchmark(page: tuple[str, dict[str, Any]]) -> None:
    row = "".join(f"<td>{cell}</td>" for cell in ("11.2", "11.2", "13.8", "17.4", "61.7", "73"))
    assert f"<td>AVX2</td><td>OpenVINO</td><td>INT8</td>{row}" in page[0]
    assert "This CPU lacks these tiers, so their latency was not measured: AMX." in page[0]


def test_the_page_shows_its_failures_as_pictures_and_needs_nothing_but_itself(page: tuple[str, dict[str, Any]]) -> None:
    text, facts = page
    shown = [one["file"] for one in facts["failures"]["escapes"] + facts["failures"]["overkill"]]
    assert text.count("data:image/jpeg;base64,") >= 2 * (len(shown) or 1)
    assert all(name in text for name in shown)
    assert not re.findall(r'(?:src|href)="(?!data:|#)|@import|<script', text)


def test_a_type_that_escapes_is_named_among_the_limits(measured: tuple[Bundle, Path, Path], tmp_path: Path) -> None:
    bundle, folder, _ = measured
    facts = json.loads((folder / "evaluate.json").read_text())
    facts["int8"]["per_type"]["spot"]["found_at_threshold"] = 4
    (tmp_path / "evaluate.json").write_text(json.dumps(facts))
    assert write((bundle, tmp_path, tmp_path), tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 of 6 test images of the type spot escape." in text
    assert "No benchmark was given, so the latency of a station is not known." in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.json", None, "no such file; write it with `python -m edge bench"),
        ("torn.json", "{", "is no JSON"),
        ("other.json", "[]", "is another report"),
        ("else.json", json.dumps(BENCHMARK | {"bundle": {"digest": "0" * 64}}), "is of another bundle"),
    ],
)
def test_a_benchmark_that_is_none_of_this_bundle_is_one_line(
    measured: tuple[Bundle, Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | None,
    said: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert write(measured, tmp_path / "page.html", "--benchmark", str(tmp_path / name)) == 1
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
