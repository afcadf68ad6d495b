"""What only a kernel of its own shows: the limits of the page's unit, and the hardware watchdog. make machine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.inference.bundle import Bundle
from tests.systemd.emulated import NEEDED, Emulated, make_disk
from tests.systemd.machine import ENGINE, PAGE

CGROUP = f"/sys/fs/cgroup/system.slice/{PAGE}.service"
OWN = "/var/lib/linewatch/page"
# The page's unit as it is, with a program that misbehaves once when it finds a file `act`.
DROP_IN = """[Service]
ExecStart=
ExecStart=/bin/sh -c 'if [ -e act ]; then exec /usr/bin/python3 /opt/act.py; fi; exec %s'
"""
ACT = """import os, time
with open("act") as file:
    act = file.read()
os.remove("act")
if act == "memory":
    held = []
    while True:
        held.append(b"x" * 2**24)
if act == "processes":
    made = 0
    try:
        while made < 500:
            if os.fork() == 0:
                time.sleep(3600)
            made += 1
    except BlockingIOError:
        with open("made", "w") as file:
            file.write(str(made))
    time.sleep(3600)
for _ in range(2):
    os.fork()
while True:
    pass
"""


@pytest.fixture(scope="module")
def computer(debian: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    """Start an emulated computer on which engine and page run."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        pytest.skip(f"no computer can be emulated here: {', '.join(absent)} is not installed")
    if not (debian / "vmlinuz").exists():
        pytest.skip(f"{debian} has no kernel: make it with debootstrap --include=linux-image-amd64")
    folder = tmp_path_factory.mktemp("emulated")
    make_disk(folder, debian, tiny_bundle)
    computer = Emulated(folder)
    try:
        for unit in (ENGINE, PAGE):
            computer.until(unit, "ActiveState", "active")
        computer.run("mkdir", "-p", f"/etc/systemd/system/{PAGE}.service.d")
        real = computer.run("sed", "-n", "s/^ExecStart=//p", f"/etc/systemd/system/{PAGE}.service")
        computer.write(f"/etc/systemd/system/{PAGE}.service.d/act.conf", DROP_IN % real)
        computer.write("/opt/act.py", ACT)
        computer.run("systemctl", "daemon-reload")
        yield computer
    finally:
        computer.end()


def last_id(computer: Emulated) -> int:
    return int(json.loads(computer.run("cat", "/run/linewatch/health.json"))["last_id"])


def judges(computer: Emulated) -> None:
    """Wait until the engine has judged two more parts."""
    first, end = last_id(computer), time.monotonic() + computer.HANG_S
    while last_id(computer) < first + 2:
        assert time.monotonic() < end, computer.journal(ENGINE)
        time.sleep(0.5)


def act(computer: Emulated, name: str) -> None:
    """Start the page anew, so that it misbehaves."""
    computer.run("systemctl", "stop", PAGE)
    computer.write(f"{OWN}/act", name)
    computer.run("chown", "linewatch-page", f"{OWN}/act")
    computer.run("systemctl", "reset-failed", PAGE)
    computer.run("systemctl", "start", PAGE)


def counted(computer: Emulated, file: str) -> dict[str, int]:
    """Return what a file of the page's control group counts."""
    words = (line.split() for line in computer.run("cat", f"{CGROUP}/{file}").splitlines())
    return {name: int(value) for name, value in words}


def test_a_page_that_eats_memory_is_killed_and_comes_back_and_the_engine_goes_on(computer: Emulated) -> None:
    engine = computer.unit(ENGINE, "MainPID")
    act(computer, "memory")
    computer.until(PAGE, "NRestarts", "1")
    computer.until(PAGE, "ActiveState", "active")
    assert "Failed with result 'oom-kill'" in computer.journal(PAGE)
    assert int(computer.run("cat", f"{CGROUP}/memory.max")) == 2**30
    judges(computer)
    assert computer.unit(ENGINE, "MainPID") == engine


def test_a_page_makes_no_more_processes_than_it_may(computer: Emulated) -> None:
    act(computer, "processes")
    end = time.monotonic() + computer.HANG_S
    while not (made := computer.run("cat", f"{OWN}/made", check=False)).isdigit():
        assert time.monotonic() < end, computer.journal(PAGE)
        time.sleep(0.5)
    assert int(made) == 63
    assert counted(computer, "pids.events")["max"] > 0
    judges(computer)


def test_a_page_that_computes_without_end_gets_half_of_one_core(computer: Emulated) -> None:
    act(computer, "cpu")
    time.sleep(3)
    took = 'cat /proc/uptime; sed -n "s/usage_usec //p" "$0/cpu.stat"'
    before = computer.run("sh", "-c", took, CGROUP).split()
    time.sleep(10)
    after = computer.run("sh", "-c", took, CGROUP).split()
    share = (int(after[2]) - int(before[2])) / 1e6 / (float(after[0]) - float(before[0]))
    assert 0.3 < share < 0.6, "of one core; four processes ask for all of both"
    assert counted(computer, "cpu.stat")["nr_throttled"] > 0
    judges(computer)
    computer.run("systemctl", "stop", PAGE)


def test_an_engine_whose_loop_hangs_is_started_anew_and_the_computer_is_not(computer: Emulated) -> None:
    boot = computer.run("cat", "/proc/sys/kernel/random/boot_id")
    computer.until(ENGINE, "ActiveState", "active")
    restarts, hanging = int(computer.unit(ENGINE, "NRestarts")), int(computer.unit(ENGINE, "MainPID"))
    assert hanging > 1
    computer.run("sh", "-c", f"kill -STOP {hanging}")
    computer.until(ENGINE, "NRestarts", str(restarts + 1))
    computer.until(ENGINE, "ActiveState", "active")
    judges(computer)
    assert computer.run("cat", "/proc/sys/kernel/random/boot_id") == boot


def test_a_computer_that_hangs_is_reset_by_its_watchdog_and_judges_again(computer: Emulated) -> None:
    boot, judged = computer.run("cat", "/proc/sys/kernel/random/boot_id"), last_id(computer)
    computer.run("sh", "-c", "sync; (sleep 1; kill -SEGV 1) &")  # nobody beats the hardware any more
    assert computer.wait_for_event("WATCHDOG") == {"action": "reset"}
    computer.booted()
    assert computer.run("cat", "/proc/sys/kernel/random/boot_id") != boot
    computer.until(ENGINE, "ActiveState", "active")
    judges(computer)
    assert last_id(computer) > judged
