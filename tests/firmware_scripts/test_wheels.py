"""Which of the locked packages an archive holds, and for which Pythons."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "firmware_scripts"
WHEELS = runpy.run_path(str(SCRIPTS / "wheels.py"))
LOCK = """# made by a tool
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via linewatch
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
colorama==1 ; sys_platform == 'win32' \\
    --hash=sha256:dd
flask==3.1.3 \\
    --hash=sha256:ee
"""


@pytest.mark.parametrize(
    ("python", "numpy"),
    [("3.11", "numpy==2.4.6 --hash=sha256:aa     --hash=sha256:bb"), ("3.12", "numpy==2.5.5 --hash=sha256:cc")],
)
def test_each_python_gets_the_packages_that_the_lock_means_for_it(python: str, numpy: str) -> None:
    assert WHEELS["lock_for"](LOCK, python).splitlines() == [numpy, "flask==3.1.3 --hash=sha256:ee"]


def test_the_package_of_debian_depends_on_a_python_that_the_archive_serves() -> None:
    oldest, after = re.findall(r"python3 \((?:>=|<<) 3\.(\d+)\)", (SCRIPTS / "debian" / "control").read_text())
    assert WHEELS["PYTHONS"] == tuple(f"3.{minor}" for minor in range(int(oldest), int(after)))
