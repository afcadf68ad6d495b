"""Which bundle each recipe stands for, and by which limit it judges: pinned by digest, remembered over restarts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.core.types import Limits
from edge.engine import EngineError
from edge.exchange.commands import LimitWish
from edge.history.eventlog import EventLog
from edge.history.limits import LimitLog, limit_in_force
from edge.inference.bundle import Bundle, BundleError, Sha256, read_digest
from edge.inference.detector import ReferenceCheck
from edge.inference.release.versions import admitted

ACTIVATED = "bundles.json"  # in state_dir: the bundle of each recipe that judged last

log = logging.getLogger(__name__)


class LastJudge(BaseModel):
    """The bundle that judged last by one recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    digest: Sha256
    title: str


_FILE = TypeAdapter(dict[str, LastJudge])


class Pins:
    """The digests that the recipes of a running engine are held to.

    A start takes another bundle under an old name, and says so. While the engine runs, a recipe stands for the bundle
    that its folder held at the start, or for the first one that judged by it where the folder could not be read, until
    an engineer activates another one.
    """

    def __init__(self, config: StationConfig) -> None:
        """Read what judged last, and pin what the folders hold now."""
        self.change: str | None = None  # the last change of bundle since the start, one line for a person
        self._path = config.state_dir / ACTIVATED
        self._trust, self._required = config.bundle_trust, config.bundle_signatures == "required"
        self._last = _read(self._path)
        self._digests: dict[str, str] = {}
        for name, folder in config.bundles.items():
            try:
                self._digests[name] = read_digest(folder)
            except BundleError as error:
                log.warning("recipe %s: %s", name, error)

    def admit(self, name: str, bundle: Bundle, activated: str | None = None) -> str | None:
        """Return the key that vouches for a recipe's bundle; None where nobody does, and nobody has to.

        activated: the digest that an engineer wants the recipe to stand for from now on.

        Raises EngineError when the folder holds another bundle than the one that the recipe stands for, and
        BundleError when its signature or its version does not let it judge here.
        """
        pinned = activated or self._digests.setdefault(name, bundle.digest)
        if bundle.digest != pinned:
            raise EngineError(
                f"{bundle.path}: holds another bundle ({bundle.title}) than the one that recipe {name!r} stands for "
                f"since the start (digest {pinned[:12]}); put that one back, or restart the engine to take this one"
            )
        return admitted(bundle, name, self._trust, self._required)

    def renew(self, name: str, digest: str) -> None:
        """Let a recipe stand for another bundle from now on."""
        self._digests[name] = digest

    def activated(self, name: str, bundle: Bundle) -> None:
        """Remember what judges by a recipe; log it when it is another bundle than last time."""
        last, now = self._last.get(name), LastJudge(digest=bundle.digest, title=bundle.title)
        if last == now:
            return
        if last is not None:
            self.change = f"recipe {name}: {now.title} judges, last time it was {last.title}"
            log.warning("bundle changed: %s (digest %s, was %s)", self.change, now.digest, last.digest)
        self._last = {**self._last, name: now}
        try:
            write_atomically(self._path, _FILE.dump_json(self._last, indent=1) + b"\n")
        except OSError as error:
            log.error("%s: what judges is not remembered (%s)", self._path, error.strerror)


def _read(path: Path) -> dict[str, LastJudge]:
    """Return what judged last; nothing, with an entry in the log, when the file cannot be read."""
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        log.error("%s: cannot be read (%s), so a change of bundle before this start is not seen", path, why)
        return {}


@dataclass(frozen=True, slots=True)
class SetLimit:
    """The limits of a bundle with a threshold that somebody set, and who did."""

    limits: Limits
    words: str


def set_limit(
    state_dir: Path, bundle: Bundle, checks: Sequence[ReferenceCheck], wish: LimitWish | None = None
) -> SetLimit | None:
    """Return the limits that somebody set for a bundle, or wishes now; None where its own judge.

    The references must still be judged as the bundle judges them. Raises EngineError where they are not, and
    HistoryError where the file of limits cannot be trusted: nobody knows then by which limit to judge.
    """
    if wish is not None:
        value, words = wish.after, f"{wish.who}: {wish.reason}"
    else:
        change = limit_in_force(state_dir, bundle.digest)
        value = change.after if change is not None else None
        words = f"{change.who}, {change.at:%Y-%m-%d %H:%M} UTC: {change.reason}" if change is not None else ""
    if value is None:
        return None
    own = bundle.manifest.limits
    _prove(value, own, bundle, checks)
    return SetLimit(Limits(value, own.marking, own.typical), words)


def _prove(value: float, own: Limits, bundle: Bundle, checks: Sequence[ReferenceCheck]) -> None:
    if not (math.isfinite(value) and value > own.typical):
        raise EngineError(f"limit {value:g}: a typical good part scores {own.typical:g}; the limit must be above that")
    for check in checks:
        bad = check.expected >= own.threshold
        if any((score >= value) != bad for score in (check.expected, check.score)):
            kind = "a bad part, which would pass" if bad else "a good part, which would be rejected"
            raise EngineError(
                f"limit {value:g}: {bundle.path.name}/{check.file} scores {check.score:g} and is {kind}; the self-test "
                "must hold at the new limit, so choose another one"
            )


def store_limit(config: StationConfig, bundle: Bundle, wish: LimitWish) -> None:
    """Store the change of a limit durably, with the end of the history as it is now; raises HistoryError."""
    with closing(EventLog(config.events_db, read_only=True)) as events:
        head = events.head()
    with closing(LimitLog(config.state_dir)) as limits:
        values, end = (wish.before, wish.after), (head.last_id, head.last_hash)
        limits.append(wish.who, wish.reason, bundle.digest, values, end)
