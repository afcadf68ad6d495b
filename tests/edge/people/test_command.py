"""`edge users` and `edge log audit`, as a person uses them on the station's console."""

from __future__ import annotations

import re
from pathlib import Path

from edge.config.load import load_config
from edge.inference.bundle import Bundle
from edge.people.roles import Role
from edge.people.store import People
from tests.edge.commands.test_main import complained, edge, station


def test_a_person_is_set_up_on_the_console_and_the_audit_says_so(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = station(tmp_path, tiny_bundle.path)
    assert "nobody is set up" in edge("users", "--config", file).stdout
    assert "must be an engineer" in complained(edge("users", "add", "Anna", "operator", "--config", file))
    code = re.findall(
        r"[A-Z2-9]{4}-[A-Z2-9]{4}-[A-Z2-9]{4}", edge("users", "add", "Erna", "engineer", "--config", file).stdout
    )
    people = People(load_config(file).state_dir)
    assert people.join(code[0], "Erna", "correct horse", "").role is Role.ENGINEER
    token = edge("users", "token", "dashboard", "viewer", "--config", file).stdout.strip()
    assert people.program(token) is not None
    people.close()
    shown = edge("log", "audit", "--config", file).stdout
    assert "users add" in shown
    assert "Erna (engineer)" in shown
    assert code[0] not in shown
    assert token not in shown
    assert "3 rows of the audit, none altered" in edge("log", "verify-audit", "--config", file).stdout


def test_a_wrong_line_is_refused_with_what_it_takes(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = station(tmp_path, tiny_bundle.path)
    assert "a role" in complained(edge("users", "add", "Erna", "--config", file))
    assert "no audit yet" in complained(edge("log", "audit", "--config", file))
