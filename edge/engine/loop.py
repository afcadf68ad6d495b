"""The inspection loop: a part first, everything else between two parts."""

from __future__ import annotations

import signal
import time

from edge.engine import EngineError
from edge.engine.inspector import Inspector
from edge.engine.page_process import PageProcess
from edge.engine.station import RunningStation
from edge.engine.status import StatusWriter
from edge.exchange.commands import Command, CommissionWish, HandWish, Verb
from edge.exchange.requests import RequestServer
from edge.line.modbus_server import ModbusServer, RecipeFault
from edge.line.triggers import TriggerEvent

LAST_WORD_S = 2.0  # at a stop, for the last pulse to end and for a PLC to acknowledge the last result
LOOK_S = 0.005
HAND_S = 1.0  # how long an output that was set by hand stays so
IDLE_S = 0.05  # how long one wait for a trigger may last, so how soon a stop or an upload is noticed


class Stop:
    """A wish to stop: set by a signal handler, asked by the loops."""

    def __init__(self) -> None:
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup a closed terminal is no reason
            signal.signal(signal.SIGHUP, self._set)

    def _set(self, _number: int, _frame: object) -> None:
        self.wanted = True


class Loop:
    """One running station, inspected until a stop is wanted."""

    def __init__(
        self,
        station: RunningStation,
        requests: RequestServer,
        status: StatusWriter,
        page: PageProcess | None,
        stop: Stop,
    ) -> None:
        """Make the inspector, which sets every output to reject."""
        self._station = station
        self._requests = requests
        self._status = status
        self._page = page
        self._stop = stop
        self._hand_until = 0.0  # monotonic s; until then no trigger is accepted
        self._reload = False  # a baseline was stored, and the recipe does not know it yet
        deadline_ms, next_id = station.config.inspection.deadline_ms, station.ids.next_id
        self._inspector = Inspector(
            station.capture.slot, station.recipes.active, station.line.outputs, deadline_ms, next_id
        )

    def open(self) -> None:
        """Accept triggers from now on."""
        if self._station.line.modbus is not None:
            self._show_recipe(self._station.line.modbus)
        self._station.line.open(self._admits, self._inspector.hear)
        self._inspector.ready()

    def run(self) -> None:
        """Inspect until a stop is wanted; a trigger that was accepted before the stop still gets its verdict."""
        trigger = self._station.line.trigger
        while not self._stop.wanted:
            self._station.check()
            event = trigger.wait(IDLE_S)
            if event is not None:
                self._judge(event)
            self._inspector.beat(trigger.overruns)
            self._serve()
            if trigger.between_parts(self._settle):
                self._status.switched()
            self._status.beat()
            if self._page is not None:
                self._page.check()
        event = trigger.wait(0)  # from now on none is accepted
        if event is not None:
            self._judge(event)
        give_up = time.monotonic() + LAST_WORD_S
        while not self._inspector.free() and time.monotonic() < give_up:
            self._inspector.beat(trigger.overruns)
            time.sleep(LOOK_S)

    def _admits(self) -> bool:
        """Return True when the part of a trigger of now gets an id, a verdict and an action at each output."""
        by_hand = self._hand_until > 0.0
        return not self._stop.wanted and not by_hand and self._station.ids.has_room() and self._inspector.free()

    def _judge(self, event: TriggerEvent) -> None:
        """Give one part its verdict, then record it."""
        inspection = self._inspector.inspect(event)
        if self._inspector.trial is not None:
            self._station.set_up.note_trial(inspection, self._inspector.trial)
        self._station.line.trigger.finish(inspection)
        self._inspector.ready()  # only now: a PLC may answer within a millisecond
        self._station.recorder.put(inspection, self._station.bundle)
        self._status.add(inspection)

    def _serve(self) -> None:
        """Serve at most one request of the page."""
        self._requests.serve_next(self._station.recipes.active, self._obey)
        if self._station.line.modbus is not None:
            self._follow_plc(self._station.line.modbus)
        self._tend()

    def _tend(self) -> None:
        """End what was set by hand, and let the recipe know a baseline that was stored."""
        if 0.0 < self._hand_until <= time.monotonic():
            self._end_by_hand()
        self._reload = self._station.set_up.settle() or self._reload
        if self._reload and self._station.recipes.pending is None:
            self._reload = False
            self._station.recipes.retest()

    def _end_by_hand(self) -> None:
        """Make every output safe, and accept triggers again."""
        self._inspector.safe()
        self._hand_until = 0.0
        self._inspector.ready()

    def _obey(self, command: Command) -> None:
        """Carry out a command of the page; raises EdgeError to refuse it."""
        if command.verb is Verb.SWITCH_RECIPE:
            self._station.recipes.select(command.recipe or "")
        elif command.verb is Verb.SELF_TEST:
            self._station.recipes.retest()
        elif command.verb is Verb.SET_LIMIT and command.limit is not None:
            self._station.recipes.set_limit(command.limit)
        elif command.verb is Verb.TAKE_BUNDLE:
            self._station.recipes.take(command.recipe or "", command.digest or "")
        elif command.verb is Verb.COMMISSION and command.commission is not None:
            self._commission(command.commission)
        elif command.verb is Verb.SET_BY_HAND and command.hand is not None:
            self._set_by_hand(command.hand)

    def _commission(self, wish: CommissionWish) -> None:
        """Take one step of the set-up; every part is ERROR from its beginning to its end."""
        station = self._station
        station.set_up.take(wish, station.config, station.capture, station.recipes.active.name)
        self._inspector.commission(station.set_up.engineer)
        self._end_by_hand()
        self._status.write_now()

    def _set_by_hand(self, wish: HandWish) -> None:
        """Set an output by hand while no trigger is accepted; raises EngineError unless the station is set up."""
        if self._station.set_up.engineer is None:
            raise EngineError("an output is set by hand only while the station is set up; begin the set-up first")
        self._hand_until = time.monotonic() + HAND_S  # first: from now on no part begins
        try:
            if not self._station.line.trigger.between_parts(lambda: True):
                raise EngineError("a part came just now, and gets its ERROR; try again")
            self._inspector.by_hand(wish.output, wish.verdict)
        except EngineError:
            self._end_by_hand()
            raise
        if wish.verdict is None:
            self._end_by_hand()
        self._station.set_up.note_by_hand(wish.output, wish.verdict)
        self._status.write_now()

    def _follow_plc(self, modbus: ModbusServer) -> None:
        """Select the recipe that the PLC names by its number; one that cannot be selected changes nothing."""
        wanted = modbus.take_recipe()
        if wanted is not None:
            self._station.recipes.follow(wanted)
        self._show_recipe(modbus)

    def _show_recipe(self, modbus: ModbusServer) -> None:
        recipes = self._station.recipes
        names = list(recipes.bundles)
        pending = None if recipes.switching is None else names.index(recipes.switching)
        fault = RecipeFault.UNKNOWN if recipes.unknown else RecipeFault.REFUSED if recipes.fault else RecipeFault.NONE
        modbus.show_recipe(names.index(recipes.active.name), pending, fault)

    def _settle(self) -> bool:
        """Judge with the active recipe from now on, or not at all when its self-test failed; False without news.

        No trigger is accepted meanwhile, so each part is judged by the recipe that the PLC sees when it triggers.
        """
        recipes = self._station.recipes
        if not recipes.settle():
            return False
        self._inspector.use(recipes.active)
        if recipes.refusal is not None:
            self._inspector.refuse(recipes.refusal)
        if self._station.line.modbus is not None:
            self._show_recipe(self._station.line.modbus)
        return True
