"""The Makefile: what a person types first."""

import os
import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a person does: nothing of a make that may have started the tests reaches it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO, env=clean, timeout=60)


def test_without_a_target_the_verbs_are_listed() -> None:
    assert make().stdout == make("help").stdout
    assert "make demo" in make().stdout


def test_help_names_every_target() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in make("help").stdout.splitlines()} == set(phony.split())


@pytest.mark.parametrize("python", ["python-that-is-not-there", "false"])
def test_a_missing_or_old_python_is_one_clear_line(tmp_path: Path, python: str) -> None:
    done = make("setup", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert said == [f"linewatch: {python} is missing or older than 3.11; run: make PYTHON=python3.11 ..."]
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("target", ["setup", "demo", "benchmark"])
def test_what_a_visitor_tries_installs_no_torch(tmp_path: Path, target: str) -> None:
    planned = make("--dry-run", target, f"VENV={tmp_path}/venv").stdout
    assert "requirements/base.lock" in planned
    assert "requirements/dev.lock" not in planned


@pytest.mark.parametrize("target", ["test", "check", "train"])
def test_what_a_developer_does_installs_both_locks(tmp_path: Path, target: str) -> None:
    planned = make("--dry-run", target, f"VENV={tmp_path}/venv").stdout
    assert planned.index("requirements/base.lock") < planned.index("requirements/dev.lock")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], '-m train all --config train/configs/synthetic.toml --name "synthetic"'),
        (["DATA=photos/screw/"], '-m train all --data "photos/screw/" --name "screw"'),
        (["DATA=photos/screw", "NAME=m3"], '-m train all --data "photos/screw" --name "m3"'),
    ],
)
def test_train_names_the_product_after_its_folder(arguments: list[str], expected: str) -> None:
    assert expected in make("--dry-run", "train", *arguments).stdout


def test_the_locks_tell_the_commands_that_make_lock_runs() -> None:
    planned = " ".join(make("--dry-run", "lock").stdout.replace("\\\n", " ").split())
    for name in ("base", "tools", "dev"):
        header = (REPO / "requirements" / f"{name}.lock").read_text().splitlines()[1]
        assert header.removeprefix("#").strip() in planned.replace("--quiet ", "")
