import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.inference.bundle import Bundle
from tests.tiny import write_tiny_bundle
from train.__main__ import main
from train.config import TrainConfig
from train.report.technical import technical_facts
from train.report.technical_page import write_technical
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
ENDS = ",.;:()[]"  # of a word, which are none of it


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


def visible(text: str) -> str:
    """The words of a page, one space between two."""
    shown = re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(shown))


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


def figures(text: str, strings: list[str]) -> set[str]:
    """Return the numbers of a text, but for those in words that stand in the JSON as they are: names and dates."""
    known = {word.strip(ENDS) for string in strings for word in string.split()}
    words = [word for word in text.split() if word.strip(ENDS) not in known]
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", " ".join(words)))


def told(token: str, values: list[float]) -> bool:
    """Does a figure of the page stand in the JSON: as it is, rounded, or as a share of a hundred?"""
    digits = len(token.partition(".")[2])
    return any(f"{value:.{digits}f}" in (token, f"-{token}") for value in values)


def test_every_figure_of_the_page_stands_in_the_json_beside_it(page: tuple[str, dict[str, Any]]) -> None:
    text, facts = page
    found = list(leaves(facts))
    tokens = figures(visible(text), [value for value in found if isinstance(value, str)]) - OWN
    numbers = [float(value) for value in found if isinstance(value, int | float)]
    at = facts["measured"]["int8"]["at_threshold"]
    numbers += [facts["measured"]["n_defective"] - at["escapes"], facts["measured"]["n_good"] - at["overkill"]]
    values = [*numbers, *(100 * number for number in numbers)]
    assert len(tokens) > 30
    assert {token for token in tokens if not told(token, values)} == set()


def test_a_number_that_stands_only_inside_a_date_or_a_digest_is_a_figure_like_others() -> None:
    strings = ["2026-01-31T06:00:00+00:00", "d7fd330ab", "tiny 17"]
    assert figures("packed 2026-01-31T06:00:00+00:00, tiny 17: 31 of 330", strings) == {"31", "330"}


LESSON = {"epochs": [{"epoch": 1, "loss": 1.5}, {"epoch": 2, "loss": 0.5}], "kept_epoch": 2}
BOTH_SCALES, PLACES, NO_HEAD = "photo averaged 2 × 2", "What good parts show at each place", "No head that learned"
BY_HALF, STUDENT = "Artificial defects on good photos taught it by half", "A small student of it judges"


@pytest.mark.parametrize(
    ("recipe", "labels", "learned", "said"),
    [
        ({"scales": 2}, 0, LESSON, {BY_HALF, BOTH_SCALES, NO_HEAD, "took 2 epochs; half of what epoch 2"}),
        ({"place": "on", "scales": 1}, 0, None, {BY_HALF, PLACES, NO_HEAD, "epochs of the training were not given"}),
        ({"scales": 2}, 5, LESSON, {BOTH_SCALES, "Two heads learned", "at both scales", "the weights of epoch 2"}),
        ({"artificial": False, "scales": 1}, 0, None, {NO_HEAD, "nothing learned by epochs"}),
        ({"profile": "nano"}, 0, LESSON, {BY_HALF, STUDENT, NO_HEAD, "took 2 epochs; half of what epoch 2"}),
    ],
    ids=["lesson", "places", "labels", "bank alone", "nano"],
)
def test_the_page_tells_what_taught_the_model_and_what_judges(
    measured: tuple[Bundle, Path, Path],
    tmp_path: Path,
    recipe: dict[str, Any],
    labels: int,
    learned: dict[str, Any] | None,
    said: set[str],
) -> None:
    bundle, folder, _ = measured
    training = {"recipe": TrainConfig(**recipe).model_dump(mode="json"), "defect_images": labels}
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"training": training}))
    facts = technical_facts(bundle, json.loads((folder / "evaluate.json").read_text()), None, learned)
    write_technical(bundle, None, facts, tmp_path / "page.html")
    words = visible((tmp_path / "page.html").read_text(encoding="utf-8"))
    every = {
        BOTH_SCALES,
        PLACES,
        NO_HEAD,
        BY_HALF,
        STUDENT,
        "Two heads learned",
        "the weights of epoch",
        "half of what",
    }
    assert {one for one in said if one not in words} == set()
    assert {one for one in every if one in words} == {one for one in every if any(one in mine for mine in said)}


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
