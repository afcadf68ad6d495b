"""docs/architecture.md and docs/operation.md say what the code does."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from edge.config.cameras import FolderCameraConfig, GenicamCameraConfig, VideoCameraConfig
from edge.config.outputs import OutputConfig
from edge.config.station import InspectionConfig, PageConfig, QualityConfig, StationConfig, StorageConfig
from edge.config.triggers import TriggerConfig
from edge.core.types import Reason
from edge.line.modbus_server import Bit, Coil, Holding, Input
from edge.web.server import THREADS

REPO = Path(__file__).parents[1]
ARCHITECTURE = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
IO = (REPO / "docs" / "io.md").read_text(encoding="utf-8")
OPERATION = (REPO / "docs" / "operation.md").read_text(encoding="utf-8")
NUMBER_WORDS = {4: "Four", 8: "Eight", 16: "Sixteen"}


def section(text: str, heading: str) -> str:
    """The lines below one heading, to the next of its kind."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def column(table: str, number: int) -> list[str]:
    """What stands in backticks in one column of a table."""
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[number])]


def threads_in_code() -> set[str]:
    """Return the names of the threads that edge starts; a module that starts one has its name in THREAD."""
    names = set()
    for path in (REPO / "edge").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        calls = {ast.unparse(n.func).split(".")[-1] for n in ast.walk(tree) if isinstance(n, ast.Call)}
        found = re.findall(r'^THREAD = "(.+)"$', text, re.MULTILINE)
        runs = bool(calls & {"Thread", "Worker"}) or "\n    thread = THREAD\n" in text
        assert bool(found) == runs, f"{path}: a thread without a name, or the reverse"
        names |= set(found)
    return names


def test_every_thread_is_named_in_the_architecture_and_the_reverse() -> None:
    documented = set(column(section(ARCHITECTURE, "Threads"), 1))
    assert documented == threads_in_code() | {"main", "waitress-0"}
    assert f"{NUMBER_WORDS[THREADS]} threads of the web server" in ARCHITECTURE


def test_every_function_on_a_parts_way_exists() -> None:
    way = section(ARCHITECTURE, "One part's way through the code")
    named = re.findall(r"`(edge/[\w/]+\.py):([\w.]+)`", ARCHITECTURE)
    assert len(re.findall(r"`edge/[\w/]+\.py:", way)) >= 10
    for file, function in named:
        *owner, name = function.split(".")
        tree: ast.AST = ast.parse((REPO / file).read_text(encoding="utf-8"))
        for outer in owner:
            tree = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == outer)
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, f"{file}:{function}"


def test_every_fault_seen_elsewhere_has_a_test_that_exists() -> None:
    named = column(section(ARCHITECTURE, "What goes wrong elsewhere"), 1)
    assert len(named) >= 10
    for name in named:
        file, function = name.split(":")
        assert f"def {function}(" in (REPO / file).read_text(encoding="utf-8"), name


def test_every_module_of_the_tree_exists() -> None:
    tree = section(ARCHITECTURE, "The tree")
    for name in re.findall(r"\b(\w+\.py)\b", tree.split("train/  ")[0]):
        assert list((REPO / "edge").rglob(name)), name


def keys() -> set[str]:
    sections: dict[str, tuple[type[BaseModel], ...]] = {
        "camera": (FolderCameraConfig, VideoCameraConfig, GenicamCameraConfig),
        "trigger": get_args(get_args(TriggerConfig)[0]),
        "inspection": (InspectionConfig,),
        "quality": (QualityConfig,),
        "storage": (StorageConfig,),
        "page": (PageConfig,),
    }
    assert sections.keys() < StationConfig.model_fields.keys()
    nested = {f"{name}.{key}" for name, models in sections.items() for model in models for key in model.model_fields}
    return nested | (StationConfig.model_fields.keys() - sections.keys())


def test_operation_lists_every_configuration_key_and_no_other() -> None:
    assert set(column(section(OPERATION, "Configuration"), 0)) == keys()


def test_io_lists_every_key_of_every_output_and_no_other() -> None:
    documented = set(column(section(IO, "Keys of an output"), 0))
    assert documented == {key for model in get_args(get_args(OutputConfig)[0]) for key in model.model_fields}


def test_io_lists_every_register_and_error_code_at_its_address() -> None:
    modbus = section(IO, "Modbus TCP")
    for kind in (Coil, Bit, Input, Holding):
        for entry in kind:
            assert f"| {entry.value} | `{entry.name}` |" in modbus
    for reason in Reason:
        assert f"| {reason.code} | `{reason}` |" in modbus


@pytest.mark.parametrize("reason", Reason)
def test_operation_explains_every_reason(reason: Reason) -> None:
    assert reason.value in column(section(OPERATION, "What each verdict's reason means"), 0)
