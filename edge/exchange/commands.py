"""The commands of the page to the engine, and the wishes that they carry: every text and number has a bound."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from edge.core.types import Verdict


class Verb(StrEnum):
    """The commands of the page, apart from judging an upload and a trigger (trigger_socket.py)."""

    SWITCH_RECIPE = "switch_recipe"
    SELF_TEST = "self_test"
    SET_LIMIT = "set_limit"
    TAKE_BUNDLE = "take_bundle"
    COMMISSION = "commission"
    SET_BY_HAND = "set_by_hand"


class LimitWish(BaseModel):
    """The wish to judge by another threshold, in units of the score. The engine decides whether it is one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    before: float  # that the person saw: another one means that somebody else was faster
    after: float | None  # None: the bundle's own
    bundle_digest: str = Field(max_length=64)
    who: str = Field(min_length=1, max_length=80)
    reason: str = Field(min_length=1, max_length=300)


class Step(StrEnum):
    """The steps of commissioning that the engine takes."""

    BEGIN = "begin"  # from now on every part is ERROR
    BASELINE = "baseline"  # store how good parts look at this station
    END = "end"  # the line is judged again


class CommissionWish(BaseModel):
    """The wish of an engineer who sets the station up."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: Step
    who: str = Field(min_length=1, max_length=80)
    frames: int = Field(default=20, ge=2, le=1000)  # of a baseline
    seconds: float = Field(default=5.0, ge=0, le=600)  # over which they are spread


class HandWish(BaseModel):
    """The wish to set one output by hand. The engine takes it only while the station is commissioned."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    output: str = Field(min_length=1, max_length=200)  # its name in Health.outputs
    verdict: Verdict | None  # None: the safe state


class Command(BaseModel):
    """One command of the page."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    verb: Verb
    recipe: str | None = Field(default=None, max_length=64)
    digest: str | None = Field(default=None, max_length=64)  # of the bundle that the recipe is to stand for
    limit: LimitWish | None = None
    commission: CommissionWish | None = None
    hand: HandWish | None = None
