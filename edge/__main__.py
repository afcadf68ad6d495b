"""`python -m edge VERB`: the table of verbs and the exit statuses."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from edge import __version__
from edge.core.cli import OneLineParser
from edge.core.files import NO_SPACE
from edge.core.types import EdgeError

FAILED = 1  # a bad bundle, bad data, a check that did not pass
MISUSED = 2  # a bad station.toml or a bad command line
INTERRUPTED = 130
PROGRAM = "python -m edge"

# Name -> module and one line of help. A module has add_arguments(parser) and run(arguments) -> exit status. Only the
# module of the chosen verb is imported.
VERBS = {
    "run": ("edge.engine.daemon", "inspect parts until stopped, and serve the page"),
    "page": ("edge.web.server", "serve the page alone"),
    "check": ("edge.commands.bundle.check", "verify a bundle, and that this CPU reproduces its reference scores"),
    "bundle": ("edge.commands.bundle", "verify, install, activate and take back the bundles of a station"),
    "inspect": ("edge.commands.inspect", "judge image files; a folder stands for the images below it"),
    "bench": ("edge.commands.bench", "measure the shipped path on this CPU"),
    "log": ("edge.commands.log", "show the last inspections or commands, export or verify all of them"),
    "replay": (
        "edge.commands.replay",
        "judge the stored picture of an inspection again: the score must be the same",
    ),
    "check-config": ("edge.commands.check_config", "validate a station.toml"),
    "commission": (
        "edge.commands.commission",
        "store what pictures of good parts look like, to notice a changed view",
    ),
    "chaos": (
        "edge.commands.acceptance.chaos",
        "break a real engine in every way and prove what must hold; writes a page",
    ),
    "soak": (
        "edge.commands.acceptance.soak",
        "trigger at full speed and prove that nothing is lost and nothing grows; writes a page",
    ),
    "film": (
        "edge.commands.acceptance.film",
        "send photos past a real engine and write a film of what it said",
    ),
    "plc": ("edge.commands.acceptance.fake_plc", "act as the PLC of a station, for trials: drive the Modbus handshake"),
    "users": ("edge.people.command", "set up who may do what on the page, and tokens for programs"),
    "doctor": ("edge.commands.doctor", "one page of facts about this device and station"),
}
REMOVED = {"tune": "set inspection.threads in station.toml where the model must not use every core"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. Anything wrong is one line on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s: %(message)s"
    )
    try:
        status = _run(given)
        sys.stdout.flush()
    except EdgeError as error:
        from edge.config.station import ConfigError

        sys.stderr.write(f"linewatch: {error}\n")
        return MISUSED if isinstance(error, ConfigError) else FAILED
    except OSError as error:
        if error.errno not in (errno.EPIPE, *NO_SPACE):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # it must not be flushed again at exit
        if error.errno != errno.EPIPE:  # else `| head` has seen enough
            what = error.filename or "the output"
            sys.stderr.write(f"linewatch: {what} is not whole ({error.strerror}); make room\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(argv: list[str]) -> int:
    name = _verb(argv[:1])
    module, does = VERBS[name]
    verb = importlib.import_module(module)
    parser = OneLineParser(prog=f"{PROGRAM} {name}", description=f"{does[0].upper()}{does[1:]}.")
    verb.add_arguments(parser)
    status: int = verb.run(parser.parse_args(argv[1:]))
    return status


def _verb(first: list[str]) -> str:
    """Return the verb that was asked for; help, the version and a wrong verb end the process."""
    parser = OneLineParser(prog=PROGRAM, description="Inspect every part: one trigger, one verdict.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    for name, (_, does) in VERBS.items():
        verbs.add_parser(name, help=does)
    for name in REMOVED.keys() & first:
        parser.error(f"`edge {name}` was removed; {REMOVED[name]}")
    return str(parser.parse_args(first).verb)


if __name__ == "__main__":
    sys.exit(main())
