"""The documents on architecture, station.toml, inputs and outputs, and trouble say what the code does."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from edge.config.cameras import FolderCameraConfig, GenicamCameraConfig, VideoCameraConfig
from edge.config.outputs import OutputConfig
from edge.config.shift import ShiftConfig
from edge.config.station import InspectionConfig, PageConfig, QualityConfig, StationConfig, StorageConfig
from edge.config.triggers import TriggerConfig
from edge.core.types import Reason, Verdict
from edge.line.handshake import Handshake
from edge.line.modbus_server import Bit, Coil, Holding, Input
from edge.web.server import THREADS
from tests.edge.engine.parts import inspection
from train.config import TrainConfig

REPO = Path(__file__).parents[1]
DOCS = REPO / "docs"
ARCHITECTURE = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
IO = (DOCS / "reference" / "io.md").read_text(encoding="utf-8")
STATION_TOML = (DOCS / "reference" / "station-toml.md").read_text(encoding="utf-8")
METRICS = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
TRAINING = (DOCS / "reference" / "training-config.md").read_text(encoding="utf-8")
TROUBLESHOOT = (DOCS / "how-to" / "troubleshoot.md").read_text(encoding="utf-8")
KINDS = {
    "camera": (FolderCameraConfig, VideoCameraConfig, GenicamCameraConfig),
    "trigger": get_args(get_args(TriggerConfig)[0]),
    "output": get_args(get_args(OutputConfig)[0]),
}
TABLES: dict[str, type[BaseModel]] = {
    "Inspection": InspectionConfig,
    "Quality": QualityConfig,
    "Storage": StorageConfig,
    "Page": PageConfig,
    "Shift": ShiftConfig,
}
NUMBER_WORDS = {4: "Four", 8: "Eight", 16: "Sixteen"}


def section(text: str, heading: str, level: str = "##") -> str:
    """Return the lines below one heading, up to the next heading of the same level."""
    return text.split(f"\n{level} {heading}\n")[1].split("\n## ")[0].split(f"\n{level} ")[0]


def column(table: str, number: int) -> list[str]:
    """Return the words in backticks in one column of a table."""
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[number])]


def threads_in_code() -> set[str]:
    """Return the names of the threads that edge starts; a module that starts one has its name in THREAD."""
    names = set()
    for path in (REPO / "edge").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        calls = {
            ast.unparse(n.func).split(".")[-1]
            for n in ast.walk(tree)
            if isinstance(n, ast.Call) and not (n.args and ast.unparse(n.args[0]) == "carrier.thread")  # named there
        }
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


def test_every_fault_of_the_table_has_a_test_that_exists() -> None:
    faults = (REPO / "docs" / "reference" / "faults.md").read_text(encoding="utf-8")
    rows = [line for line in faults.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    assert len(rows) >= 60
    for row in rows:
        named = re.findall(r"`(tests/[\w./]+)::(\w+)`", row.split(" | ")[-1])
        assert named, f"no test holds it: {row}"
        for file, function in named:
            assert f"def {function}(" in (REPO / file).read_text(encoding="utf-8"), f"{file}::{function}"


@pytest.mark.parametrize("package", ["edge", "train"])
def test_every_room_is_in_the_architecture_and_the_reverse(package: str) -> None:
    rooms = section(ARCHITECTURE, "The rooms")
    documented = {name for name in column(rooms, 0) if name.startswith(f"{package}/")}
    there = {path.parent.relative_to(REPO).as_posix() for path in (REPO / package).glob("*/__init__.py")}
    assert documented == there


def test_the_document_lists_every_key_of_a_station_and_no_other() -> None:
    assert set(column(section(STATION_TOML, "Top level"), 0)) == StationConfig.model_fields.keys()


@pytest.mark.parametrize("heading", TABLES)
def test_the_document_lists_every_key_of_a_table_and_no_other(heading: str) -> None:
    assert set(column(section(STATION_TOML, heading), 0)) == TABLES[heading].model_fields.keys()


@pytest.mark.parametrize(
    ("place", "kind"), [(place, kind) for place, kinds in KINDS.items() for kind in kinds], ids=lambda value: str(value)
)
def test_the_document_lists_every_key_of_a_kind_and_no_other(place: str, kind: type[BaseModel]) -> None:
    """A kind of camera, trigger or output has a section of its own."""
    (name,) = get_args(kind.model_fields["type"].annotation)
    keys = column(section(STATION_TOML, f'{place}.type = "{name}"', "###"), 0)
    assert set(keys) == kind.model_fields.keys()


def test_io_lists_every_register_and_error_code_at_its_address() -> None:
    modbus = section(IO, "Modbus TCP")
    for kind in (Coil, Bit, Input, Holding):
        for entry in kind:
            assert f"| {entry.value} | `{entry.name}` |" in modbus
    for reason in Reason:
        assert f"| {reason.code} | `{reason}` |" in modbus


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    assert reason.value in column(section(TROUBLESHOOT, "What each reason means"), 0)


def test_the_document_lists_every_key_of_a_training_and_no_other() -> None:
    assert set(column(TRAINING, 0)) - {"key"} == TrainConfig.model_fields.keys()


def test_the_document_lists_every_metric_of_a_station_and_no_other() -> None:
    documented = set(column(section(METRICS, "Metrics of a station"), 0))
    code = "".join(path.read_text(encoding="utf-8") for path in (REPO / "edge").rglob("*.py"))
    kinds = re.findall(r'(Counter|Info|Gauge|Histogram|outputs)\(\s*"(linewatch_\w+)"', code)
    named = {name + {"Counter": "_total", "Info": "_info"}.get(kind, "") for kind, name in kinds}
    named |= set(re.findall(r"# TYPE (linewatch_\w+)", code))
    assert documented == named


def waveforms(heading: str) -> dict[str, str]:
    """Return name -> waveform of one timing diagram; the row "step" marks the columns where something happens."""
    drawn = section(IO, "Modbus TCP").split(f"\n### {heading}\n")[1].split("```")[1].splitlines()[1:]
    rows = {row.split()[-2 if row.split()[-1][0] in '_"' else 0]: row for row in drawn[1:] if "VERDICT" not in row}
    return {"step": drawn[0]} | rows


def play(handshake: Handshake, coils: dict[str, bool], drawn: dict[str, str], place: int) -> None:
    """Let PLC and station do what is drawn at one step: a part begins where BUSY rises, and is OK where BUSY falls."""
    for coil, write in (("RESULTS_ACK", handshake.results_ack), ("TRIGGER", handshake.trigger)):
        level = drawn[coil][place + 1] == '"'
        if level != coils[coil]:
            coils[coil] = level
            ready = handshake.ready
            write(level)
            if coil == "TRIGGER" and level and ready:
                handshake.begin()
    if drawn["BUSY"][place] == "/" and drawn["TRIGGER"][place] != "/":
        handshake.begin()
    elif drawn["BUSY"][place] == "\\":
        handshake.result(inspection(1, verdict=Verdict.OK))
        handshake.accept()
    elif drawn.get("RELEASE", "_" * 999)[place] == "\\" and drawn["RESULTS_VALID"][place] == '"':
        handshake.safe()
    elif drawn.get("OVERRUN", "_" * 999)[place] == "/" and not coils["TRIGGER"]:
        handshake.hold(True)  # a part that the station cannot take
        handshake.overruns_are(1)
        handshake.passed()


@pytest.mark.parametrize(
    "heading",
    ["The handshake for one part", "A trigger that is refused", "A fault after an OK", "Parts of another trigger"],
)
def test_the_handshake_is_as_its_diagram_draws_it(heading: str) -> None:
    drawn = waveforms(heading)
    handshake, coils = Handshake(), {"TRIGGER": False, "RESULTS_ACK": False}
    handshake.accept()
    places = [match.start() for match in re.finditer(r"\d", drawn["step"])]
    assert len(places) >= 5
    for place in places:
        play(handshake, coils, drawn, place)
        for name in drawn.keys() - {"step", *coils}:
            assert getattr(handshake.signals(), name.lower()) == (drawn[name][place + 1] == '"'), (name, place)
