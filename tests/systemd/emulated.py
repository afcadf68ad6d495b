"""A whole computer, emulated by qemu: a kernel of its own, so systemd has every controller and a hardware watchdog.

Its disk is a Debian with a kernel. The interpreter, the packages and this checkout are mounted there read-only, as
tests/systemd/machine.py does. An agent inside, which a serial port of its own reaches, carries out commands as root.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from edge.inference.bundle import Bundle
from tests.systemd.machine import ENGINE, REPO, STATION, Computer, make_station, write_station

NEEDED = ("qemu-system-x86_64", "mke2fs")
# An emulated processor is some ten times slower, and the tests may share a real one with others.
BOOT_S = 900.0
PATIENT = "[Service]\nTimeoutStartSec=1000\nWatchdogSec=60\n"
RARE = STATION.replace("rate_hz = 5", "rate_hz = 1")
SHARED = {"python": sys.base_prefix, "site": sysconfig.get_path("platlib"), "source": str(REPO)}
AGENT = """import json, subprocess
with open("/dev/virtio-ports/agent", "r+b", buffering=0) as port:
    for line in port:
        try:
            done = subprocess.run(json.loads(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            said = [done.returncode, done.stdout.decode(errors="replace")]
        except OSError as error:
            said = [127, str(error)]
        port.write(json.dumps(said).encode() + b"\\n")
"""
AGENT_UNIT = """[Unit]
StartLimitIntervalSec=0
[Service]
RestartSec=1
ExecStart=/usr/bin/python3 -u /opt/agent.py
Restart=always
[Install]
WantedBy=multi-user.target
"""


class Emulated(Computer):
    """The computer while it runs."""

    HANG_S = BOOT_S

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with (folder / "console").open("ab") as said:
            self.process = subprocess.Popen(_command(folder), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self._port = self._connect("agent")
        with self._connect("qmp") as port:
            self._events = port.makefile("rw")
        self._events.readline()
        self._events.write('{"execute": "qmp_capabilities"}\n')
        self._events.flush()

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + 30.0
        while True:
            port = socket.socket(socket.AF_UNIX)
            port.settimeout(BOOT_S)
            try:
                port.connect(str(self._folder / name))
            except OSError:
                port.close()
                assert self.process.poll() is None, self.said()
                assert time.monotonic() < end, self.said()
                time.sleep(0.1)
            else:
                return port

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Wait until the emulator tells this of the hardware, and return what it tells."""
        while True:
            told = json.loads(self._events.readline())
            if told.get("event") == name:
                return dict(told["data"])

    def booted(self) -> None:
        """Wait until the agent of a computer that was reset answers; what was said to the one before is lost."""
        self._port.close()
        self._port = self._connect("agent")

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        self.run("/usr/bin/python3", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", path, text)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command as root inside, and return all that it says."""
        self._port.sendall(json.dumps(command).encode() + b"\n")
        said = b""
        while not said.endswith(b"\n"):
            more = self._port.recv(65536)
            assert more, self.said()
            said += more
        status, text = json.loads(said)
        assert status == 0 or not check, f"{' '.join(command)}: {text}"
        return str(text).strip()

    def said(self) -> str:
        """Return what appeared on the console."""
        return (self._folder / "console").read_text(errors="replace")

    def end(self) -> None:
        """Take the power away."""
        self.process.kill()
        self.process.wait()
        self._events.close()
        self._port.close()


def _command(folder: Path) -> list[str]:
    shared = [
        f"local,path={Path(path).resolve()},mount_tag={name},security_model=none,readonly=on,multidevs=remap"
        for name, path in SHARED.items()
    ]
    return [
        "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072",
        "-display", "none", "-nic", "none", "-serial", "stdio", "-monitor", "none",
        "-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.img"),
        "-append", "root=/dev/vda rw console=ttyS0 no_timer_check quiet systemd.log_color=0 systemd.show_status=1",
        "-drive", f"if=virtio,format=raw,cache=unsafe,file={folder / 'disk'}",
        "-device", "i6300esb", "-action", "watchdog=reset",
        "-device", "virtio-serial", "-device", "virtserialport,chardev=agent,name=agent",
        "-chardev", f"socket,id=agent,path={folder / 'agent'},server=on,wait=off",
        "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off",
        *(word for one in shared for word in ("-virtfs", one)),
    ]  # fmt: skip


def make_disk(folder: Path, debian: Path, bundle: Bundle) -> None:
    """Make `disk`, `vmlinuz` and `initrd.img` of a Debian with a kernel: a station with a release and all units."""
    root = folder / "root"
    left_out = [f"--exclude=./{name}" for name in ("var/cache", "var/lib/apt", "usr/share/doc", "usr/share/locale")]
    root.mkdir()
    with subprocess.Popen(["tar", "-c", *left_out, "-C", debian, "."], stdout=subprocess.PIPE) as packed:
        subprocess.run(["tar", "-x", "-C", root], stdin=packed.stdout, check=True, timeout=300)
    assert packed.returncode == 0
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(root / (root / name).readlink(), folder / name)
    write_station(root, bundle, RARE)
    make_station(root)
    mounts = [f"{name} /opt/{name} 9p trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro 0 0" for name in SHARED]
    (root / "etc/fstab").write_text("\n".join([*mounts, ""]))
    (root / "opt/agent.py").write_text(AGENT)
    units = root / "etc/systemd/system"
    (units / "agent.service").write_text(AGENT_UNIT)
    (units / f"{ENGINE}.service.d").mkdir()
    (units / f"{ENGINE}.service.d/patient.conf").write_text(PATIENT)
    subprocess.run(
        ["systemctl", f"--root={root}", "enable", "agent.service"], check=True, capture_output=True, timeout=60
    )
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, folder / "disk", "3G"], check=True, timeout=300)
    shutil.rmtree(root)
