"""`edge bundle attend`: carry out the wishes of the page about bundles, one after the other, and report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from edge.commands import CommandError
from edge.commands.bundle.activation import activate, confirm, roll_back, step_aside, unconfirmed
from edge.commands.bundle.shadow import Rejudged, coming_parts, last_parts, rejudged, summary
from edge.commands.bundle.store import Store, said
from edge.config.station import StationConfig
from edge.core.types import EdgeError, Inspection, Verdict, one_line
from edge.engine.recipes import proven
from edge.exchange import ExchangeError
from edge.exchange.bundle_desk import (
    UPLOAD,
    Act,
    Difference,
    Report,
    Stage,
    Wish,
    read_outcome,
    take_wish,
    wish_waits,
    write_outcome,
)
from edge.exchange.health import State, read_health
from edge.exchange.requests import Requests

SHADOW_S = 30.0  # of an activation
TAKEN_WITHIN_S = 120.0  # by the running engine, which verifies it beside the line
COMING_WITHIN_S = 8 * 3600.0  # a shadow run that waits for parts ends with the shift
LOOK_S = 0.2
WRITE_S = 0.5
MOST_DIFFERENCES = 100
LONGEST_LINE = 500  # characters

log = logging.getLogger(__name__)


def attend(config: StationConfig) -> None:
    """Carry out every wish that waits, then return. Raises EdgeError for what is no wish, and OSError."""
    step_aside()
    _end_the_last(config)
    while (wish := take_wish(config.page_dir)) is not None:
        if wish.act is not Act.STOP:  # whatever it was to stop has ended by now
            Desk(config, wish).work()


def _end_the_last(config: StationConfig) -> None:
    """Say of a wish whose process died that it was interrupted."""
    with suppress(ExchangeError):
        report = read_outcome(config.run_dir)
        if report is not None and report.stage is Stage.WORKING:
            fault = "this was interrupted; look at what judges, then try again"
            write_outcome(config.run_dir, report.model_copy(update={"stage": Stage.FAILED, "fault": fault}))


class Desk:
    """One wish, and the report on it."""

    def __init__(self, config: StationConfig, wish: Wish) -> None:
        self._config = config
        self._wish = wish
        self._store = Store(config, f"{wish.who} at the page")
        self._written_at = 0.0
        now = datetime.now(UTC)
        self._report = Report(
            id=wish.id, act=wish.act, who=wish.who, bundle=wish.bundle, stage=Stage.WORKING, since=now, written_at=now,
            wanted=wish.parts if wish.act is Act.SHADOW else 0,
        )  # fmt: skip

    def work(self) -> None:
        """Do what the wish asks for and report how it ended; raises OSError when no report can be written."""
        self._write()
        acts: dict[Act, Callable[[], None]] = {
            Act.CHECK: self._check,
            Act.SHADOW: self._shadow,
            Act.ACTIVATE: self._activate,
            Act.CONFIRM: self._confirm,
            Act.ROLL_BACK: self._roll_back,
        }
        try:
            if self._wish.act is Act.SHADOW:  # it changes nothing, so a console may do something meanwhile
                self._shadow()
            else:
                with self._store.alone():
                    acts[self._wish.act]()
        except (EdgeError, OSError) as error:
            log.warning("%s for %s: %s", self._wish.act, self._wish.who, error)
            self._write(stage=Stage.FAILED, fault=one_line(error, LONGEST_LINE))
        else:
            self._write(stage=Stage.DONE)

    def _write(self, **facts: object) -> None:
        self._report = self._report.model_copy(update={"written_at": datetime.now(UTC), **facts})
        write_outcome(self._config.run_dir, self._report)
        self._written_at = time.monotonic()

    def _say(self, line: str) -> None:
        self._write(lines=[*self._report.lines, " ".join(line.split())[:LONGEST_LINE]])

    def _named(self) -> Path:
        """Return the folder of the bundle that the wish names; raises CommandError."""
        if self._wish.bundle is None:
            raise CommandError("no bundle was named; choose one on the page")
        return self._store.folder / self._wish.bundle

    def _check(self) -> None:
        """Verify the uploaded file and prove it on this CPU; a good one then lies beside the others."""
        upload = self._config.page_dir / UPLOAD
        try:
            if upload.is_symlink() or not upload.is_file():
                raise CommandError("no uploaded file is there; send it again")
            with self._store.opened(upload) as bundle:
                self._say(said(bundle, self._store.admissible(bundle)))
                self._say(proven(self._config, bundle))
            bundle = self._store.install(upload)
        finally:
            upload.unlink(missing_ok=True)
        self._write(bundle=bundle.path.name)
        self._say(f"{bundle.path.name}: installed; it does not judge yet")

    def _shadow(self) -> None:
        """Judge parts of the line with the bundle; the line hears nothing of it."""
        wish, tried = self._wish, list[Rejudged]()
        with self._store.opened(self._named()) as bundle:
            self._store.admissible(bundle)
            for one in rejudged(self._config, bundle, self._rows()):
                tried.append(one)
                if time.monotonic() - self._written_at > WRITE_S:
                    self._write(tried=len(tried), differences=_differences(tried))
                if len(tried) >= wish.parts or self._ended():
                    break
        self._write(tried=len(tried), differences=_differences(tried))
        for line in summary(tried):
            self._say(line.removeprefix("shadow: "))
        refused = [one for one in tried if one.verdict is Verdict.ERROR]
        if refused:
            raise CommandError(f"this bundle cannot judge {len(refused)} of these parts: {refused[0].detail}")
        if len(tried) < wish.parts:
            self._say(f"{wish.parts} parts were wanted; only parts whose pictures are kept can be tried")

    def _rows(self) -> Iterator[Inspection]:
        if not self._config.events_db.exists():
            return
        if not self._wish.coming:
            yield from last_parts(self._config)
            return
        give_up = time.monotonic() + COMING_WITHIN_S
        yield from coming_parts(self._config, lambda: self._ended() or time.monotonic() > give_up)

    def _ended(self) -> bool:
        return wish_waits(self._config.page_dir)  # the next wish ends a shadow run

    def _activate(self) -> None:
        activate(self._store, self._named(), self._wish.recipe, self._wish.new_product, SHADOW_S, self._say)
        self._let_engine_take()

    def _confirm(self) -> None:
        self._say(confirm(self._store, 0.0))

    def _roll_back(self) -> None:
        """Let the bundle before judge again; an older version needs a reason, which is kept in the audit."""
        self._say(roll_back(self._store, self._wish.recipe, automatic=False, reason=self._wish.reason))
        self._let_engine_take()

    def _let_engine_take(self) -> None:
        """Have the running engine judge with what the recipe's path leads to; when it will not, go back."""
        recipe = self._wish.recipe
        if not _runs(self._config):
            self._say("the engine does not run: it takes this bundle at its next start; confirm it then")
            return
        fault = self._offer(recipe)
        pending = self._store.versions().activation
        if fault is None and pending is not None:
            self._say(confirm(self._store, 0.0))
        elif fault is not None and pending is not None and pending.old is not None:
            self._say(roll_back(self._store, recipe, automatic=True))
            self._offer(recipe)  # it may have taken the other one late
            raise CommandError(f"the engine did not take it, so the bundle before goes on judging: {fault}")
        elif fault is not None:
            raise CommandError(f"the engine did not take it: {fault}")

    def _offer(self, recipe: str) -> str | None:
        """Offer the running engine what the recipe's path leads to; returns why it does not judge with that."""
        bundle = self._store.judging(recipe)
        if bundle is None:
            return "no bundle can be read there"
        give_up, asked = time.monotonic() + TAKEN_WITHIN_S, False
        while time.monotonic() < give_up:
            fault = unconfirmed(self._store, recipe, bundle)
            if fault is None:
                return None
            if not asked:
                try:
                    Requests(self._config.run_dir).take_bundle(recipe, bundle.digest)
                    asked, since = True, datetime.now(UTC)
                except ExchangeError as error:
                    fault = str(error)  # it verifies another one just now
            else:
                health = read_health(self._config.run_dir)
                if health.written_at > since and health.recipe_pending is None:
                    return health.recipe_fault or unconfirmed(self._store, recipe, bundle)
            time.sleep(LOOK_S)
        return fault


def _runs(config: StationConfig) -> bool:
    try:
        health = read_health(config.run_dir)
    except ExchangeError:
        return False
    age_s = (datetime.now(UTC) - health.written_at).total_seconds()
    return age_s <= health.stale_after_s and health.state is not State.STOPPED


def _differences(tried: list[Rejudged]) -> list[Difference]:
    """Return the parts that the bundle judges differently."""
    found = [one for one in tried if one.verdict is not one.row.verdict]
    return [
        Difference(
            part=one.row.id, before=one.row.verdict, now=one.verdict, distance_before=one.row.distance,
            distance_now=one.distance,
        )
        for one in found[:MOST_DIFFERENCES]
    ]  # fmt: skip
