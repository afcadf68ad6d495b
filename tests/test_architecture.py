"""The house rules that a program can check: imports, sizes, broad handlers, declared dependencies."""

import ast
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
EDGE = sorted((REPO / "edge").rglob("*.py"))
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
WITHOUT_WORKSTATION = """
import importlib, pkgutil, sys

BLOCKED = {"torch", "torchvision", "torchao", "timm", "onnx", "onnxscript", "neural_compressor", "train"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Refuse())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    sys.exit("the blocking itself does not work")
import edge
for module in pkgutil.walk_packages(edge.__path__, "edge."):
    importlib.import_module(module.name)
print(len([name for name in sys.modules if name.startswith("edge.")]))
"""


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120)


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_module_of_the_device_imports_without_the_workstation() -> None:
    done = python(WITHOUT_WORKSTATION, REPO)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(EDGE) - 1


def test_the_import_contracts_are_kept() -> None:
    done = python(LINT, REPO)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("edge/core/types.py", "import torch"),
        ("edge/inference/decision.py", "import train.config"),
        ("edge/exchange/health.py", "import sqlite3"),
        ("edge/cameras/quality.py", "import openvino"),
        ("edge/cameras/quality.py", "import edge.line.wiring"),
        ("edge/config/station.py", "import edge.engine.inspector"),
        ("edge/web/server.py", "import edge.engine.daemon"),
        ("train/config.py", "import edge.engine.daemon"),
        ("train/config.py", "import neural_compressor"),
        ("train/stages/pack.py", "import train.stages.fit"),
        ("train/measure/metrics.py", "import openvino"),
    ],
)
def test_the_import_contracts_would_find_a_breach(tmp_path: Path, file: str, line: str) -> None:
    for name in ("edge", "train"):
        shutil.copytree(REPO / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = python(LINT, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def distribution(name: str) -> str:
    """What to install for an import name, as a lock file spells it."""
    found = importlib.metadata.packages_distributions().get(name, [name])
    return found[0].lower().replace("_", "-")


def third_parties() -> set[str]:
    names = {name for path in EDGE for name in imported(path)}
    return {distribution(name) for name in names - set(sys.stdlib_module_names) - {"edge", "_typeshed"}}


def test_the_device_imports_only_what_it_installs() -> None:
    lock = (REPO / "requirements" / "base.lock").read_text()
    installed = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    assert third_parties() - installed == set()


def test_the_device_installs_nothing_that_it_does_not_import() -> None:
    declared = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {dependency.partition(">")[0] for dependency in declared} - third_parties() == set()


def test_failures_are_swallowed_in_two_places_only() -> None:
    """A broad handler is a part that may leave without a verdict: see docs/explanation/architecture.md."""
    broad = [
        path.relative_to(REPO).as_posix()
        for path in EDGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    ]
    assert sorted(broad) == ["edge/core/worker.py", "edge/engine/judge.py"]


@pytest.mark.parametrize("name", ["pickle", "marshal", "shelve", "dill", "joblib"])
def test_nothing_on_the_device_can_run_what_it_reads(name: str) -> None:
    assert [path for path in EDGE if name in imported(path)] == []


def test_functions_of_the_device_fit_on_a_screen() -> None:
    long = [
        f"{path.relative_to(REPO)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in EDGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 40
    ]
    assert long == []


def test_files_of_the_page_are_read_in_one_sitting() -> None:
    long = {
        path.relative_to(REPO).as_posix(): lines
        for path in (REPO / "edge" / "web").rglob("*")
        if path.suffix in {".py", ".js", ".css", ".html"} and (lines := len(path.read_text().splitlines())) > 300
    }
    assert long == {}


def test_no_deadline_follows_a_clock_that_can_be_set() -> None:
    """A jump of the wall clock must move no time-out: durations are of time.monotonic or perf_counter."""
    wall = [
        path.relative_to(REPO).as_posix()
        for path in EDGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("time", "time"), ("time", "time_ns")}
    ]
    assert wall == ["edge/line/outputs/webhook.py"], "the date that it signs, and no other"


def test_the_page_touches_the_engines_folder_only_to_read_what_people_set() -> None:
    """The page's user may write config.page_dir alone; see docs/decisions/0026-two-users.md."""
    named = {
        path.relative_to(REPO).as_posix()
        for path in (REPO / "edge" / "web").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "state_dir"
    }
    assert named == {"edge/web/views/limit.py", "edge/web/service/diagnostics.py"}, (
        "limits.db and the free room, read only"
    )


ROOMS = [REPO / "edge", REPO / "train"]
# A verb of the command line and a stage of training each have the functions that their table of verbs calls. Settings
# are how a runtime runs a model, and one way to quantise it; no file reads both.
NAMED_ALIKE = {"add_arguments", "main", "run", "Settings"}


def test_no_folder_has_more_than_twelve_entries() -> None:
    aside = {"__pycache__", "__init__.py", "configs", "static", "templates"}
    folders = [room for top in ROOMS for room in (top, *top.rglob("*")) if room.is_dir()]
    crowded = {
        folder.relative_to(REPO).as_posix(): entries
        for folder in folders
        if not set(folder.relative_to(REPO).parts) & {"__pycache__", "configs", "static", "templates"}
        and len(entries := sorted(path.name for path in folder.iterdir() if path.name not in aside)) > 12
    }
    assert crowded == {}


def test_the_tests_mirror_the_rooms() -> None:
    for top in ROOMS:
        rooms = {path.name for path in top.iterdir() if (path / "__init__.py").is_file()}
        mirrored = {path.name for path in (REPO / "tests" / top.name).iterdir() if any(path.glob("test_*.py"))}
        assert mirrored <= rooms
        assert rooms <= mirrored


def test_no_public_name_is_defined_in_two_rooms() -> None:
    homes: dict[str, set[str]] = {}
    for top in ROOMS:
        for path in top.rglob("*.py"):
            room = "/".join(path.relative_to(REPO).parts[:2])
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, set()).add(room)
    assert {name: rooms for name, rooms in homes.items() if len(rooms) > 1 and name not in NAMED_ALIKE} == {}
