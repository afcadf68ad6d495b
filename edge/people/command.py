"""`edge users`: set up who may do what on the page, from the station's own console."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from edge.config.load import load_config
from edge.config.station import StationConfig
from edge.history.audit import AuditLog, Deed
from edge.people import PeopleError
from edge.people.roles import Role, Via
from edge.people.store import CODE_LASTS, People

ACTIONS = ("list", "add", "code", "remove", "token", "revoke")
NEEDS_ROLE = ("add", "token")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station.toml of the page")
    parser.add_argument(
        "action", nargs="?", choices=ACTIONS, default="list",
        help="list everybody (default); add a person, make a new one-time code, remove; token for a program, revoke",
    )  # fmt: skip
    parser.add_argument("name", nargs="?", help="of the person or the token")
    parser.add_argument("role", nargs="?", type=Role, choices=list(Role), help="add, token: what they may do")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; raises EdgeError with one line."""
    config = load_config(arguments.config)
    _as_owner_of(config.page_dir)
    people = People(config.page_dir)
    try:
        if arguments.action == "list":
            _list(people)
        else:
            _change(people, config, arguments)
    finally:
        people.close()
    return 0


def _as_owner_of(folder: Path) -> None:
    """Go on as the user of the station when root asks, so that the page can read what is written."""
    if os.geteuid() == 0 and folder.is_dir() and (owner := folder.stat()).st_uid != 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def _list(people: People) -> None:
    if not people.exist():
        sys.stdout.write("nobody is set up: begin with `edge users add NAME engineer`\n")
        return
    for one in people.accounts():
        sys.stdout.write(
            f"{one.role.value:<10}{one.name}{'' if one.ready else '  (has a code, no PIN or password yet)'}\n"
        )
    for token in people.tokens():
        sys.stdout.write(f"{token.role.value:<10}{token.name}  (token of {token.created_at:%Y-%m-%d})\n")


def _change(people: People, config: StationConfig, arguments: argparse.Namespace) -> None:
    action, name, role = arguments.action, arguments.name, arguments.role
    if name is None or (role is None) == (action in NEEDS_ROLE):
        wanted = "NAME and a role, viewer, operator or engineer" if action in NEEDS_ROLE else "NAME and nothing else"
        raise PeopleError(f"`edge users {action}` takes {wanted}")
    _record(config, action, name, role)
    if action == "add":
        _tell_code(name, people.add(name, role))
    elif action == "code":
        _tell_code(name, people.renew_code(name))
    elif action == "remove":
        people.remove(name)
        sys.stdout.write(f"{name} is removed\n")
    elif action == "token":
        sys.stdout.write(f"{people.add_token(name, role)}\n")
        sys.stderr.write("this token is shown once; keep it where only the program can read it\n")
    else:
        people.revoke(name)
        sys.stdout.write(f"the token {name} is worthless now\n")


def _tell_code(name: str, code: str) -> None:
    hours = round(CODE_LASTS.total_seconds() / 3600)
    sys.stdout.write(
        f"{name} opens the page, chooses “I have a code” and gives this one within {hours} hours: {code}\n"
    )


def _record(config: StationConfig, action: str, name: str, role: Role | None) -> None:
    """Store in the audit what is about to be done; the outcome is what the list of people then says."""
    audit = AuditLog(config.page_dir)
    try:
        after = f"{name} ({role.value})" if role else name
        audit.append(
            Deed(getpass.getuser(), "", Via.CONSOLE.value, "", config.name, f"users {action}", "", after, "asked")
        )
    finally:
        audit.close()
