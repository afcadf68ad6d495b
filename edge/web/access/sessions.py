"""The sessions of signed-in browsers. They live in the page's memory: a restart of the page ends them."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from edge.people.roles import Role

MAX_SESSIONS = 256  # the one that was used longest ago goes
LONGEST_S = 12 * 3600.0  # a shift, and some: then everybody but a viewer signs in again, however busy
VIEWER_IDLE_S = 12 * 3600.0  # a page that is open asks all the time, so a viewer's tablet stays signed in


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One browser that somebody signed in."""

    name: str
    role: Role
    began_at: float  # monotonic s
    used_at: float  # monotonic s, of the last thing that the person did
    below: str | None = None  # the viewer whose tablet this is: it is theirs again when the session ends


class Sessions:
    """All sessions by their random ids, which only the browser's signed cookie holds besides."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._found: OrderedDict[str, SignedIn] = OrderedDict()

    def begin(self, name: str, role: Role, old: str | None) -> str:
        """Sign somebody in and return the new id; the id that the browser had before is worth nothing any more."""
        now = time.monotonic()
        with self._lock:
            before = self._found.pop(old, None) if old else None
            below = before.name if before is not None and before.role is Role.VIEWER else None
            if before is not None and before.role is not Role.VIEWER:
                below = before.below
            return self._put(SignedIn(name, role, now, now, None if role is Role.VIEWER else below))

    def end(self, old: str | None) -> str | None:
        """Sign somebody out; returns the new id of the viewer whose tablet it is, None without one."""
        with self._lock:
            before = self._found.pop(old, None) if old else None
            return None if before is None else self._fall_back(before)

    def end_all_of(self, name: str) -> None:
        """Sign a person out everywhere."""
        with self._lock:
            for key in [key for key, one in self._found.items() if one.name == name]:
                del self._found[key]

    def find(self, key: str | None, acted: bool) -> tuple[str, SignedIn] | None:
        """Return the session of an id, and its id from now on; None when there is none, or when it has timed out.

        acted: the person did something, and not only their page.
        """
        if not key:
            return None
        now = time.monotonic()
        with self._lock:
            found = self._found.get(key)
            if found is None:
                return None
            if self._over(found, now):
                del self._found[key]
                fresh = self._fall_back(found)
                return (fresh, self._found[fresh]) if fresh else None
            if acted or found.role is Role.VIEWER:
                found = self._found[key] = replace(found, used_at=now)
                self._found.move_to_end(key)
            return key, found

    def _over(self, session: SignedIn, now: float) -> bool:
        if session.role is Role.VIEWER:
            return now - session.used_at > VIEWER_IDLE_S
        return now - session.used_at > self._idle_s or now - session.began_at > LONGEST_S

    def _fall_back(self, before: SignedIn) -> str | None:
        if before.below is None:
            return None
        now = time.monotonic()
        return self._put(SignedIn(before.below, Role.VIEWER, now, now))

    def _put(self, session: SignedIn) -> str:
        key = secrets.token_urlsafe(32)
        self._found[key] = session
        while len(self._found) > MAX_SESSIONS:
            self._found.popitem(last=False)
        return key
