"""Releases as install.sh makes them, without the minutes that pip takes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

REPO = Path(__file__).parents[2]


def release_name(wheel: Path) -> str:
    """Return what install.sh calls the release of this wheel."""
    parts = [wheel, *(REPO / "requirements" / f"{name}.lock" for name in ("tools", "base"))]
    content = b"".join(path.read_bytes() for path in [*parts, REPO / "firmware_scripts" / "unused.txt"])
    content += b"".join(path.read_bytes() for path in sorted((REPO / "systemd").iterdir()))
    return hashlib.sha256(content).hexdigest()[:12]


def release(root: Path, wheel: Path, python: str = "#!/bin/sh\n") -> str:
    """Make the release of this wheel below `root`, with this text as its interpreter; return its name."""
    name = release_name(wheel)
    program = root / "opt/linewatch/releases" / name / "bin/python"
    program.parent.mkdir(parents=True)
    program.write_text(python)
    program.chmod(0o755)
    shutil.copytree(REPO / "systemd", program.parents[1] / "systemd")
    (program.parents[1] / "complete").touch()
    return name
