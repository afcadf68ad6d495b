"""What the documents promise exists: links, files, make targets, verbs, stages; and they speak of the project only."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
KEPT_OUT = {".venv", ".git", "runs", "data", "state", "benchmark", "build", "dist"}
DOCUMENTS = sorted(path for path in REPO.rglob("*.md") if not KEPT_OUT.intersection(path.relative_to(REPO).parts[:-1]))
SUFFIXES = (".bats", ".lock", ".md", ".py", ".rules", ".service", ".sh", ".toml")
# Spelt in pieces, so that this file does not hold what it forbids.
FORBIDDEN = [
    r"/" + "work/",
    r"/" + "root/",
    r"/opt/" + "pypi",
    r"files\.python" + "hosted",
    r"pypi\." + "org",
    r"\bclau" + "de\b",
    r"\banth" + "ropic\b",
    r"\bLL" + r"M\b",
    r"\blanguage " + r"model\b",
    r"co-auth" + "ored-by",
]

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPO).as_posix())


def prose_and_code(document: Path) -> tuple[str, list[str]]:
    """The text without its code, and the pieces of code: fenced blocks and spans."""
    text = document.read_text(encoding="utf-8")
    code = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    code += re.findall(r"`[^`\n]+`", text)
    return re.sub(r"`[^`\n]+`", "", text), code


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(*module: str) -> set[str]:
    """First words of the indented lines that --help lists."""
    shown = subprocess.run(
        [sys.executable, "-m", *module, "--help"], capture_output=True, text=True, cwd=REPO, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    return set(re.findall(r"^ {2,4}([a-z][a-z-]+)(?: {2}|$)", shown.stdout, re.MULTILINE))


def named(pattern: str) -> dict[str, str]:
    """Whatever the pattern's group finds in the documents' code -> the document that names it."""
    found = {}
    for document in DOCUMENTS:
        for piece in prose_and_code(document)[1]:
            found |= dict.fromkeys(re.findall(pattern, piece, re.MULTILINE), document.name)
    return found


@every_document
def test_every_relative_link_resolves(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_and_code(document)[0]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{document.name} links to {target}"


@every_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    for piece in prose_and_code(document)[1]:
        pattern = r"\b((?:edge|train|tests|systemd|firmware_scripts|models|docs|requirements)/[\w./-]+)"
        for path in re.findall(pattern, piece):
            if path.endswith(SUFFIXES):
                assert (REPO / path).exists(), f"{document.name} names {path}"


@every_document
def test_documents_speak_of_the_project_only(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN if re.search(word, text, re.IGNORECASE)] == []


def test_no_source_names_a_place_of_the_machine_it_was_written_on() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=REPO, timeout=60)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    sources = [REPO / name for name in tracked.stdout.split("\0") if name.endswith((*SUFFIXES, ".html", ".js", ".css"))]
    found = [
        f"{path.relative_to(REPO)}: {word}"
        for path in sources
        if path.exists()
        for word in FORBIDDEN
        if re.search(word, path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert found == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert {"help", "demo", "test"} <= targets
    missing = {target: where for target, where in named(r"\bmake ([a-z][a-z_-]*)").items() if target not in targets}
    assert missing == {}


def test_every_verb_of_the_device_that_is_named_exists() -> None:
    verbs = commands("edge")
    assert {"run", "check", "bench", "check-config"} <= verbs
    missing = {verb: where for verb, where in named(r"-m edge ([a-z][a-z-]*)").items() if verb not in verbs}
    assert missing == {}


def test_every_stage_of_training_that_is_named_exists() -> None:
    stages = commands("train")
    assert {"fit", "pack", "all"} <= stages
    missing = {stage: where for stage, where in named(r"-m train ([a-z][a-z-]*)").items() if stage not in stages}
    assert missing == {}
