"""The page's trigger: a Unix socket in run_dir. A connection is a request; one line comes back as its answer."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.core.types import Inspection, Reason, Verdict
from edge.exchange import ExchangeError
from edge.exchange.sockets import connect

TRIGGER = "trigger.sock"


class OverrunError(ExchangeError):
    """A part was being judged; this trigger was refused, and counted."""


class TriggerAnswer(BaseModel):
    """The outcome of one trigger: an inspection, or an overrun."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    overrun: bool = False
    id: int | None = None
    verdict: Verdict | None = None
    reason: Reason | None = None

    @classmethod
    def of(cls, inspection: Inspection) -> TriggerAnswer:
        """Return the answer that tells of an inspection."""
        return cls(id=inspection.id, verdict=inspection.verdict, reason=inspection.reason)


def ask_trigger(run_dir: Path, timeout_s: float = 5.0) -> TriggerAnswer:
    """Trigger one inspection and wait for its verdict.

    Raises OverrunError when the trigger is refused, ExchangeError when the station takes no trigger from
    here, is not running, or does not answer within timeout_s.
    """
    try:
        with connect(run_dir, TRIGGER, timeout_s) as caller:
            said = b"".join(iter(lambda: caller.recv(4096), b""))
    except (FileNotFoundError, ConnectionRefusedError):
        raise ExchangeError(
            "the station takes no trigger from the page; start the engine with trigger.type = 'software' "
            "or trigger.page_button = true"
        ) from None
    except TimeoutError:
        raise ExchangeError(f"the engine did not answer within {timeout_s:g} s; see the status page") from None
    except OSError as error:
        raise ExchangeError(f"the engine cannot be reached ({error}); see the status page") from error
    try:
        answer = TriggerAnswer.model_validate_json(said)
    except ValidationError:
        raise ExchangeError("the engine stopped before it gave a verdict; start it again") from None
    if answer.overrun:
        raise OverrunError("overrun: a part is being judged, or the line is not free for the next one; trigger again")
    return answer


def reply(caller: socket.socket, answer: TriggerAnswer | None) -> None:
    """Send an answer, or hang up without one; never waits, and a caller that left is no error."""
    with caller, contextlib.suppress(OSError):
        caller.setblocking(False)
        if answer is not None:
            caller.sendall(answer.model_dump_json().encode())
