"""How many refused tries become rows of the audit, so that nobody fills the disk with them."""

from __future__ import annotations

import threading
import time
from collections import Counter

WINDOW_S = 900.0
ROWS_OF_ONE = 5  # in a window: of the same person, address and wish
ROWS_OF_ALL = 100


class Refusals:
    """The refused tries of the last quarter of an hour that have a row; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: Counter[tuple[str, ...]] = Counter()
        self._began = time.monotonic()

    def said(self, *key: str) -> str | None:
        """Count a refused try; returns what its row says besides why, None when it gets no row.

        key: what tries have in common that are counted together. The last row of a window says that it is the last one.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._began >= WINDOW_S:
                self._began = now
                self._rows.clear()
            if self._rows[key] >= ROWS_OF_ONE or self._rows.total() >= ROWS_OF_ALL:
                return None
            self._rows[key] += 1
            minutes = max(1, round((WINDOW_S - (now - self._began)) / 60))
            if self._rows.total() == ROWS_OF_ALL:
                return f"no refused try gets a row in the next {minutes} min"
            return f"the next ones within {minutes} min get no row" if self._rows[key] == ROWS_OF_ONE else ""
