"""The advisories of OSV against what a station installs."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = Path(__file__).resolve().parents[2] / "firmware_scripts/advisories.py"
is_affected = runpy.run_path(str(SCRIPT))["is_affected"]

ADVISORY: dict[str, Any] = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "reads beyond its end",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Some_Package"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.2"}, {"fixed": "1.10"}]}],
        }
    ],
}


def audit(folder: Path, pinned: str, *advisories: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    lock, archive = folder / "some.lock", folder / "all.zip"
    lock.write_text(f"some-package=={pinned} \\\n    --hash=sha256:0\n")
    with zipfile.ZipFile(archive, "w") as out:
        for advisory in advisories:
            out.writestr(f"{advisory['id']}.json", json.dumps(advisory))
    command = [sys.executable, str(SCRIPT), str(archive), str(lock)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_affected_package_is_named_with_its_remedy(tmp_path: Path) -> None:
    done = audit(tmp_path, "1.9", ADVISORY)
    assert done.returncode == 1
    line = "some-package 1.9: PYSEC-2026-1, CVE-2026-1: reads beyond its end; fixed in 1.10"
    assert done.stdout.splitlines() == [line, "1 packages, 1 advisories, 1 affect"]


@pytest.mark.parametrize("pinned", ["1.1", "1.10", "2.0"])
def test_a_package_before_or_after_the_fault_is_not_affected(tmp_path: Path, pinned: str) -> None:
    assert audit(tmp_path, pinned, ADVISORY).returncode == 0


def test_a_withdrawn_advisory_and_one_of_another_ecosystem_affect_nothing(tmp_path: Path) -> None:
    npm = {"package": {"ecosystem": "npm", "name": "some-package"}, "versions": ["1.9"]}
    withdrawn = ADVISORY | {"withdrawn": "2026-01-01T00:00:00Z"}
    assert audit(tmp_path, "1.9", withdrawn, {"id": "B", "affected": [npm]}).returncode == 0


def test_the_list_of_an_archive_is_read_as_the_lock_is(tmp_path: Path) -> None:
    audit(tmp_path, "1.9", ADVISORY)
    sbom = tmp_path / "sbom.json"
    sbom.write_text(json.dumps({"components": [{"name": "some_package", "version": "1.9"}]}))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "all.zip"), str(sbom)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_each_version_counts_of_a_package_that_has_one_for_each_python(tmp_path: Path) -> None:
    audit(tmp_path, "1.9", ADVISORY)
    lock = tmp_path / "two.lock"
    lock.write_text(
        "some-package==1.9 ; python_full_version < '3.12'\nsome-package==2.0 ; python_full_version >= '3.12'\n"
    )
    command = [sys.executable, str(SCRIPT), str(tmp_path / "all.zip"), str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "2 packages, 1 advisories, 1 affect"


@pytest.mark.parametrize("archive", [b"", b"no archive", None], ids=["empty", "text", "missing"])
def test_without_advisories_nothing_is_called_sound(tmp_path: Path, archive: bytes | None) -> None:
    audit(tmp_path, "1.9", ADVISORY)
    path = tmp_path / "all.zip"
    path.unlink() if archive is None else path.write_bytes(archive)
    command = [sys.executable, str(SCRIPT), str(path), str(tmp_path / "some.lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"linewatch: {path}: ")
    assert audit(tmp_path, "1.9").returncode == 2  # an archive that holds none


def test_an_advisory_whose_range_says_nothing_is_a_line_like_others(tmp_path: Path) -> None:
    entry = {"package": ADVISORY["affected"][0]["package"], "ranges": [{"type": "ECOSYSTEM"}]}
    done = audit(tmp_path, "1.9", ADVISORY | {"affected": [entry]})
    assert done.returncode == 1
    assert "PYSEC-2026-1" in done.stdout
    assert "no fixed version is known" in done.stdout


def test_what_cannot_be_compared_counts_as_affected() -> None:
    assert is_affected("1.9", [], [{"type": "ECOSYSTEM", "events": [{"introduced": "no version"}]}])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.booleans()), max_size=4), st.integers(0, 40))
def test_a_version_is_affected_when_an_interval_holds_it(intervals: list[tuple[int, int, bool]], version: int) -> None:
    events, start, held = [], 0, False
    for gap, length, last in intervals:  # one behind the other, as OSV writes them
        start += gap
        events.append({"introduced": f"1.{start}" if start else "0"})
        end = start + length
        events.append({"last_affected": f"1.{end}"} if last else {"fixed": f"1.{end}"})
        held = held or (start <= version <= end if last else start <= version < end)
        start = end + 1
    ranges = [{"type": "ECOSYSTEM", "events": events[::-1]}]
    assert is_affected(f"1.{version}", [], ranges) == held
