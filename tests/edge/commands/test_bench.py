"""edge.commands.bench: the shipped path is measured, and bad input is refused before minutes are spent."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.__main__ import main as edge
from edge.commands.bench import CONFIGURATIONS
from edge.commands.bench.report import over_budget, sections, text
from edge.commands.bench.rig import STAGES
from edge.inference.bundle import Bundle
from edge.inference.cpu import ISA_CAP, read_cpu
from tests.tiny import good_image

QUICK = ["--quick", "--budget-ms", "60000"]  # these tests are about what is measured, not how fast this machine is


def main(argv: list[str]) -> int:
    """Run `edge bench`."""
    return edge(["bench", *argv])


@pytest.fixture(scope="module")
def out(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run one benchmark of everything and return its folder."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge.commands.bench.starts.ROUNDS", 1)
        argv = ["--bundle", str(tiny_bundle.path), "--n", "25", "--cameras", "2", "--out", str(folder)]
        assert main([*argv, "--budget-ms", "60000"]) == 0
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "benchmark.json").read_text())


def test_every_precision_is_measured_in_both_runtimes_the_shipped_one_first(
    report: dict[str, Any],
) -> None:
    measured = [(result["runtime"], result["precision"]) for result in report["results"]]
    assert measured[0] == ("openvino", "int8")
    assert measured == list(CONFIGURATIONS)
    assert [result["n"] for result in report["results"]] == [25] * len(measured)


def test_percentiles_are_ordered_and_the_total_holds_its_stages(report: dict[str, Any]) -> None:
    for result in report["results"]:
        assert set(result["stages"]) == set(STAGES)
        for times in result["stages"].values():
            assert 0 <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        total = result["stages"]["total_ms"]
        assert all(times["max"] <= total["max"] for times in result["stages"].values())
        assert result["overhead"] == pytest.approx(total["p50"] / result["bare_ms"]["p50"], rel=0.05)
        assert {len(blocks) for blocks in result["blocks"].values()} == {2}
        assert result["fps"] > 0


def test_the_quality_check_of_a_commissioned_station_is_measured_and_the_total_holds_it(report: dict[str, Any]) -> None:
    for result in report["results"]:
        quality, total = result["quality_ms"], result["stages"]["total_ms"]
        assert 0 < quality["p50"] <= quality["p95"] <= quality["p99"] <= quality["max"] < total["max"]
        assert quality["p50"] + result["stages"]["infer_ms"]["p50"] < total["p95"]


def test_figures_carry_what_they_depend_on(report: dict[str, Any], tiny_bundle: Bundle) -> None:
    cpu = read_cpu()
    assert report["bundle"] == {"title": tiny_bundle.title, "digest": tiny_bundle.digest, "input": "64x64"}
    assert report["frame"] == "128x96"
    assert (report["cpu"]["model"], report["cpu"]["tier"]) == (cpu.model, cpu.tier)
    assert report["cpu"]["features"] == list(cpu.features)
    assert {"linewatch", "openvino", "onnxruntime"} <= set(report["versions"])
    assert report["rss_mb"] > 10


def test_the_table_is_aligned_and_names_every_stage(report: dict[str, Any]) -> None:
    lines = text(sections(report)).splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("tier "))
    stages = [*(stage.removesuffix("_ms") for stage in STAGES), "quality", "bare"]
    rows = lines[header + 1 : header + 1 + len(report["results"]) * len(stages)]
    end_of_max = lines[header].index("max") + len("max")
    assert [row[:end_of_max].split()[-5] for row in rows] == stages * len(report["results"])
    assert all(re.search(r"\d$", row[:end_of_max]) for row in rows)


def test_a_real_engine_is_started(report: dict[str, Any]) -> None:
    (ready_s,), (first_s,) = report["starts"]["ready_s"], report["starts"]["first_verdict_s"]
    assert 0 < ready_s < first_s
    assert report["starts"]["rss_mb"] > 10


def test_each_of_two_cameras_has_an_engine_and_a_p99_of_its_own(report: dict[str, Any]) -> None:
    first, second = report["cameras"]
    for camera in (first, second):
        assert camera["n"] >= 25
        assert 0 < camera["p50_ms"] <= camera["p99_ms"] <= camera["max_ms"]
    assert first != second


def test_a_camera_over_the_budget_is_named(report: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(report))
    changed["cameras"][1]["p99_ms"] = changed["budget_ms"] + 1
    assert "camera 2 of 2" in str(over_budget(changed))


def test_accuracy_of_every_configuration_is_there(report: dict[str, Any], tiny_bundle: Bundle) -> None:
    for result in report["results"]:
        accuracy, wanted = result["accuracy"], {one.file: one.score for one in tiny_bundle.manifest.references}
        assert (accuracy["n"], accuracy["flips"]) == (len(wanted), 0)
        apart = [abs(score - wanted[file]) / wanted[file] for file, score in accuracy["scores"].items()]
        assert accuracy["largest_relative"] == pytest.approx(max(apart))


def test_the_page_stands_alone_and_holds_every_table_and_plot(out: Path, report: dict[str, Any]) -> None:
    page, document = ((out / f"benchmark.{kind}").read_text() for kind in ("html", "md"))
    for section in sections(report):
        assert section.title in page
        assert f"## {section.title}" in document
    assert page.count("<svg") >= 2
    assert not re.search(r"(src|href)=|<script|url\(", page)


def test_an_older_report_is_compared_and_slower_is_exit_1(
    out: Path, report: dict[str, Any], tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(factor: float) -> int:
        old = json.loads(json.dumps(report))
        for result in old["results"]:
            result["blocks"] = {name: [factor * t for t in times] for name, times in result["blocks"].items()}
        (tmp_path / "old.json").write_text(json.dumps(old))
        argv = ["--bundle", str(tiny_bundle.path), "--n", "20", "--compare", str(tmp_path / "old.json")]
        return main([*argv, *QUICK])

    assert compared(1e-3) == 1
    seen = capsys.readouterr()
    assert "slower beyond the noise: " in seen.err
    assert "SLOWER" in seen.out
    assert compared(1e3) == 0


def test_over_the_budget_is_exit_1_and_one_line(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tiny_bundle.path), "--n", "10", "--quick", "--budget-ms", "0.0001"]) == 1
    assert [line for line in capsys.readouterr().err.splitlines() if "over the budget of 0.0001 ms" in line]


@pytest.mark.parametrize(("runtime", "expected"), [("openvino", True), ("onnxruntime", False)])
def test_only_what_ships_is_held_against_the_budget(report: dict[str, Any], runtime: str, expected: bool) -> None:
    changed = json.loads(json.dumps({**report, "cameras": []}))
    for result in changed["results"]:
        slow = (result["runtime"], result["precision"]) == (runtime, "int8")
        result["stages"]["total_ms"]["p99"] = 101.0 if slow else 1.0
    assert (over_budget({**changed, "budget_ms": 100.0}) is not None) is expected


def test_a_time_that_is_not_a_number_is_over_the_budget(report: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(report))
    changed["results"][0]["stages"]["total_ms"]["p99"] = float("nan")
    assert over_budget(changed) is not None


def test_a_duration_can_be_given_instead_of_a_number(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    assert main(["--bundle", str(tiny_bundle.path), "--seconds", "0.2", "--json", str(path), *QUICK]) == 0
    counts = {result["n"] for result in json.loads(path.read_text())["results"]}
    assert len(counts) == 1
    assert counts.pop() >= 10


def test_frames_of_a_folder_can_be_measured(tiny_bundle: Bundle, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "part.png"), good_image(320, 200))
    path = tmp_path / "bench.json"
    argv = ["--bundle", str(tiny_bundle.path), "--n", "10", "--images", str(tmp_path), "--json", str(path), *QUICK]
    assert main(argv) == 0
    assert json.loads(path.read_text())["frame"] == "320x200"


def test_frames_of_another_size_than_the_first_are_left_out(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, width in enumerate((320, 160, 320)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), good_image(width, 200))
    argv = ["--bundle", str(tiny_bundle.path), "--n", "10", "--images", str(tmp_path), *QUICK]
    assert main(argv) == 0
    assert "1 of 3 images are not 320x200, as the first is; they are left out" in capsys.readouterr().err


@pytest.mark.skipif(
    "AVX2" not in read_cpu().tiers[1:], reason="this CPU has no higher tier than the one to stand in for"
)
def test_a_lesser_cpu_is_stood_in_for_with_openvino_only(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    path = tmp_path / "bench.json"
    argv = ["--bundle", str(tiny_bundle.path), "--n", "10", "--tier", "AVX2", "--json", str(path), *QUICK]
    assert main(argv) == 0
    results = json.loads(path.read_text())["results"]
    assert [(r["tier"], r["runtime"], r["precision"]) for r in results] == [
        ("AVX2 (capped)", "openvino", "int8"),
        ("AVX2 (capped)", "openvino", "fp32"),
    ]
    assert any("ONNX Runtime is left out" in note for note in json.loads(path.read_text())["notes"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--bundle": "absent"}, "no such bundle folder"),
        ({"--json": "absent/bench.json"}, "cannot be written"),
        ({"--json": "."}, "cannot be written"),
        ({"--out": "absent"}, "cannot be written to"),
        ({"--compare": "absent.json"}, "cannot be read"),
        ({"--images": "absent"}, "no such folder"),
        ({"--images": "."}, "holds no image"),
    ],
)
def test_bad_input_is_one_line_and_exit_1(
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    options = {"--bundle": str(tiny_bundle.path), **change}
    assert main([word for pair in options.items() for word in pair]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("linewatch: ")
    assert words in line


@pytest.mark.parametrize(
    "argv",
    [
        ["--n", "0"],
        ["--n", "-1"],
        ["--n", "many"],
        ["--n", "1.5"],
        ["--seconds", "0"],
        ["--seconds", "inf"],
        ["--budget-ms", "nan"],
        ["--n", "5", "--seconds", "5"],
        ["--tier", "SSE2"],
        ["--cameras", "0"],
        ["--surprise"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--bundle", "anywhere", *argv])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("linewatch: ")


def test_an_option_that_was_removed_says_what_to_do_instead(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--soak", "10"], ["--soak=10"], ["--soak"]):
        with pytest.raises(SystemExit) as left:
            main(["--bundle", "anywhere", *argv])
        assert left.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("linewatch: --soak was removed; run `edge soak`")


def test_a_part_without_a_verdict_ends_the_benchmark(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((96, 128, 3), np.uint8))
    assert main(["--bundle", str(tiny_bundle.path), "--images", str(tmp_path), "--n", "10", "--quick"]) == 1
    assert "the frame is black" in capsys.readouterr().err


def test_a_cap_from_outside_is_reported_and_leaves_onnxruntime_out(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if read_cpu().native_tier in ("lower", "ARM64", "ARM64 dotprod"):
        pytest.skip("nothing to cap on this CPU")
    monkeypatch.setenv(ISA_CAP, "SSE41")
    path = tmp_path / "bench.json"
    assert main(["--bundle", str(tiny_bundle.path), "--n", "10", "--json", str(path), *QUICK]) == 0
    report = json.loads(path.read_text())
    assert report["cpu"]["tier"] == "lower (capped)"
    assert {result["runtime"] for result in report["results"]} == {"openvino"}
