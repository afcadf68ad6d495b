"""The three roles, and a person or program that acts in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; each role may do all that the roles before it may do."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # run the line: trigger, recipe, self-test, trial, review
    ENGINEER = "engineer"  # change how the station judges, and who may do what

    def covers(self, needed: Role) -> bool:
        """Return whether this role may do what the other one is needed for."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Via(StrEnum):
    """The way by which somebody reached the station."""

    PAGE = "page"  # signed in with a PIN or a password
    TOKEN = "token"  # a program with a bearer token  # noqa: S105
    CONSOLE = "console"  # a command on the station itself
    OPEN = "open"  # nobody is set up: the page on loopback asks nobody who they are


@dataclass(frozen=True, slots=True)
class User:
    """Whoever sent a request. The name is empty where nobody is set up, and for a guest."""

    name: str
    role: Role | None  # None: a guest, who may do nothing but sign in
    via: Via

    def may(self, needed: Role | None) -> bool:
        """Return whether this user may do what needs a role; None: everybody may."""
        return needed is None or (self.role is not None and self.role.covers(needed))


GUEST = User("", None, Via.PAGE)
EVERYBODY = User("", Role.ENGINEER, Via.OPEN)  # where nobody is set up
