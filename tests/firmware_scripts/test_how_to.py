"""Every command of the guides to a station is run on a station in a folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle
from tests.firmware_scripts.releases import release

REPO = Path(__file__).parents[2]
GUIDES = ("install-a-station", "keep-a-station", "watch-many-stations")
WITH_OTHER_BLOCKS = ("connect-a-plc", "set-up-people")  # only what begins with sudo there is a station's
# Seen to work elsewhere: make by test_makefile.py, pip and apt by install.bats, systemctl by tests/systemd.
ELSEWHERE = {"apt", "pip", "tar", "cd", "sha256sum", "systemctl", "install"}
STATION = "/etc/linewatch/station.toml"


def commands(guide: str) -> list[list[str]]:
    """Return the commands in the fenced blocks and spans of a guide that begin with sudo, a script or a program."""
    text = (REPO / "docs" / "how-to" / f"{guide}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    lines = [line for line in lines if guide in GUIDES or line.startswith("sudo ")]
    lines += re.findall(r"`(sudo [^`\n]+)`", text)
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[3:] if words[:2] == ["sudo", "-u"] else words[words[0] == "sudo" :] for words in found]


ALL = [
    pytest.param(words, id=" ".join(words)[:60]) for guide in GUIDES + WITH_OTHER_BLOCKS for words in commands(guide)
]
PYTHON = f'#!/bin/sh\nPYTHONPATH="{REPO}" exec "{sys.executable}" "$@"\n'
# A camera that takes and says every value, a name for it, and a processor that is idle whoever else tests here.
TOOLS = {
    "v4l2-ctl": '#!/bin/sh\ncase "$3" in --set-ctrl) echo "${4%%=*}: ${4#*=}" >"$0.${4%%=*}" ;;\n'
    '--get-ctrl) cat "$0.$4" ;; *) echo "A camera" ;; esac\n',
    "udevadm": "#!/bin/sh\necho ID_PATH=usb-1\n",
    "chrt": '#!/bin/sh\nshift 2\nexec "$@"\n',
}
STATION_TOML = """name = "S"
bundle = "{root}/var/lib/linewatch/models/current"
state_dir = "{root}/var/lib/linewatch"
run_dir = "{root}/run/linewatch"
bundle_signatures = "optional"
[camera]
type = "folder"
path = "{root}/camera"
[trigger]
type = "free_run"
rate_hz = 1
"""
# What this station cannot give: a stream, and a server in the network.
MISSING = {"--latency": "is for network streams", "fetch": "bundles.example"}


@pytest.fixture
def station(tmp_path: Path, tiny_bundle: Bundle) -> Path:
    """Give a folder with a station that has a release before its own, whose engine is this checkout, and a backup."""
    root = tmp_path / "a station"
    for folder in ("etc/linewatch/trust", "var/lib/linewatch/models", "run/linewatch", "wheels", "tools"):
        (root / folder).mkdir(parents=True)
    for minor in range(11, 20):
        (root / "wheels" / f"x-1-cp3{minor}-cp3{minor}-any.whl").touch()
    for number, name in enumerate(("previous", "current")):
        (root / "x.whl").write_text(str(number))
        (root / "opt/linewatch" / name).symlink_to(f"releases/{release(root, root / 'x.whl', PYTHON)}")
    shutil.copytree(tiny_bundle.path, root / "var/lib/linewatch/models/tiny")
    (root / "var/lib/linewatch/models/current").symlink_to("tiny")
    shutil.copytree(REPO / "models/samples", root / "camera")
    (root / STATION[1:]).write_text(STATION_TOML.format(root=root))
    log = EventLog(root / "var/lib/linewatch/events.db")
    log.reserve(1)
    log.close()
    for name, text in TOOLS.items():
        (root / "tools" / name).write_text(text)
        (root / "tools" / name).chmod(0o755)
    backup = [REPO / "firmware_scripts" / "backup.sh", "--root", root, "--out", root / "backup"]
    subprocess.run(backup, check=True, capture_output=True, timeout=60)
    return root


def placed(word: str, root: Path, bundle: Path) -> str:
    """Return a word of a command with the files that a guide speaks of where this test has them."""
    if word.endswith(".whl"):
        return str(root / "x.whl")
    if word.startswith("/media/backup/"):
        return str(next((root / "backup").iterdir()))
    return {"wheels": str(root / "wheels"), "models/my_part": str(bundle), "/dev/video0": "/dev/null",
            "/media/backup": str(root / "carried"), "/tmp": str(root / "carried"),
            STATION: str(root / STATION[1:])}.get(word, word)  # fmt: skip


@pytest.mark.parametrize("words", ALL)
def test_a_command_of_a_guide_does_what_it_says(words: list[str], station: Path, tiny_bundle: Bundle) -> None:
    program, arguments = words[0], [placed(word, station, tiny_bundle.path) for word in words[1:]]
    env = {**os.environ, "PATH": f"{station}/tools:{os.environ['PATH']}"}
    if program.startswith("firmware_scripts/"):
        command = [str(REPO / program), *arguments, "--root", str(station)]
    elif words[1:4] == ["-P", "-m", "edge"]:
        command = [str(station / program[1:]), *arguments]
    else:
        assert program in ELSEWHERE, f"{shlex.join(words)}: no test runs this"
        return
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=station)
    reason = next((MISSING[word] for word in words if word in MISSING), None)
    if "doctor" in words:  # all is well here but that no engine runs
        assert [line.split()[0] for line in done.stdout.splitlines() if "WRONG" in line] == ["engine"], done.stdout
    elif reason is None:
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode in (1, 2)
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_guide_has_commands() -> None:
    assert len(ALL) >= 20
    assert {param.values[0][0] for param in ALL} >= {"firmware_scripts/install.sh", "firmware_scripts/provision.sh"}
