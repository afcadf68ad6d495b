"""The page's wishes about bundles, and the reports of `edge bundle attend`, which carries them out.

The page cannot write where bundles and versions lie. It leaves one wish at a time in page_dir, and whoever may write
there takes it. Nothing in a wish is a path: a bundle is named as a folder beside the others.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.core.files import read_plain, write_atomically
from edge.core.types import Verdict
from edge.exchange import ExchangeError

WISH = "bundle-wish.json"  # in page_dir; systemd/linewatch-bundles.path waits for it
UPLOAD = "bundle-upload.lwb"  # in page_dir: a whole file, not verified yet
REPORT = "bundle-report.json"  # in run_dir
FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}$"
MOST_PARTS = 500
MAX_WISH_BYTES = 16 * 1024
MAX_REPORT_BYTES = 1024 * 1024


class Act(StrEnum):
    """What may be wished for."""

    CHECK = "check"  # verify the uploaded file, prove it on this CPU, put it beside the others
    SHADOW = "shadow"  # judge parts of the line with a bundle that does not judge
    STOP = "stop"  # end a shadow run that waits for parts
    ACTIVATE = "activate"
    CONFIRM = "confirm"
    ROLL_BACK = "roll_back"


class Wish(BaseModel):
    """One wish of a person at the page."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    act: Act
    who: str = Field(min_length=1, max_length=80)
    bundle: str | None = Field(default=None, pattern=FOLDER_NAME)  # its folder beside the others
    recipe: str = Field(default="default", max_length=64)
    parts: int = Field(default=50, ge=1, le=MOST_PARTS)  # of a shadow run
    coming: bool = False  # a shadow run judges the next parts, not the last ones
    new_product: bool = False  # an activation may let the recipe judge another product
    reason: str = Field(default="", max_length=300)  # of a way back


class Difference(BaseModel):
    """One part that two bundles judge differently."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    part: int
    before: Verdict
    now: Verdict
    distance_before: float | None  # from good, 1 is the limit
    distance_now: float | None


class Stage(StrEnum):
    """How far a wish is."""

    WORKING = "working"
    DONE = "done"
    FAILED = "failed"  # nothing has changed


class Report(BaseModel):
    """What became of the last wish that was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    act: Act
    who: str
    bundle: str | None
    stage: Stage
    since: datetime
    written_at: datetime
    lines: list[str] = []
    fault: str | None = None
    wanted: int = 0  # parts of a shadow run
    tried: int = 0
    differences: list[Difference] = []


def leave_wish(page_dir: Path, wish: Wish) -> None:
    """Leave a wish where it is taken from; raises ExchangeError while another one lies there, and OSError."""
    draft = page_dir / f".{WISH}.{wish.id}.tmp"
    draft.write_bytes(wish.model_dump_json().encode())
    try:
        os.link(draft, page_dir / WISH)
    except FileExistsError:
        raise ExchangeError("another wish about bundles waits to be taken; try again in a few seconds") from None
    finally:
        draft.unlink(missing_ok=True)


def wish_waits(page_dir: Path) -> bool:
    """Say whether a wish lies there that nobody has taken."""
    return os.path.lexists(page_dir / WISH)


def take_wish(page_dir: Path) -> Wish | None:
    """Take the wish that lies there, None where there is none; raises ExchangeError for what is no wish.

    Whoever takes may be root and the folder is another user's, so no link is followed. Raises OSError, too.
    """
    path, taken = page_dir / WISH, page_dir / f".{WISH}.{os.getpid()}.tmp"
    try:
        path.rename(taken)  # of two who take, one finds it
    except FileNotFoundError:
        return None
    try:
        raw = read_plain(taken, MAX_WISH_BYTES)
    except OSError:
        raw = b""
    with suppress(OSError):
        taken.unlink()
    try:
        return Wish.model_validate_json(raw)
    except ValidationError:
        raise ExchangeError(f"{path}: was no wish of this page; it was removed, ask again") from None


def write_outcome(run_dir: Path, report: Report) -> None:
    """Replace the report in one step; raises OSError."""
    write_atomically(run_dir / REPORT, report.model_dump_json().encode(), durable=False, mode=0o644)


def read_outcome(run_dir: Path) -> Report | None:
    """Return the last report, None where there is none; raises ExchangeError."""
    path = run_dir / REPORT
    try:
        return Report.model_validate_json(read_plain(path, MAX_REPORT_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ExchangeError(f"{path}: cannot be read ({type(error).__name__}); remove it") from None
