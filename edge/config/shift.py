"""[shift] of station.toml: when shifts begin, in which time zone, and the number of the order."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from edge.config.section import Section

MAX_SHIFTS = 24
ORDER = re.compile(r"[\w][\w ./#+-]{0,39}")


def order_number(value: str) -> str:
    """Return the number of an order, or an empty text for none; raises ValueError for what no order is called."""
    text = " ".join(value.split())
    if text and not ORDER.fullmatch(text):
        raise ValueError(
            f"{value[:40]!r} is no number of an order: take letters, digits, spaces and . / # + - _, at most 40 of them"
        )
    return text


def _time_of_day(value: Any) -> Any:
    if isinstance(value, str):
        found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", value, re.ASCII)
        if found is None:
            raise ValueError(f"{value[:20]!r} is no time of day; write it like 06:00")
        return time(int(found[1]), int(found[2]))
    if isinstance(value, time) and (value.second or value.microsecond):
        raise ValueError(f"{value} has seconds; a shift begins at a whole minute")
    return value


ShiftName = Annotated[str, Field(min_length=1, max_length=20)]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]


class ShiftConfig(Section):
    """[shift]: the plan of a day in local time."""

    zone: str = ""  # a name of the IANA list; empty: the zone of the computer
    # each shift by its name; it lasts until the next one begins
    starts: dict[ShiftName, TimeOfDay] = Field(
        default_factory=lambda: {"Early": time(6), "Late": time(14), "Night": time(22)},
        min_length=1,
        max_length=MAX_SHIFTS,
    )
    order: Annotated[str, AfterValidator(order_number)] = ""  # until somebody sets another one on the page

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, zone: str) -> str:
        try:
            return ZoneInfo(zone).key if zone else zone
        except (OSError, ValueError, KeyError):  # none of that name, or a name that is no file's
            raise ValueError(
                f"{zone[:40]!r} is no time zone that this computer knows; write one like Europe/Berlin"
            ) from None

    @field_validator("starts")
    @classmethod
    def _starts_differ(cls, starts: dict[str, time]) -> dict[str, time]:
        if len(set(starts.values())) < len(starts):
            raise ValueError("two shifts begin at the same time; give each its own")
        return starts
