"""`python -m edge VERB`: the device's command line."""

from __future__ import annotations

import argparse
import csv
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge import __version__
from edge.arguments import OneLineParser
from edge.types import EdgeError, Inspection

FAILED = 1  # a bad bundle, bad data, a check that did not pass
MISUSED = 2  # a bad station.toml or a bad command line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. Anything wrong is one line on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s: %(message)s"
    )
    try:
        status = _dispatch(given)
        sys.stdout.flush()
    except EdgeError as error:
        from edge.config import ConfigError

        sys.stderr.write(f"linewatch: {error}\n")
        return MISUSED if isinstance(error, ConfigError) else FAILED
    except BrokenPipeError:  # `| head` has seen enough; stdout must not be flushed again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    return status


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["bench"]:
        return _bench(argv[1:])
    arguments = _parser().parse_args(argv)
    status: int = arguments.verb(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m edge", description="Inspect every part: one trigger, one verdict.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, does: str, action: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        made.set_defaults(verb=action)
        return made

    def config(of: argparse.ArgumentParser, required: bool = True) -> None:
        of.add_argument("--config", type=Path, required=required, metavar="FILE", help="station.toml")

    run = verb("run", "inspect parts until stopped, and serve the page", _run)
    config(run)
    run.add_argument("--no-page", action="store_true", help="the page is started by someone else, or not at all")
    page = verb("page", "serve the page alone", _page)
    config(page)
    page.add_argument("--engine-pid", type=int, help=argparse.SUPPRESS)
    check = verb("check", "verify a bundle, and that this CPU reproduces its reference scores", _check)
    check.add_argument("bundle", type=Path, metavar="BUNDLE")
    inspect = verb("inspect", "judge image files; a folder stands for the images below it", _inspect)
    inspect.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    inspect.add_argument("--json", action="store_true", help="one JSON object a line")
    inspect.add_argument("--heatmap", type=Path, metavar="DIR", help="write <stem>_heat.png for each image there")
    inspect.add_argument("--runtime", choices=("openvino", "onnxruntime"), default="openvino")
    inspect.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    verb("bench", "measure latency on this CPU; see `bench --help`", lambda _: _bench([]))
    history = verb("log", "show the last inspections", _log)
    config(history)
    history.add_argument("-n", "--last", type=int, default=20, metavar="N", help="how many (20)")
    history.add_argument("--csv", action="store_true", help="comma-separated values with a header")
    check_config = verb("check-config", "validate a station.toml", _check_config)
    check_config.add_argument("file", type=Path, metavar="FILE")
    commission = verb(
        "commission", "store what pictures of good parts look like, to notice a changed view", _commission
    )
    config(commission)
    commission.add_argument("--frames", type=int, default=20, metavar="N", help="how many pictures (20)")
    commission.add_argument("--seconds", type=float, default=5.0, metavar="S", help="over how long (5)")
    commission.add_argument("--recipe", default="default", metavar="NAME", help="of which recipe (default)")
    doctor = verb("doctor", "one page of facts about this device and station", _doctor)
    config(doctor, required=False)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from edge.daemon import run

    run(arguments.config, with_page=not arguments.no_page)
    return 0


def _page(arguments: argparse.Namespace) -> int:
    from edge.config import load_config
    from edge.page import follow_engine
    from edge.web import serve

    config = load_config(arguments.config)
    if arguments.engine_pid is not None:
        follow_engine(arguments.engine_pid)
    serve(config)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from edge.bundle import BundleError, open_bundle
    from edge.cpu import cpu_tier
    from edge.detector import RUNTIMES, Detector, check_references

    bundle = open_bundle(arguments.bundle)
    slowest: list[str] = []
    for runtime in RUNTIMES:
        detector = Detector.from_bundle(bundle, runtime)
        check_references(detector, bundle)  # warm
        checks = check_references(detector, bundle)
        for check in checks:
            if not check.passed:
                raise BundleError(
                    f"{bundle.path}: {check.file} scores {check.score:g} with {runtime} on this CPU ({cpu_tier()}), "
                    f"expected {check.expected:g} within {check.tolerance:g}; pack a bundle for this CPU"
                )
        slowest.append(f"{runtime} {max(check.infer_ms for check in checks):.1f} ms")
    count = len(bundle.manifest.references)
    print(f"{bundle.title}: {count} of {count} references reproduced on {cpu_tier()} ({', '.join(slowest)})")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from edge.bundle import open_bundle
    from edge.detector import Detector
    from edge.inspect import inspect_files

    bundle = open_bundle(arguments.bundle)
    detector = Detector.from_bundle(bundle, arguments.runtime)
    return inspect_files(bundle, detector, arguments.images, arguments.heatmap, arguments.json)


def _bench(argv: list[str]) -> int:
    """Has a parser of its own, which names the option that is missing."""
    from edge import bench

    return bench.main(argv)


def _log(arguments: argparse.Namespace) -> int:
    from edge.config import load_config
    from edge.eventlog import EventLog, EventLogError

    config = load_config(arguments.config)
    if not config.events_db.exists():
        raise EventLogError(f"{config.events_db}: no history yet; it begins with the first part")
    events = EventLog(config.events_db, read_only=True)
    rows = [_row(inspection) for inspection in reversed(events.recent(max(0, arguments.last)))]
    header = ["id", "at", "verdict", "reason", "score", "threshold", "defect_probability", "total_ms", "detail"]
    if arguments.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *rows])
        return 0
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    for line in [header, *rows]:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _row(inspection: Inspection) -> list[str]:
    numbers = (inspection.score, inspection.threshold, inspection.defect_probability)
    return [
        str(inspection.id),
        inspection.at.isoformat(timespec="milliseconds"),
        inspection.verdict.value,
        inspection.reason.value,
        *("" if number is None else f"{number:.4f}" for number in numbers),
        f"{inspection.timings.total_ms:.1f}",
        inspection.detail,
    ]


def _check_config(arguments: argparse.Namespace) -> int:
    from edge.config import load_config

    config = load_config(arguments.file)
    print(f"{arguments.file}: {config.name}, {config.camera.type} camera, {config.trigger.type} trigger: valid")
    return 0


def _commission(arguments: argparse.Namespace) -> int:
    from edge.commission import commission, words
    from edge.config import ConfigError, load_config

    if not 2 <= arguments.frames <= 1000 or not 0 <= arguments.seconds <= 3600:
        raise ConfigError("commission takes 2 to 1000 --frames and 0 to 3600 --seconds")
    baseline = commission(load_config(arguments.config), arguments.recipe, arguments.frames, arguments.seconds)
    print(words(baseline, arguments.recipe))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from edge.doctor import examine

    return examine(arguments.config)


if __name__ == "__main__":
    sys.exit(main())
