"""Wrong tries are counted for each name and each address, and make the next try wait; a restart forgets nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge.history.database import Database
from edge.people import WaitError

NAME_TRIES = 5  # wrong ones for a name before the first wait
ADDRESS_TRIES = 20  # wrong ones from an address: several people share a tablet
LONGEST_WAIT_S = 900.0
FORGOTTEN_AFTER = timedelta(hours=24)
MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Tries:
    """What one try was counted under, until it turns out to be right."""

    name: str
    address: str


class Throttle:
    """The table `failures` of people.db."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def begin(self, name: str, address: str) -> Tries:
        """Count a try as wrong, before its secret is looked at, so that tries at once count too.

        name: as names are compared. Raises WaitError, and counts nothing then.
        """
        tries = Tries(f"name {name[:80]}", f"address {network(address)}")
        now = datetime.now(UTC)
        with self._db.transaction():
            self._db.execute("DELETE FROM failures WHERE last_at < ?", ((now - FORGOTTEN_AFTER).isoformat(),))
            for key, free in ((tries.name, NAME_TRIES), (tries.address, ADDRESS_TRIES)):
                row = self._db.execute("SELECT count, last_at FROM failures WHERE key = ?", (key,)).fetchone()
                left_s = 0.0 if row is None else wait_s(row["count"], free, now, datetime.fromisoformat(row["last_at"]))
                if left_s > 0:
                    raise WaitError(left_s)
            for key in (tries.name, tries.address):
                self._db.execute(
                    "INSERT INTO failures VALUES (?, 1, ?)"
                    " ON CONFLICT (key) DO UPDATE SET count = count + 1, last_at = excluded.last_at",
                    (key, now.isoformat()),
                )
            oldest = "SELECT key FROM failures ORDER BY last_at DESC LIMIT -1 OFFSET ?"
            self._db.execute(f"DELETE FROM failures WHERE key IN ({oldest})", (MAX_ROWS,))  # noqa: S608
        return tries

    def succeeded(self, tries: Tries) -> None:
        """Forget the wrong tries for the name; of the address only this try, which was none."""
        with self._db.transaction():
            self._db.execute("DELETE FROM failures WHERE key = ?", (tries.name,))
            self._db.execute("UPDATE failures SET count = count - 1 WHERE key = ?", (tries.address,))


def wait_s(count: int, free: int, now: datetime, last_at: datetime) -> float:
    """Return how long the next try has to wait, in s: nothing for the free ones, then 1 s, doubled each time.

    A clock that was set back makes nobody wait for longer than LONGEST_WAIT_S.
    """
    if count < free:
        return 0.0
    full_s = min(LONGEST_WAIT_S, 2.0 ** min(count - free, 30))
    return min(full_s, full_s - (now - last_at).total_seconds())


def network(address: str) -> str:
    """Return what one computer cannot change: its IPv4 address, or the first 64 bits of its IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:80]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else found)
