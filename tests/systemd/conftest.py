from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.inference.bundle import Bundle
from tests.systemd.machine import booted, make_root

PACKAGES = "systemd,systemd-sysv,python3,python3-venv,nftables,udev,iproute2,systemd-timesyncd"  # what the .deb needs


@pytest.fixture(scope="session")
def boots(request: pytest.FixtureRequest, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip what needs a machine where none boots, before anything is fetched or built for it."""
    if not request.config.getoption("--minutes"):
        pytest.skip("takes minutes: make machine")
    folder = tmp_path_factory.mktemp("boots")
    make_root(folder / "root", tiny_bundle)
    with booted(folder / "root", folder / "console"):
        pass


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
    kernel = ",linux-image-amd64" if shutil.which("qemu-system-x86_64") else ""  # of the computer that is emulated
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}{kernel}", "bookworm", root]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800)
    if done.returncode != 0:
        pytest.skip(f"debootstrap makes no Debian here: {' '.join(done.stdout.split()[-40:])}")
    return root
