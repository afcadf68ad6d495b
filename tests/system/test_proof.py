"""What `make chaos` and `make soak` run at length, briefly; and that both can fail."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.commands.acceptance.attacks import ATTACKS
from edge.commands.acceptance.chaos import _kills
from edge.commands.acceptance.station import broken_sequence, late_releases, unrecorded
from edge.commands.evidence import Evidence, Plot
from edge.core.types import Reason, Verdict
from edge.exchange.trigger_socket import TriggerAnswer
from edge.inference.bundle import Bundle
from tests.edge.engine.parts import inspection


@pytest.mark.parametrize("name", ATTACKS)
def test_the_engine_stands_the_attack(tmp_path: Path, tiny_bundle: Bundle, name: str) -> None:
    evidence = Evidence(name, tiny_bundle.title)
    ATTACKS[name](evidence, tiny_bundle, tmp_path / "station")
    if all(one.held is None for one in evidence.properties):
        pytest.skip(evidence.properties[0].seen)
    assert [one for one in evidence.properties if not one.held] == []


def test_a_few_kills_lose_nothing(tmp_path: Path, tiny_bundle: Bundle) -> None:
    evidence = Evidence("kills", tiny_bundle.title)
    _kills(evidence, tiny_bundle, tmp_path / "station", 3, random.Random(1))
    assert len(evidence.properties) == 5
    assert [one for one in evidence.properties if not one.held] == []


def test_soak_writes_its_page_and_exits_0(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "evidence" / "soak.html"
    assert main(["soak", "--bundle", str(tiny_bundle.path), "--frames", "60", "--page", str(page)]) == 0
    assert "every property held" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "60 triggers, 60 answers, 60 rows, 60 output actions, 0 overruns" in text
    assert text.count("<svg") == 2
    assert "http" not in text.replace("http://www.w3.org", ""), "self-contained"


def test_a_soak_that_is_interrupted_judges_the_parts_until_then(tmp_path: Path, tiny_bundle: Bundle) -> None:
    page = tmp_path / "soak.html"
    command = [sys.executable, "-m", "edge", "soak", "--bundle", str(tiny_bundle.path), "--frames", "100000"]
    with subprocess.Popen([*command, "--page", str(page)], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        said = next(line for line in running.stderr if "of 100000 parts" in line)
        running.send_signal(signal.SIGINT)
        running.stderr.read()
    assert "min left" in said
    assert running.returncode == 0
    assert "by Ctrl-C, 100000 were asked for" in page.read_text(encoding="utf-8")


def test_a_property_that_fails_is_exit_status_1(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge.commands.acceptance.soak.broken_sequence", lambda rows: "id 7 is out of sequence")
    page = tmp_path / "soak.html"
    assert main(["soak", "--bundle", str(tiny_bundle.path), "--frames", "10", "--page", str(page)]) == 1
    assert "a property failed" in capsys.readouterr().err
    assert "AT LEAST ONE PROPERTY FAILED" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments", [["chaos", "--bundle", "x", "--kills", "0"], ["soak", "--bundle", "x", "--frames", "1"]]
)
def test_numbers_that_prove_nothing_are_refused(arguments: list[str]) -> None:
    assert main(arguments) == 2


def test_what_is_lost_is_found() -> None:
    rows = [inspection(number) for number in (1, 2, 3)]
    told = [TriggerAnswer.of(row) for row in rows]
    assert unrecorded(told, rows) == []
    assert unrecorded(told, rows[:2]) == [3]
    assert unrecorded([TriggerAnswer(id=2, verdict=Verdict.OK, reason=Reason.SCORE)], rows) == [2]
    assert broken_sequence(rows) == ""
    assert "3" in broken_sequence([rows[0], rows[2]])
    assert late_releases(rows, 14.0) == [1, 2, 3]
    assert late_releases(rows, 16.0) == []


def test_an_empty_page_proves_nothing_and_words_are_escaped() -> None:
    evidence = Evidence("<title>", "bundle")
    assert not evidence.held
    evidence.hold("a", True, "<script>")
    assert evidence.held
    evidence.plots.append(Plot("p", "ms", [(0, 1), (1, 2)]))
    assert "<script>" not in evidence.page()
    assert "<polyline" in evidence.page()
    evidence.skip("b", "no broker here")
    assert (evidence.held, evidence.verdict) == (True, "every property held, 1 untried")
    assert "no broker here" in evidence.page()
    evidence.hold("c", False, "")
    assert not evidence.held
