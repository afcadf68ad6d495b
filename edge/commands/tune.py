"""`edge tune`: which threads and cores suit this station's model, by trying them in turns."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edge.commands.bench.noise import block_medians, ratio
from edge.config.station import StationConfig
from edge.core.files import own_folders
from edge.core.types import EdgeError, Image
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.cpu import Topology, busy, read_topology
from edge.inference.detector import Detector, check_references
from edge.inference.preprocess import load_image
from edge.inference.tuning import Choice, Profile, Trial, here, write_profile

BLOCK = 10  # parts of one choice in a row, before the next one's turn: drift hits all alike
SETTLE = 3  # uncounted parts before each block
MIN_BLOCKS = 5


class TuneError(EdgeError):
    """Nothing can be measured."""


def tune(config: StationConfig, recipe: str, seconds: float, say: Callable[[str], None]) -> str:
    """Measure, store the profile that the engine follows from its next start on, and return one line.

    Raises TuneError when the recipe is unknown, not run by OpenVINO, or its threads are set by hand, EdgeError while
    the engine runs: it would be in the figures.
    """
    if recipe not in config.bundles:
        raise TuneError(f"no recipe {recipe!r}; station.toml has {', '.join(config.bundles)}")
    if config.inspection.runtime != "openvino" or config.inspection.threads:
        raise TuneError("inspection.runtime or inspection.threads leaves nothing to choose; remove it first")
    path = config.tuning(recipe)
    try:
        with own_folders(config.state_dir, config.run_dir):
            profile = find(open_bundle(config.bundles[recipe]), read_topology(), seconds, say)
            write_profile(path, profile)
    except OSError as error:
        raise TuneError(f"{error.filename or path}: {error.strerror or error}; check the path and its owner") from error
    return f"{words(profile)}; the engine follows {path} from its next start on"


def axes(topology: Topology) -> Iterator[list[dict[str, Any]]]:
    """What to try, one property of OpenVINO after the other; what this CPU does not have is left out."""
    if topology.hybrid:
        yield [{"scheduling_core_type": kind} for kind in ("performance", "efficiency", "any")]
    if topology.logical > topology.physical:
        yield [{"enable_hyper_threading": on} for on in (True, False)]
    threads = {1, topology.physical // 2, topology.physical, topology.logical}
    yield [{"inference_num_threads": number} for number in sorted(threads - {0})]
    yield [{"enable_cpu_pinning": on} for on in (True, False)]


def find(bundle: Bundle, topology: Topology, seconds: float, say: Callable[[str], None]) -> Profile:
    """Follow each axis from the best so far; what wins must win once more, against OpenVINO's own choice alone.

    The second race is measured afresh, because the best of many is partly luck.
    """
    load = busy()
    if load:
        say(f"linewatch: {load}")
    tried = list(axes(topology))
    best, trials = Choice(), list[Trial]()
    frames = [load_image(bundle.file(reference.file)) for reference in bundle.manifest.references]
    for changes in tried:
        candidates = [best.model_copy(update=change) for change in changes]
        say(f"trying {'; '.join(one.words() for one in candidates)}")
        raced = race(bundle, frames, best, candidates, seconds / (len(tried) + 1))
        trials += raced
        faster = [one for one in raced if one.high < 1]
        best = min(faster, key=lambda one: one.ratio).choice if faster else best
    if best != Choice():
        say(f"once more: {best.words()}")
        final = race(bundle, frames, Choice(), [best], seconds / (len(tried) + 1))
        trials += final
        best = best if final and final[0].high < 1 else Choice()
    return Profile(
        measured_at=datetime.now(UTC), bundle=bundle.title, place=here(bundle), choice=best, trials=tuple(trials)
    )


def race(
    bundle: Bundle, frames: Sequence[Image], against: Choice, candidates: Sequence[Choice], seconds: float
) -> list[Trial]:
    """Judge frames with each in turns for so many seconds; candidates whose scores leave the references are out."""
    detectors = {choice: _detector(bundle, choice) for choice in dict.fromkeys([against, *candidates])}
    runners = {choice: detector for choice, detector in detectors.items() if detector is not None}
    if against not in runners:
        raise TuneError(f"{bundle.path}: does not reproduce its references on this CPU; run: edge check")
    times: dict[Choice, list[float]] = {choice: [] for choice in runners}
    began, parts = time.monotonic(), itertools.cycle(frames)
    while time.monotonic() - began < seconds or len(times[against]) < MIN_BLOCKS * BLOCK:
        for choice, detector in runners.items():
            for _ in range(SETTLE):
                detector.predict(next(parts))
            for _ in range(BLOCK):
                start = time.perf_counter()
                detector.predict(next(parts))
                times[choice].append((time.perf_counter() - start) * 1e3)
    return [_trial(choice, against, times) for choice in runners if choice != against]


def _detector(bundle: Bundle, choice: Choice) -> Detector | None:
    """Warm, and None when it does not reproduce the references."""
    detector = Detector.from_bundle(bundle, settings=choice.settings())
    return detector if all(check.passed for check in check_references(detector, bundle)) else None


def _trial(choice: Choice, against: Choice, times: dict[Choice, list[float]]) -> Trial:
    found = ratio(block_medians(times[choice], BLOCK), block_medians(times[against], BLOCK))
    return Trial(
        choice=choice,
        against=against,
        p50_ms=float(np.median(times[choice])),
        ratio=found.value,
        low=found.low,
        high=found.high,
        n=len(times[choice]),
    )


def words(profile: Profile) -> str:
    """What was found, in one line."""
    if profile.choice == Choice():
        return f"OpenVINO's own choice stays: none of {len(profile.trials)} others is faster beyond the noise"
    last = profile.trials[-1]
    return (
        f"{profile.choice.words()}: {last.p50_ms:.2f} ms, {last.ratio:.2f} x OpenVINO's own choice "
        f"(95 % interval {last.low:.2f} to {last.high:.2f})"
    )
