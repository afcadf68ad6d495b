"""`python -m edge VERB`: the device's command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge import __version__
from edge.core.cli import OneLineParser
from edge.core.types import EdgeError

if TYPE_CHECKING:
    from edge.commands.evidence import Evidence

AddVerb = Callable[[str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]

FAILED = 1  # a bad bundle, bad data, a check that did not pass
MISUSED = 2  # a bad station.toml or a bad command line
REMOVED = {"tune": "set inspection.threads in station.toml where the model must not use every core"}


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
        from edge.config.station import ConfigError

        sys.stderr.write(f"linewatch: {error}\n")
        return MISUSED if isinstance(error, ConfigError) else FAILED
    except BrokenPipeError:  # `| head` has seen enough; stdout must not be flushed again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    return status


def _dispatch(argv: list[str]) -> int:
    for verb in argv[:1]:
        if verb in REMOVED:
            OneLineParser(prog="python -m edge").error(f"`edge {verb}` was removed; {REMOVED[verb]}")
    if argv[:1] == ["bench"]:
        return _bench(argv[1:])
    if argv[:1] == ["log"]:
        return _log(argv[1:])
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

    run = verb("run", "inspect parts until stopped, and serve the page", _run)
    _config(run)
    run.add_argument("--no-page", action="store_true", help="the page is started by someone else, or not at all")
    page = verb("page", "serve the page alone", _page)
    _config(page)
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
    verb("log", "show the last inspections, export or verify all of them; see `log --help`", lambda _: _log([]))
    replay = verb("replay", "judge the stored picture of an inspection again: the score must be the same", _replay)
    _config(replay)
    replay.add_argument("id", type=int, metavar="ID", help="of the inspection")
    replay.add_argument("--tolerance", type=float, default=0.0, metavar="T", help="allowed difference (0)")
    check_config = verb("check-config", "validate a station.toml", _check_config)
    check_config.add_argument("file", type=Path, metavar="FILE")
    _commissioning(verb)
    _proofs(verb)
    doctor = verb("doctor", "one page of facts about this device and station", _doctor)
    _config(doctor, required=False)
    return parser


def _config(of: argparse.ArgumentParser, required: bool = True) -> None:
    of.add_argument("--config", type=Path, required=required, metavar="FILE", help="station.toml")


def _commissioning(verb: AddVerb) -> None:
    commission = verb(
        "commission", "store what pictures of good parts look like, to notice a changed view", _commission
    )
    _config(commission)
    commission.add_argument("--frames", type=int, default=20, metavar="N", help="how many pictures (20)")
    commission.add_argument("--seconds", type=float, default=5.0, metavar="S", help="over how long (5)")
    commission.add_argument("--recipe", default="default", metavar="NAME", help="of which recipe (default)")


def _proofs(verb: AddVerb) -> None:
    chaos = verb("chaos", "break a real engine in every way and prove what must hold; writes a page", _chaos)
    chaos.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    chaos.add_argument("--kills", type=int, default=200, metavar="N", help="how many times kill -9 (200)")
    chaos.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments of the kills (0)")
    chaos.add_argument("--page", type=Path, default=Path("evidence/chaos.html"), metavar="FILE")
    soak = verb("soak", "trigger at full speed and prove that nothing is lost and nothing grows; writes a page", _soak)
    soak.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    soak.add_argument("--frames", type=int, default=100_000, metavar="N", help="how many triggers (100000)")
    soak.add_argument("--page", type=Path, default=Path("evidence/soak.html"), metavar="FILE")


def _run(arguments: argparse.Namespace) -> int:
    from edge.engine.daemon import run

    run(arguments.config, with_page=not arguments.no_page)
    return 0


def _page(arguments: argparse.Namespace) -> int:
    from edge.config.load import load_config
    from edge.web.server import follow_engine, serve

    config = load_config(arguments.config)
    if arguments.engine_pid is not None:
        follow_engine(arguments.engine_pid)
    serve(config)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from edge.inference.bundle import BundleError, open_bundle
    from edge.inference.cpu import cpu_tier
    from edge.inference.detector import RUNTIMES, Detector, check_references

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
    from edge.commands.inspect import inspect_files
    from edge.inference.bundle import open_bundle
    from edge.inference.detector import Detector

    bundle = open_bundle(arguments.bundle)
    detector = Detector.from_bundle(bundle, arguments.runtime)
    return inspect_files(bundle, detector, arguments.images, arguments.heatmap, arguments.json)


def _bench(argv: list[str]) -> int:
    """Has a parser of its own, which names the option that is missing."""
    from edge.commands import bench

    return bench.main(argv)


def _log(argv: list[str]) -> int:
    """Has a parser of its own, because its options are read by edge.commands.log."""
    from edge.commands import log as history

    return history.main(argv)


def _replay(arguments: argparse.Namespace) -> int:
    from edge.commands.replay import replay
    from edge.config.load import load_config

    print(replay(load_config(arguments.config), arguments.id, arguments.tolerance))
    return 0


def _check_config(arguments: argparse.Namespace) -> int:
    from edge.config.load import check_camera, check_files, load_config

    config = load_config(arguments.file)
    check_files(config)
    check_camera(config)
    outputs = ", ".join(output.type for output in config.output) or "none"
    facts = f"{config.camera.type} camera, {config.trigger.type} trigger, outputs: {outputs}"
    print(f"{arguments.file}: {config.name}, {facts}: valid")
    return 0


def _commission(arguments: argparse.Namespace) -> int:
    from edge.commands.commission import commission, words
    from edge.config.load import load_config
    from edge.config.station import ConfigError

    if not 2 <= arguments.frames <= 1000 or not 0 <= arguments.seconds <= 3600:
        raise ConfigError("commission takes 2 to 1000 --frames and 0 to 3600 --seconds")
    baseline = commission(load_config(arguments.config), arguments.recipe, arguments.frames, arguments.seconds)
    print(words(baseline, arguments.recipe))
    return 0


def _chaos(arguments: argparse.Namespace) -> int:
    from edge.commands.acceptance.chaos import chaos
    from edge.config.station import ConfigError

    if not 1 <= arguments.kills <= 100_000:
        raise ConfigError("chaos takes 1 to 100000 --kills")
    return _proof(
        lambda: chaos(arguments.bundle, arguments.kills, arguments.page, _say, arguments.seed), arguments.page
    )


def _soak(arguments: argparse.Namespace) -> int:
    from edge.commands.acceptance.soak import soak
    from edge.config.station import ConfigError

    if not 10 <= arguments.frames <= 10_000_000:
        raise ConfigError("soak takes 10 to 10000000 --frames")
    return _proof(lambda: soak(arguments.bundle, arguments.frames, arguments.page, _say), arguments.page)


def _proof(prove: Callable[[], Evidence], page: Path) -> int:
    from edge.commands.acceptance.station import ProofError

    try:
        evidence = prove()
    except OSError as error:
        raise ProofError(f"{error.filename or page}: {error.strerror or error}; check the path") from error
    if not evidence.held:
        raise ProofError(f"a property failed; the evidence is in {page}")
    print(f"{evidence.verdict}; the evidence is in {page}")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _doctor(arguments: argparse.Namespace) -> int:
    from edge.commands.doctor import examine

    return examine(arguments.config)


if __name__ == "__main__":
    sys.exit(main())
