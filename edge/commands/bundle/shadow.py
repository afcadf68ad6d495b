"""A bundle that is to judge, tried on stored pictures: what would it have said of parts that were judged already?"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from edge.commands import CommandError
from edge.config.station import StationConfig
from edge.core.types import Inspection, Verdict, distance
from edge.engine.judge import judge
from edge.history.eventlog import EventLog
from edge.history.pictures import picture_path
from edge.inference.bundle import Bundle
from edge.inference.detector import Detector
from edge.inference.preprocess import ImageError, load_image
from edge.inference.runtimes import Settings

MOST = 200  # parts
ROWS = 2000  # how far back
NAMED = 5  # ids in one line
PICTURE_WITHIN_S = 3.0  # of its row: the recorder writes rows first
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One stored part, judged again by the new bundle."""

    row: Inspection
    verdict: Verdict
    detail: str
    distance: float | None

    @property
    def moved(self) -> float | None:
        """How far the distance from good moved; None where one of the two is not known."""
        before = self.row.distance
        return None if before is None or self.distance is None else self.distance - before


def shadow(config: StationConfig, bundle: Bundle, seconds: float) -> Iterator[str]:
    """Judge stored pictures with a bundle for so long at most; yields what differs, one line each.

    The pictures are the stored JPEG files, so a score may differ a little from that of the frame. Raises CommandError
    when the bundle cannot judge a picture on which the old one gave a verdict.
    """
    if seconds <= 0 or not config.events_db.exists():
        yield "shadow: no stored picture was tried"
        return
    tried = _tried(config, bundle, seconds)
    refused = [one for one in tried if one.verdict is Verdict.ERROR]
    if refused:
        raise CommandError(
            f"{bundle.path}: cannot judge {len(refused)} of {len(tried)} stored pictures of this station "
            f"({refused[0].detail}); pack a bundle for this camera, or give --shadow-seconds 0"
        )
    yield from summary(tried)


def _tried(config: StationConfig, bundle: Bundle, seconds: float) -> list[Rejudged]:
    give_up = time.monotonic() + seconds
    found: list[Rejudged] = []
    for one in rejudged(config, bundle, last_parts(config)):
        found.append(one)
        if len(found) == MOST or time.monotonic() > give_up:
            break
    return found


def rejudged(config: StationConfig, bundle: Bundle, rows: Iterable[Inspection]) -> Iterator[Rejudged]:
    """Judge the parts of these rows again, as far as their pictures are kept."""
    detector = Detector.from_bundle(bundle, config.inspection.runtime, settings=Settings(threads=1))
    limits = bundle.manifest.limits
    for row in rows:
        try:
            image = load_image(picture_path(config.images_dir, row.id, "frame"))
        except ImageError:
            continue  # it is not kept any more
        judged = judge(detector, limits, image)
        far = distance(judged.score, limits.threshold, limits.typical)
        yield Rejudged(row, judged.decision.verdict, judged.decision.detail, far)


def last_parts(config: StationConfig) -> list[Inspection]:
    """Return the newest rows with a score, the newest first."""
    with closing(EventLog(config.events_db, read_only=True)) as events:
        return [row for row in events.recent(ROWS) if row.score is not None]


def coming_parts(config: StationConfig, enough: Callable[[], bool]) -> Iterator[Inspection]:
    """Yield the rows that are stored from now on and have a score, each when its picture is there; until enough()."""
    with closing(EventLog(config.events_db, read_only=True)) as events:
        last = events.last_id()
        while not enough():
            row = events.next_after(last)
            if row is None or not _settled(config, row):
                time.sleep(LOOK_S)
                continue
            last = row.id
            if row.score is not None:
                yield row


def _settled(config: StationConfig, row: Inspection) -> bool:
    """Say whether the picture of a row is there, or will not come any more."""
    age_s = (datetime.now(UTC) - row.at).total_seconds()
    return not 0 <= age_s < PICTURE_WITHIN_S or picture_path(config.images_dir, row.id, "frame").exists()


def summary(tried: Sequence[Rejudged]) -> Iterator[str]:
    """Yield what a shadow run found, one line each."""
    if not tried:
        yield "shadow: no picture of an earlier part is kept"
        return
    turns = Counter((one.row.verdict, one.verdict) for one in tried)
    same = sum(count for (before, now), count in turns.items() if before is now)
    yield f"shadow: {len(tried)} stored parts, {same} with the same verdict"
    for (before, now), count in sorted(turns.items()):
        if before is not now:
            ids = [one.row.id for one in tried if (one.row.verdict, one.verdict) == (before, now)]
            more = f" and {count - NAMED} more" if count > NAMED else ""
            yield f"shadow: {count} were {before} and would be {now}: {', '.join(map(str, ids[:NAMED]))}{more}"
    moved = [one.moved for one in tried if one.moved is not None]
    if moved:
        yield (
            f"shadow: the distance from good (1 is the limit) moves by {statistics.median(moved):+.3f} in the middle, "
            f"{min(moved):+.3f} to {max(moved):+.3f}"
        )
