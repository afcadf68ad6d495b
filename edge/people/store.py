"""people.db: the accounts, one-time codes, bearer tokens and wrong tries of a station."""

from __future__ import annotations

import hmac
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.history.database import Database, HistoryError
from edge.people import PeopleError, WrongError
from edge.people.passwords import (
    check_secret,
    code_digest,
    digest,
    folded,
    hashed,
    matches,
    new_code,
    new_token,
    person_name,
)
from edge.people.roles import Role, User, Via
from edge.people.throttle import Throttle

PEOPLE = "people.db"
SCHEMA_VERSION = 1
CODE_LASTS = timedelta(hours=24)
MAX_ACCOUNTS = 200
MAX_TOKENS = 50
WRONG = "the name or the PIN or password is wrong; try again"
_TABLES = (
    "CREATE TABLE accounts (key TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, secret TEXT NOT NULL,"
    " created_at TEXT NOT NULL) STRICT",
    "CREATE TABLE codes (account TEXT PRIMARY KEY, hash TEXT NOT NULL, expires_at TEXT NOT NULL) STRICT",
    "CREATE TABLE tokens (name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,"
    " created_at TEXT NOT NULL) STRICT",
    "CREATE TABLE failures (key TEXT PRIMARY KEY, count INTEGER NOT NULL, last_at TEXT NOT NULL) STRICT",
)


@dataclass(frozen=True, slots=True)
class Account:
    """One person of the station."""

    name: str
    role: Role
    ready: bool  # False: the PIN or password is still to be set, with a one-time code


@dataclass(frozen=True, slots=True)
class Token:
    """One program's bearer token, without the token itself."""

    name: str
    role: Role
    created_at: datetime


class People:
    """The people of one station; any number of processes may use it at once."""

    def __init__(self, state_dir: Path) -> None:
        """Use people.db in this folder; the file is made when the first person or token is set up."""
        self.path = state_dir / PEOPLE
        self._opening = threading.Lock()
        self._open: Database | None = None
        self._first = ""  # digest of the code that makes the first engineer; it lives as long as this process

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def exist(self) -> bool:
        """Return whether anybody is set up: then everybody has to say who they are. Raises HistoryError."""
        if self._open is None and not self.path.exists():
            return False
        with self._db.transaction("DEFERRED"):
            return self._somebody()

    @property
    def _db(self) -> Database:
        with self._opening:
            if self._open is None:
                self._open = _opened(self.path)
            return self._open

    @property
    def _throttle(self) -> Throttle:
        return Throttle(self._db)

    def _somebody(self) -> bool:
        return self._db.execute("SELECT 1 FROM accounts LIMIT 1").fetchone() is not None

    def accounts(self) -> list[Account]:
        """Return everybody, by name."""
        with self._db.transaction("DEFERRED"):
            rows = self._db.execute("SELECT name, role, secret FROM accounts ORDER BY key").fetchall()
        return [Account(row["name"], Role(row["role"]), bool(row["secret"])) for row in rows]

    def role_of(self, name: str) -> Role | None:
        """Return the role of a person now; None when there is no such person."""
        with self._db.transaction("DEFERRED"):
            row = self._db.execute("SELECT role FROM accounts WHERE key = ?", (folded(name),)).fetchone()
        return None if row is None else Role(row["role"])

    def add(self, name: str, role: Role) -> str:
        """Add a person and return the one-time code with which they set their PIN or password."""
        name = person_name(name)
        with self._db.transaction():
            if self._db.execute("SELECT count(*) FROM accounts").fetchone()[0] >= MAX_ACCOUNTS:
                raise PeopleError(f"{MAX_ACCOUNTS} people are set up, and no more can be; remove one first")
            if not self._db.execute("SELECT 1 FROM accounts WHERE role = ?", (Role.ENGINEER,)).fetchone():
                _engineer_comes_first(role)
            if self._db.execute("SELECT 1 FROM accounts WHERE key = ?", (folded(name),)).fetchone():
                raise PeopleError(f"{name} is set up already; choose another name, or make a new code")
            self._insert(name, role, "")
            return self._code_for(folded(name))

    def renew_code(self, name: str) -> str:
        """Return a new one-time code for a person who has lost theirs, or the PIN or password."""
        with self._db.transaction():
            self._require(name)
            return self._code_for(folded(name))

    def first_code(self) -> str | None:
        """Return a new one-time code that makes the first engineer; None when somebody is set up."""
        if self.exist():
            return None
        code = new_code()
        self._first = code_digest(code)
        return code

    def remove(self, name: str) -> Role:
        """Remove a person and return their role; the last engineer stays, so that somebody can set up the others."""
        with self._db.transaction():
            role = self._require(name)
            engineers = self._db.execute("SELECT count(*) FROM accounts WHERE role = ?", (Role.ENGINEER,)).fetchone()[0]
            if role is Role.ENGINEER and engineers == 1:
                raise PeopleError(f"{name} is the last engineer and stays; set up another engineer first")
            self._db.execute("DELETE FROM accounts WHERE key = ?", (folded(name),))
            self._db.execute("DELETE FROM codes WHERE account = ?", (folded(name),))
        return role

    def sign_in(self, name: str, secret: str, address: str) -> User:
        """Return the person whose name and PIN or password these are.

        Raises WrongError, or WaitError after too many wrong tries for this name or from this address.
        """
        key = folded(name)
        tries = self._throttle.begin(key, address)
        with self._db.transaction("DEFERRED"):
            row = self._db.execute("SELECT name, role, secret FROM accounts WHERE key = ?", (key,)).fetchone()
        if not matches(row["secret"] if row else "", secret):
            raise WrongError(WRONG)
        self._throttle.succeeded(tries)
        return User(row["name"], Role(row["role"]), Via.PAGE)

    def join(self, code: str, name: str, secret: str, address: str) -> User:
        """Set the PIN or password of the person whom a one-time code was made for; the code is used up then.

        Raises PeopleError when the code or the name is wrong, or the secret too easy, WaitError after wrong tries.
        """
        name = person_name(name)
        key = folded(name)
        tries = self._throttle.begin(key, address)
        with self._db.transaction("DEFERRED"):
            row = self._db.execute("SELECT role FROM accounts WHERE key = ?", (key,)).fetchone()
            first = row is None and not self._somebody() and hmac.compare_digest(self._first, code_digest(code))
            if not first:
                self._check_code(code, key)
        role = Role(row["role"]) if row else Role.ENGINEER
        check_secret(role, name, secret)
        kept = hashed(secret)
        with self._db.transaction():
            if first and not self._somebody():
                self._insert(name, role, kept)
                self._first = ""
            elif self._db.execute(
                "DELETE FROM codes WHERE account = ? AND hash = ?", (key, code_digest(code))
            ).rowcount:
                self._db.execute("UPDATE accounts SET secret = ? WHERE key = ?", (kept, key))
            else:
                raise WrongError("this code was used a moment ago; ask for a new one")
        self._throttle.succeeded(tries)
        return User(name, role, Via.PAGE)

    def add_token(self, name: str, role: Role) -> str:
        """Return a new bearer token for a program; it is kept as a digest only, so nobody can show it again."""
        name, token = person_name(name), new_token()
        with self._db.transaction():
            if self._db.execute("SELECT count(*) FROM tokens").fetchone()[0] >= MAX_TOKENS:
                raise PeopleError(f"there are {MAX_TOKENS} tokens, and there can be no more; revoke one first")
            if self._db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise PeopleError(f"there is a token {name} already; revoke it first, or choose another name")
            values = (name, role.value, digest(token), _now().isoformat())
            self._db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", values)
        return token

    def revoke(self, name: str) -> None:
        """Make a token worthless from now on."""
        with self._db.transaction():
            if self._db.execute("DELETE FROM tokens WHERE name = ?", (person_name(name),)).rowcount != 1:
                raise PeopleError(f"there is no token {name}; see the list of tokens")

    def tokens(self) -> list[Token]:
        """Return the tokens, by name."""
        with self._db.transaction("DEFERRED"):
            rows = self._db.execute("SELECT name, role, created_at FROM tokens ORDER BY name").fetchall()
        return [Token(row["name"], Role(row["role"]), datetime.fromisoformat(row["created_at"])) for row in rows]

    def program(self, token: str) -> User | None:
        """Return the program whose bearer token this is; None when it is nobody's."""
        with self._db.transaction("DEFERRED"):
            row = self._db.execute("SELECT name, role FROM tokens WHERE hash = ?", (digest(token),)).fetchone()
        return None if row is None else User(row["name"], Role(row["role"]), Via.TOKEN)

    def _require(self, name: str) -> Role:
        row = self._db.execute("SELECT role FROM accounts WHERE key = ?", (folded(name),)).fetchone()
        if row is None:
            raise PeopleError(f"nobody is called {name}; see the list of people")
        return Role(row["role"])

    def _insert(self, name: str, role: Role, secret: str) -> None:
        values = (folded(name), name, role.value, secret, _now().isoformat())
        self._db.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?)", values)

    def _code_for(self, account: str) -> str:
        code = new_code()
        values = (account, code_digest(code), (_now() + CODE_LASTS).isoformat())
        self._db.execute("INSERT OR REPLACE INTO codes VALUES (?, ?, ?)", values)
        return code

    def _check_code(self, code: str, key: str) -> None:
        """Raise WrongError unless the code was made for this person within CODE_LASTS."""
        row = self._db.execute("SELECT hash, expires_at FROM codes WHERE account = ?", (key,)).fetchone()
        if not hmac.compare_digest(row["hash"] if row else "", code_digest(code)):
            raise WrongError("the code is not the one that was made for this name; check both")
        if datetime.fromisoformat(row["expires_at"]) < _now():
            raise WrongError("the code is older than a day; ask for a new one")


def _opened(path: Path) -> Database:
    """Open people.db, creating it; raises HistoryError."""
    db = Database(path, "list of people")
    with db.errors():
        path.chmod(0o600)
    with db.transaction():
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    if version not in (0, SCHEMA_VERSION):
        db.close()
        raise HistoryError(f"{path}: schema {version}, this Linewatch reads {SCHEMA_VERSION}")
    return db


def _engineer_comes_first(role: Role) -> None:
    if role is not Role.ENGINEER:
        raise PeopleError("nobody is set up yet; the first one must be an engineer, who sets up the others")


def _now() -> datetime:
    return datetime.now(UTC)
