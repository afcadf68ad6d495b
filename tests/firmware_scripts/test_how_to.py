"""Every command of the guides to a station is run: a script as a dry run in a folder, a verb up to its station.toml."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
GUIDES = ("install-a-station", "keep-a-station", "watch-many-stations")
# Seen to work elsewhere: make by test_makefile.py, pip and apt by install.bats, systemctl by tests/systemd.
ELSEWHERE = {"apt", "pip", "tar", "cd", "sha256sum", "systemctl", "install"}
STATION = "/etc/linewatch/station.toml"


def commands(guide: str) -> list[list[str]]:
    """Return the commands in the fenced blocks and spans of a guide that begin with sudo, a script or a program."""
    text = (REPO / "docs" / "how-to" / f"{guide}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    lines += re.findall(r"`(sudo [^`\n]+)`", text)
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[3:] if words[:2] == ["sudo", "-u"] else words[words[0] == "sudo" :] for words in found]


ALL = [pytest.param(words, id=" ".join(words)[:60]) for guide in GUIDES for words in commands(guide)]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a station whose engine is this checkout, a wheel and a backup."""
    root = tmp_path_factory.mktemp("guide")
    release = root / "opt/linewatch/releases/one"
    python = release / "bin/python"
    for folder in (python.parent, root / "etc/linewatch/trust", root / "var/lib/linewatch/models", root / "wheels"):
        folder.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{REPO}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name in ("current", "previous"):
        (root / "opt/linewatch" / name).symlink_to("releases/one")
    (release / "complete").touch()
    (root / "x.whl").touch()
    for name in ("v4l2-ctl", "udevadm"):
        tool = root / name
        tool.write_text("#!/bin/sh\necho ID_PATH=usb-1\n")
        tool.chmod(0o755)
    backup = [REPO / "firmware_scripts" / "backup.sh", "--root", root, "--out", root / "backup"]
    subprocess.run(backup, check=True, capture_output=True, timeout=60)
    return root


def placed(word: str, root: Path) -> str:
    """Return a word of a command with the files that a guide speaks of where this test has them."""
    if word.endswith(".whl"):
        return str(root / "x.whl")
    if word.startswith("/media/backup/"):
        return str(next((root / "backup").iterdir()))
    return {"wheels": str(root / "wheels"), "models/my_part": str(REPO / "models" / "default"),
            "/dev/video0": "/dev/null"}.get(word, word)  # fmt: skip


@pytest.mark.parametrize("words", ALL)
def test_a_command_of_a_guide_is_taken(words: list[str], station: Path) -> None:
    program = words[0]
    if program.startswith("firmware_scripts/"):
        command = [str(REPO / program), *(placed(word, station) for word in words[1:])]
        more = ["--root", str(station), "--dry-run"]
        env = {**os.environ, "PATH": f"{station}:{os.environ['PATH']}"}
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60, env=env, cwd=station)
        assert done.returncode == 0, done.stderr
    elif words[1:4] == ["-P", "-m", "edge"]:
        done = subprocess.run([sys.executable, *words[2:]], capture_output=True, text=True, timeout=60, cwd=REPO)
        assert (done.returncode, "no such file" in done.stderr + done.stdout) in ((2, True), (1, True)), done.stderr
    elif words[1:3] == ["-m", "pip"]:
        assert words[3] == "install"
    else:
        assert program in ELSEWHERE, f"{shlex.join(words)}: no test runs this"


def test_a_guide_has_commands() -> None:
    assert len(ALL) >= 20
    assert {param.values[0][0] for param in ALL} >= {"firmware_scripts/install.sh", "firmware_scripts/provision.sh"}
