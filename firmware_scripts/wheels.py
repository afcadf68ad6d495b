"""Download the locked packages of a station for every Python that its distribution may have.

pip chooses by the Python that runs it: it reads the markers of a lock for this one only. So each Python gets the lock
that is left when the markers were read for it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.markers import Marker

PYTHONS = ("3.11", "3.12")  # of Debian 12 and Ubuntu 24.04; firmware_scripts/debian/control names the same
OLDEST_GLIBC, GLIBC = 5, 36  # 2.36 is Debian 12's
PLATFORMS = [*(f"manylinux_2_{minor}_x86_64" for minor in range(OLDEST_GLIBC, GLIBC + 1)),
             "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]  # fmt: skip
LOCKS = [Path(__file__).parents[1] / "requirements" / f"{name}.lock" for name in ("base", "tools")]


def lock_for(lock: str, python: str) -> str:
    """Return the requirements of a lock that a Python needs, with their hashes and without their markers."""
    where = {"python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython",
             "platform_python_implementation": "CPython", "sys_platform": "linux", "platform_system": "Linux",
             "platform_machine": "x86_64", "os_name": "posix"}  # fmt: skip
    kept = []
    for requirement in re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE).replace("\\\n", "").splitlines():
        pinned, _, hashes = requirement.partition("--hash")
        name, _, marker = pinned.partition(";")
        if requirement and (not marker or Marker(marker.strip()).evaluate(where)):
            kept.append(f"{name.strip()} --hash{hashes}\n")
    return "".join(kept)


def options(python: str) -> list[str]:
    """Return what makes pip choose wheels for a Python on a station, whichever Python runs pip."""
    platforms = [f"--platform={name}" for name in PLATFORMS]
    return [f"--python-version={python}", "--implementation=cp", "--only-binary=:all:", *platforms]


def main(folder: Path, *more: str) -> int:
    """Download the wheels into a folder; more: further options of pip. Return pip's exit status."""
    for python in PYTHONS:
        with tempfile.NamedTemporaryFile("w", suffix=".lock") as lock:
            lock.write("".join(lock_for(path.read_text(encoding="utf-8"), python) for path in LOCKS))
            lock.flush()
            command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "download"]
            chosen = [*options(python), "--require-hashes", "-r", lock.name, "-d", str(folder), *more]
            if status := subprocess.run([*command, *chosen], check=False).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
