"""firmware_scripts/unused.txt: what a station's installation leaves out is there elsewhere, and is not loaded."""

import platform
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

from edge.inference.bundle import Bundle

REPO = Path(__file__).parents[1]
SITE = Path(sysconfig.get_path("platlib"))
PATTERNS = [
    line
    for line in (REPO / "firmware_scripts" / "unused.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
# The engine, the page, and both runtimes on what ships; then every file that was imported or mapped. On an ONNX file
# OpenVINO tries each frontend it finds, and does without those that are gone: tests/firmware_scripts runs that.
LOADED = """
import importlib, pkgutil, sys
from pathlib import Path
import edge
from edge.inference.bundle import open_bundle
from edge.inference.detector import RUNTIMES, Detector, check_references
for module in pkgutil.walk_packages(edge.__path__, "edge."):
    importlib.import_module(module.name)
bundle = open_bundle(Path(sys.argv[1]))
for runtime in RUNTIMES:
    check_references(Detector.from_bundle(bundle, runtime), bundle)
print(*(module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)), sep="\\n")
print(*{line.split(None, 5)[5] for line in open("/proc/self/maps") if line.count("/")}, sep="")
"""


def hit(path: str, pattern: str) -> bool:
    """As the shell would: the path, or the folder it lies in, is what the pattern names."""
    parts = path.split("/")
    wanted = pattern.split("/")
    return len(parts) >= len(wanted) and all(map(fnmatch, parts, wanted))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other wheels lack some of it")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_names_something_that_is_installed(pattern: str) -> None:
    assert list(SITE.glob(pattern)) != []
    assert ".." not in pattern


def test_nothing_that_a_station_loads_is_left_out(tiny_bundle: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(tiny_bundle.path)], capture_output=True, text=True, cwd=REPO, timeout=120
    )
    assert done.returncode == 0, done.stderr
    loaded = {line.strip().partition("site-packages/")[2] for line in done.stdout.splitlines()} - {""}
    assert any("libopenvino_intel_cpu_plugin" in path for path in loaded), "the listing itself does not work"
    assert [path for path in loaded for pattern in PATTERNS if hit(path, pattern)] == []
