"""Which parts people are asked about: those nearest to the limit, and a random sample of all.

The sample is drawn by a number that only the history's name and the part's number decide, so it is the same whenever
and wherever it is drawn, and no score has a say in it. Its parts come up in the order of that number, and never among
those near the limit, so that those of them which were answered are a random sample, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from itertools import chain, islice, zip_longest
from operator import itemgetter
from typing import Any

from edge.core.types import Verdict
from edge.history.pictures import pictured
from edge.history.reading.scores import Scored, Scores
from edge.history.reviews import Opinion, Origin, Review
from edge.web.facts import inspection_facts
from edge.web.station import Station

SHARE = 0.125  # of all parts: those that the random sample is drawn from
WINDOW = 20_000  # the last rows of the history, from which parts are taken


def lot(history: str, part: int) -> float:
    """Return the number from 0 to 1 that decides when a part is drawn; history: the name of the event log."""
    return int.from_bytes(hashlib.sha256(f"{history} {part}".encode()).digest()[:8]) / 2.0**64


def review_facts(review: Review) -> dict[str, Any]:
    """Return an answer as JSON types."""
    return {
        "number": review.number,
        "part": review.part,
        "opinion": review.opinion.value,
        "origin": review.origin.value,
        "label": review.label,
        "mask": bool(review.mask),
        "who": review.who,
        "review_at": review.at.isoformat(timespec="seconds"),
    }


class Queue:
    """The parts of one station that people are asked about."""

    def __init__(self, station: Station) -> None:
        self._station = station
        with station.history() as log:
            self._history = log.head().history if log else ""

    def is_sample(self, part: int) -> bool:
        """Return whether the random sample is drawn from among parts of which this is one.

        Pictures of OK parts may be kept of each k-th only. Then only these can be drawn, the rejected ones alike.
        """
        kept = part % self._station.config.storage.ok_every == 0
        return kept and lot(self._history, part) < SHARE

    def facts(self, limit: int) -> dict[str, Any]:
        """Return up to `limit` parts to review, and how many were answered, as JSON types."""
        health = self._station.engine().health
        parts = self._pictured(self._scored(health.bundle)) if health else []
        with self._station.reviews() as store:
            answered = {review.part: review for review in (store.standing() if store else [])}
        drawable, others = list[Scored](), list[Scored]()
        for part in parts:
            (drawable if self.is_sample(part.part) else others).append(part)
        near = [part for part in _nearest(others) if part.part not in answered]
        sample = self._sample(drawable)
        sample = [part for part in sample if not (part.part in answered and answered[part.part].sampled)]
        pairs = zip_longest(((part, Origin.LIMIT) for part in near), ((part, Origin.SAMPLE) for part in sample))
        drawn = islice((one for one in chain.from_iterable(pairs) if one is not None), limit)
        return {
            "parts": [self._part(part.part, origin, answered.get(part.part)) for part, origin in drawn],
            "answered": len(answered),
            "of": len(answered) + len(near) + sum(part.part not in answered for part in sample),
            "sampled": (sampled := sum(review.sampled for review in answered.values())),
            "of_sample": sampled + len(sample),
            "opinions": {
                one.value: sum(review.opinion is one for review in answered.values())
                for one in (Opinion.GOOD, Opinion.BAD, Opinion.UNSURE)
            },
        }

    def _scored(self, bundle: str) -> list[Scored]:
        if not self._station.config.events_db.exists():
            return []
        with closing(Scores(self._station.config.events_db)) as scores:
            return scores.last(WINDOW, bundle)

    def _part(self, part: int, origin: Origin, review: Review | None) -> dict[str, Any]:
        with self._station.history() as log:
            row = log.get(part) if log else None
        facts = inspection_facts(row, self._station) if row else {}
        return facts | {"origin": origin.value, "review": review_facts(review) if review else None}

    def _sample(self, found: Sequence[Scored]) -> list[Scored]:
        """Return the parts of the sample whose picture is there, in the order in which they are drawn.

        The pictures of old OK parts go before those of rejected ones. A sample from that time would hold too many
        rejected parts, so it begins with the first OK part whose picture is there.
        """
        goods = (part.part for part in found if part.verdict is Verdict.OK)
        first = next(goods, None)
        if first is None:
            return []
        return sorted((part for part in found if part.part >= first), key=lambda part: lot(self._history, part.part))

    def _pictured(self, parts: Sequence[Scored]) -> list[Scored]:
        """Return those of the parts that people can be shown."""
        ids = [part.part for part in parts]
        kept = pictured(self._station.config.images_dir, min(ids), max(ids)) if ids else set()
        return [part for part in parts if part.part in kept]


def _nearest(parts: Sequence[Scored]) -> list[Scored]:
    found = [(abs(away - 1.0), -part.part, part) for part in parts if (away := part.distance) is not None]
    return [part for _, _, part in sorted(found, key=itemgetter(0, 1))]
