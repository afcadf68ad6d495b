"""The people of a station: who they are, how they prove it, and what each may do."""

from __future__ import annotations

from edge.core.types import EdgeError


class PeopleError(EdgeError):
    """A person, a code or a token is not accepted; the message says what to do."""


class WrongError(PeopleError):
    """The name, the secret or the code is wrong."""


class WaitError(PeopleError):
    """Too many wrong tries; the next one is taken after a wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, round(seconds + 0.5))
        super().__init__(f"too many wrong tries; wait {self.seconds} s, then try again")
