"""PINs, passwords, one-time codes and bearer tokens: their rules, and how they are kept."""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from itertools import pairwise

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from edge.people import PeopleError
from edge.people.roles import Role

PIN_DIGITS = (6, 12)
PASSWORD_CHARACTERS = (10, 128)
NAME_CHARACTERS = 40
CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that is taken for another one
CODE_LENGTH = 12
TOKEN_START = "lw_"  # noqa: S105  # so that a token is known when it turns up where it should not

# argon2id with the least memory and passes that OWASP's Password Storage Cheat Sheet gives: a sign-in must not take the
# processor from the inspection, and one is checked at a time.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_ONE_AT_A_TIME = threading.Lock()
_NOBODYS = _HASHER.hash(secrets.token_hex(16))  # compared with when there is no such person: it takes as long


def hashed(secret: str) -> str:
    """Return the argon2id hash of a PIN or password, salted."""
    with _ONE_AT_A_TIME:
        return _HASHER.hash(_same_spelling(secret))


def matches(kept: str, secret: str) -> bool:
    """Return whether a PIN or password is the one of a kept hash; an empty hash takes as long and matches nothing."""
    with _ONE_AT_A_TIME:
        try:
            return _HASHER.verify(kept or _NOBODYS, _same_spelling(secret)) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False


def check_secret(role: Role, name: str, secret: str) -> None:
    """Raise PeopleError unless the secret is a PIN, or for an engineer a password, that is hard enough to guess."""
    if role is Role.ENGINEER:
        low, high = PASSWORD_CHARACTERS
        if not low <= len(secret) <= high:
            raise PeopleError(f"an engineer's password has {low} to {high} characters; choose another one")
        if len(set(secret)) < 5 or secret.isdigit() or folded(name) == folded(secret):
            raise PeopleError("this password is too easy to guess; use several different characters and not your name")
        return
    low, high = PIN_DIGITS
    if not (secret.isascii() and secret.isdigit() and low <= len(secret) <= high):
        raise PeopleError(f"a PIN has {low} to {high} digits; choose another one")
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(secret)}
    if len(steps) == 1:
        raise PeopleError("this PIN is a plain row of digits; choose one that is harder to guess")


def person_name(given: str) -> str:
    """Return a name as it is kept; raises PeopleError when nobody can be called so."""
    name = " ".join(_same_spelling(given).split())
    if not 0 < len(name) <= NAME_CHARACTERS or not name.isprintable():
        raise PeopleError(f"a name has 1 to {NAME_CHARACTERS} letters; correct it")
    return name


def folded(name: str) -> str:
    """Return a name as names are compared: without regard to capitals, spaces and the way an accent is written."""
    return " ".join(_same_spelling(name).casefold().split())


def new_code() -> str:
    """Return a one-time code, as a person reads it: 60 random bits, in groups of four."""
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    return "-".join(letters[at : at + 4] for at in range(0, CODE_LENGTH, 4))


def new_token() -> str:
    """Return a bearer token of 256 random bits."""
    return TOKEN_START + secrets.token_urlsafe(32)


def digest(random: str) -> str:
    """Return how a code or token is kept: sha256, 64 hex digits. A random one needs no slow hash."""
    return hashlib.sha256(random.encode("utf-8", "surrogatepass")).hexdigest()


def code_digest(given: str) -> str:
    """Return the digest of a code as somebody typed it: small letters, spaces and dashes make no difference."""
    return digest("".join(one for one in given.upper() if one in CODE_LETTERS))


def _same_spelling(text: str) -> str:
    return unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode("utf-8")
