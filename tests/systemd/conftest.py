from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# What the .deb depends on, and a kernel for the computer that is emulated.
PACKAGES = "systemd,systemd-sysv,python3,python3-venv,nftables,udev,iproute2,systemd-timesyncd,linux-image-amd64"


@pytest.fixture(scope="session")
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the root of a clean Debian; read only: copy it before you boot it."""
    if not request.config.getoption("--minutes"):
        pytest.skip("takes minutes: make machine")
    if made := request.config.getoption("--debian"):
        return Path(made).resolve()
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed, and no --debian is given")
    root = tmp_path_factory.mktemp("debian") / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
    subprocess.run(command, check=True, capture_output=True, timeout=1800)
    return root
