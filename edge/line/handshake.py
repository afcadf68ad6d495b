"""The handshake with a PLC, without any network: levels in, levels out. docs/reference/io.md draws it.

The PLC owns two coils, TRIGGER and RESULTS_ACK; the station owns everything else. A rising edge of TRIGGER while
READY starts one part and gets exactly one result, which stays valid until RESULTS_ACK rises.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from edge.core.types import Inspection, Reason, Verdict

NONE = 0  # no result
VERDICTS = {Verdict.OK: 1, Verdict.NG: 2, Verdict.ERROR: 3}


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals that the PLC reads."""

    ready: bool
    busy: bool
    trigger_ack: bool
    results_valid: bool
    overrun: bool
    release: bool  # 1 only for a valid OK
    verdict: int  # NONE or one of VERDICTS
    sequence: int  # of the last result, 32 bit
    error: int  # the code of a Reason
    overruns: int  # since the station started


class Write(Enum):
    """The effect of a write of TRIGGER."""

    NONE = auto()
    WANTED = auto()
    REFUSED = auto()


class Handshake:
    """The station's half of the handshake. It is not thread-safe: whoever shares it locks it."""

    def __init__(self) -> None:
        self._accepting = False  # the station can take a part
        self._busy = False
        self._ack = False
        self._valid = False
        self._overrun = False
        self._held = False  # READY is 0 for a cause outside the handshake
        self._wanted = False  # the last edge of TRIGGER was allowed, and begin() has not answered it
        self._asked = False  # the part in work, or the last one, was triggered by the PLC
        self._trigger = False
        self._results_ack = False
        self._verdict = NONE
        self._sequence = 0
        self._error = 0
        self._overruns = 0

    @property
    def ready(self) -> bool:
        """True when a rising edge of TRIGGER would be accepted."""
        idle = not (self._busy or self._valid or self._held)
        return self._accepting and idle and not (self._trigger or self._results_ack)

    @property
    def unread(self) -> bool:
        """True while the result of a part that the PLC triggered waits for RESULTS_ACK."""
        return self._valid and self._asked

    def signals(self) -> Signals:
        """Return the signals of this moment."""
        return Signals(
            ready=self.ready,
            busy=self._busy,
            trigger_ack=self._ack,
            results_valid=self._valid,
            overrun=self._overrun,
            release=self._valid and self._verdict == VERDICTS[Verdict.OK],
            verdict=self._verdict,
            sequence=self._sequence,
            error=self._error,
            overruns=self._overruns,
        )

    def trigger(self, level: bool) -> Write:
        """Take a write of TRIGGER. WANTED starts a part: answer it with begin() or refuse()."""
        rising = level and not self._trigger
        self._wanted = rising and self.ready
        self._trigger = level
        if not level:
            self._ack = False
        if not rising:
            return Write.NONE
        if self._wanted:
            return Write.WANTED
        self.refuse()
        return Write.REFUSED

    def begin(self) -> None:
        """Note that a part is being judged, whoever triggered it, and take an older result away.

        A second call for the same part changes nothing.
        """
        if self._busy:
            return
        self._accepting = False
        self._busy = True
        self._ack = self._asked = self._wanted
        self._wanted = False
        self._overrun = False
        self._withdraw()

    def refuse(self) -> None:
        """Note a trigger that gets no part."""
        self._overrun = True
        self._overruns += 1

    def result(self, inspection: Inspection) -> None:
        """Show the one result of the part."""
        self._busy = False
        self._valid = True
        self._verdict = VERDICTS[inspection.verdict]
        self._sequence = inspection.id & 0xFFFFFFFF
        self._error = inspection.reason.code

    def by_hand(self, verdict: Verdict) -> bool:
        """Show a result of no part, with RESULT_ID 0; False while a part is in work or its result is unread."""
        if self._busy or self.unread:
            return False
        self._valid = True
        self._verdict, self._sequence, self._error = VERDICTS[verdict], 0, Reason.COMMISSIONING.code
        return True

    def results_ack(self, level: bool) -> None:
        """Take a write of RESULTS_ACK: its rising edge takes the result away."""
        if level and not self._results_ack:
            self._withdraw()
        self._results_ack = level

    def accept(self) -> None:
        """Note that the station can take the next part, unless a part began meanwhile."""
        self._accepting = not self._busy

    def hold(self, held: bool) -> None:
        """Keep READY at 0 while held, whatever the handshake allows."""
        self._held = held

    def safe(self, reason: Reason = Reason.OUTPUT_FAILED) -> None:
        """Release nothing: a result that is out becomes ERROR, and stays valid until it is acknowledged."""
        if self._valid:
            self._verdict = VERDICTS[Verdict.ERROR]
            self._error = self._error or reason.code

    def stop(self) -> None:
        """Release nothing, and be not ready until accept()."""
        self.safe()
        self._accepting = False

    def overruns_are(self, total: int) -> None:
        """Take the station's own count of overruns, which covers triggers of every kind."""
        if total > self._overruns:
            self._overruns = total
            self._overrun = True

    def passed(self) -> None:
        """Note that a part passes without a verdict between two others: an older result is not that part's.

        The result of a part that the PLC triggered stays until the PLC acknowledges it.
        """
        if not self._asked:
            self._withdraw()

    def _withdraw(self) -> None:
        self._valid = False
        self._verdict = NONE
        self._error = 0
