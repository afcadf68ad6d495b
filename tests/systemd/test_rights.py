"""systemd/: what the process of root may do, and whom the camera is open to."""

import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_what_the_process_of_root_may_do_stays_little() -> None:
    unit = SYSTEMD / "linewatch-bundles.service"
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=14", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed")
@pytest.mark.parametrize("known", ["", "video:x:44:ada\n"], ids=["no group video", "a group video"])
def test_the_engines_user_opens_a_camera_without_its_unit(tmp_path: Path, known: str) -> None:
    groups = tmp_path / "etc/group"
    (tmp_path / "etc/sysusers.d").mkdir(parents=True)
    groups.write_text(known)
    shutil.copy(SYSTEMD / "linewatch.sysusers", tmp_path / "etc/sysusers.d/linewatch.conf")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True, timeout=60)
    (video,) = [line for line in groups.read_text().splitlines() if line.startswith("video:")]
    assert "linewatch" in video.split(":")[3].split(",")
    assert video.startswith(known.strip())
