"""A computer that boots: a real systemd as its first process, run by systemd-nspawn.

Its root is a new folder. /usr, the interpreter, the packages and this checkout are mounted there read-only. So
nothing is fetched, and no service of this computer starts in it. The network is a loopback of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from edge.core.types import Inspection
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle
from tests.firmware_scripts.releases import release
from tests.tiny import bad_image, good_image

REPO = Path(__file__).parents[2]
HANG_S = 120.0
BOOT_S = 30.0
ENGINE, PAGE, FIREWALL = "linewatch-engine", "linewatch-page", "linewatch-firewall"
OWN = {"/usr": "/usr", sys.base_prefix: "/opt/python", sysconfig.get_path("platlib"): "/opt/site",
       str(REPO): "/opt/source"}  # fmt: skip
NEEDED = ("systemd-nspawn", "nsenter", "nft", "ip")
STATION = """name = "Booted"
bundle = "/var/lib/linewatch/models/current"
state_dir = "/var/lib/linewatch"
run_dir = "/run/linewatch"
bundle_signatures = "optional"
[camera]
type = "folder"
path = "/opt/camera"
[trigger]
type = "free_run"
rate_hz = 5
[inspection]
deadline_ms = 2000
"""
PYTHON = f"""#!/bin/sh
export PYTHONPATH=/opt/source:/opt/site LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/python{sysconfig.get_python_version()} "$@"
"""
CAPABLE = """[Service]
Type=oneshot
ExecStart=/bin/true
User=nobody
PrivateUsers=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes
SystemCallFilter=@system-service
"""


class Computer:
    """A computer with systemd that is started for a test, reached by commands."""

    HANG_S = HANG_S

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command as root inside, and return all that it says."""
        raise NotImplementedError

    def unit(self, name: str, key: str) -> str:
        """Return what systemd says of a unit, e.g. its ActiveState."""
        return self.run("systemctl", "show", "--property", key, "--value", name)

    def until(self, name: str, key: str, *values: str) -> None:
        """Wait until systemd says one of these of a unit."""
        end = time.monotonic() + self.HANG_S
        while (now := self.unit(name, key)) not in values:
            assert time.monotonic() < end, f"{name}: {key} stays {now}: {self.journal(name)}"
            time.sleep(0.1)

    def journal(self, name: str) -> str:
        """Return what a unit wrote, and what systemd wrote about the unit."""
        return self.run("journalctl", "--no-pager", "--quiet", "--output=cat", "--unit", name)


class Machine(Computer):
    """The computer while it runs; `root` is its root as this computer sees it."""

    def __init__(self, root: Path, console: Path, mounts: dict[str, str]) -> None:
        self.root, self._console, self._mounts = root, console, mounts
        self.start()

    def start(self) -> None:
        """Boot, and wait until systemd has started what a boot without Linewatch starts."""
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with self._console.open("ab") as said:
            self.process = subprocess.Popen(
                _command(self.root, self._mounts), stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
            )
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Switch off: systemd stops everything in order."""
        self.process.terminate()
        try:
            self.process.wait(HANG_S)
        finally:
            self.process.kill()

    def first_process(self) -> int | None:
        """Return what this computer calls the first process of the machine, or None before it is there."""
        waiting = [self.process.pid]
        while waiting:
            number = waiting.pop()
            try:
                status = Path(f"/proc/{number}/status").read_text()
                waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
            except OSError:
                continue  # it has just ended
            if any(line.split()[2:] == ["1"] for line in status.splitlines() if line.startswith("NSpid:")):
                return number
        return None

    def _wait(self) -> None:
        """Wait until systemd has started what a boot without Linewatch starts; skip where this is not allowed."""
        end = time.monotonic() + BOOT_S
        while (
            self.first_process() is None or self.run("systemctl", "is-active", "basic.target", check=False) != "active"
        ):
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.skip(f"systemd does not run as the first process here: {' '.join(self.said().split()[-40:])}")
            time.sleep(0.05)
        self.run("systemctl", "start", "capable.service", check=False)
        if self.unit("capable.service", "Result") != "success":
            pytest.skip(f"systemd may not confine a process here: {' '.join(self.journal('capable.service').split())}")

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command as root inside, and return all that it says."""
        first = self.first_process()
        assert first is not None, self.said()
        inside = [
            "nsenter",
            f"--target={first}",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--root",
            "--wd",
        ]
        done = subprocess.run(
            [*inside, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}"
        return done.stdout.strip()

    def rows(self) -> list[Inspection]:
        """Return the whole history, oldest first."""
        log = EventLog(self.root / "var/lib/linewatch/events.db", read_only=True)
        try:
            return log.recent(1_000_000)[::-1]
        finally:
            log.close()

    def said(self) -> str:
        """Return what appeared on the console."""
        return self._console.read_text(errors="replace")

    def probe(self, unit: str, code: str) -> str:
        """Run Python code with all that a unit allows and forbids, and return what the code prints."""
        text = (REPO / "systemd" / f"{unit}.service").read_text().splitlines()
        kept = [
            line for line in text if not line.startswith(("Type=", "Exec", "Restart=", "WatchdogSec=", "RuntimeDir"))
        ]
        at = kept.index("[Service]") + 1
        (self.root / "opt/probe.py").write_text(code)
        start = ["ExecStart=/opt/linewatch/current/bin/python /opt/probe.py", "Type=oneshot"]
        name = f"probe-{uuid.uuid4().hex[:8]}.service"
        (self.root / "etc/systemd/system" / name).write_text("\n".join([*kept[:at], *start, *kept[at:]]))
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "start", name)
        return self.run("journalctl", "--no-pager", "--quiet", "--output=cat", f"_SYSTEMD_UNIT={name}")


def make_root(root: Path, bundle: Bundle) -> None:
    """Make the root of a computer without Linewatch, with a camera's pictures, a bundle and a station.toml."""
    for folder in ("usr", "var/lib", "tmp", "etc", "opt/python", "opt/site", "opt/source"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")
    (root / "etc/group").write_text("root:x:0:\nvideo:x:44:\nnogroup:x:65534:\n")
    (root / "etc/machine-id").write_text(
        f"{uuid.uuid4().hex}\n"
    )  # else this were its first boot, which enables all units
    for name in ("nsswitch.conf", "ld.so.cache", "os-release"):
        shutil.copy(Path("/etc", name), root / "etc" / name)
    shutil.copytree("/etc/alternatives", root / "etc/alternatives", symlinks=True)
    write_station(root, bundle)
    (root / "etc/systemd/system").mkdir(parents=True)
    (root / "etc/systemd/system/capable.service").write_text(CAPABLE)


def write_station(root: Path, bundle: Bundle, text: str = STATION) -> None:
    """Write a camera's pictures, a bundle and a station.toml into a root."""
    for folder in ("opt/camera", "etc/linewatch"):
        (root / folder).mkdir(parents=True)
    cv2.imwrite(str(root / "opt/camera/a_good.png"), good_image())
    cv2.imwrite(str(root / "opt/camera/b_bad.png"), bad_image())
    shutil.copytree(bundle.path, root / "opt/tiny")
    (root / "etc/linewatch/station.toml").write_text(text)


def make_station(root: Path) -> None:
    """Prepare the computer in a root, and install a release, the units and the bundle there, enabled."""
    wheel = root / "opt/one.whl"
    wheel.write_text("one")
    name = release(root, wheel, PYTHON)
    (root / "opt/linewatch/current").symlink_to(f"releases/{name}")
    scripts = REPO / "firmware_scripts"
    subprocess.run([scripts / "provision.sh", "--root", root], check=True, capture_output=True, timeout=60)
    shutil.copytree(root / "opt/tiny", root / "var/lib/linewatch/models/tiny")
    (root / "var/lib/linewatch/models/current").symlink_to("tiny")
    for unit in (*(REPO / "systemd").glob("*.service"), *(REPO / "systemd").glob("*.path")):
        shutil.copy(unit, root / "etc/systemd/system" / unit.name)
    if shutil.which("systemctl"):
        names = [f"{one}.service" for one in (ENGINE, PAGE, FIREWALL)] + ["linewatch-bundles.path"]
        subprocess.run(["systemctl", f"--root={root}", "enable", *names], check=True, capture_output=True, timeout=60)


def _command(root: Path, mounts: dict[str, str]) -> list[str]:
    """Return the command that boots the root."""
    options = [f"--bind-ro={Path(source).resolve()}:{target}" for source, target in mounts.items()]
    if not Path("/run/systemd/system").exists():
        options.append("--keep-unit")  # without a systemd of its own this computer has none to make a scope
    return [
        "systemd-nspawn", "--boot", "--register=no", "--private-network", "--link-journal=no", "--console=read-only",
        "--capability=CAP_BPF,CAP_NET_ADMIN", "--system-call-filter=bpf",  # for IPAddressDeny= and nftables
        f"--machine=linewatch-{uuid.uuid4().hex[:8]}", f"--directory={root}", *options,
        "systemd.log_color=0", *(f"systemd.mask={one}.service" for one in ("console-getty", "systemd-logind")),
    ]  # fmt: skip


@contextmanager
def booted(root: Path, console: Path, mounts: dict[str, str] = OWN) -> Iterator[Machine]:
    """Boot the root, with what is mounted read-only there; skip the test where this computer does not allow it."""
    if os.geteuid() != 0 or missing():
        pytest.skip(f"no machine can boot here: it needs root and {', '.join(NEEDED)}")
    machine = Machine(root, console, mounts)
    try:
        yield machine
    finally:
        machine.end()


def missing() -> list[str]:
    """Return the programs that a machine needs and this computer lacks."""
    return [name for name in NEEDED if shutil.which(name) is None]
