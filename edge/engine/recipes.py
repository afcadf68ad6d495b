"""The bundles of one station: one judges, another may be verified in a thread and take over between two parts."""

from __future__ import annotations

import logging
import math
import os
import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.cameras.quality import FrameCheck, read_baseline
from edge.config.cameras import DEEP_FORMATS, CameraConfig, FolderCameraConfig, GenicamCameraConfig
from edge.config.station import DEFAULT_RECIPE, StationConfig
from edge.core.files import write_atomically
from edge.core.types import FULL, EdgeError, Image, Limits, Prediction
from edge.core.worker import Worker
from edge.engine import EngineError
from edge.engine.judge import attempt, words
from edge.engine.pins import Pins, SetLimit, set_limit, store_limit
from edge.exchange.commands import LimitWish
from edge.exchange.health import SelfTest
from edge.inference.bundle import Bundle, open_bundle
from edge.inference.detector import Detector, ReferenceCheck, check_references
from edge.inference.runtimes import Settings

THREAD = "recipe"
CHOICE = "recipe"  # in state_dir: the name of the recipe in use
PATIENCE_S = 10.0  # at the start, with a computer that is busy
START_ROUNDS = 3  # a machine that is still booting may be slow once
BESIDE_ROUNDS = 20  # beside an engine that goes on judging, many a round is slowed by it

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A bundle that passed its self-test on this CPU, ready to judge."""

    name: str
    bundle: Bundle
    detector: Detector
    check: FrameCheck
    signed_by: str | None = None  # the key that vouches for the bundle
    changed: SetLimit | None = None  # the limits that somebody set; None: the bundle's own judge

    @property
    def title(self) -> str:
        """The bundle's title, which every row carries."""
        return self.bundle.title

    @property
    def limits(self) -> Limits:
        """The values that its predictions are compared with."""
        return self.bundle.manifest.limits if self.changed is None else self.changed.limits

    @property
    def own_limit(self) -> str | None:
        """Who set the threshold and why; None where the bundle's own judges."""
        return None if self.changed is None else self.changed.words

    def predict_prepared(self, tensor: Image) -> Prediction:
        """Judge a tensor that `prepare` made, (1, height, width, 3) uint8 RGB; raises EdgeError, whatever fails."""
        prediction = attempt(lambda: self.detector.predict_prepared(tensor))
        if isinstance(prediction, Exception):
            raise EngineError(words(prediction))
        return prediction


def load_recipe(
    config: StationConfig,
    name: str,
    pins: Pins,
    rounds: int = START_ROUNDS,
    wish: LimitWish | None = None,
    activated: str | None = None,
) -> Recipe:
    """Open, verify and self-test the bundle of a recipe; raises EdgeError saying what is wrong with it.

    wish: another threshold than the one in force, which must pass the self-test, too.
    activated: the digest of another bundle that the recipe is to stand for.
    """
    recipe = attempt(lambda: _tested(config, name, pins, rounds, wish, activated))  # a model can fail in any way
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, EdgeError):
        raise recipe
    raise EngineError(f"{config.bundles[name]}: the self-test failed ({words(recipe)}); pack the bundle again")


def _tested(
    config: StationConfig, name: str, pins: Pins, rounds: int, wish: LimitWish | None, activated: str | None
) -> Recipe:
    folder = Path(os.path.realpath(config.bundles[name]))  # a link that is set anew meanwhile mixes no two bundles
    bundle = open_bundle(folder)
    signed_by = pins.admit(name, bundle, activated)
    _refuse_other_bits(config.camera, bundle)
    settings = config.inspection
    detector = Detector.from_bundle(bundle, settings.runtime, settings=Settings(settings.threads))
    check = FrameCheck(read_baseline(config.baseline(name)), config.quality)
    checks = check_references(detector, bundle)  # the first inferences are slower than any later one
    _refuse_slow(bundle, detector, settings.deadline_ms, rounds)
    pins.admit(name, open_bundle(folder), activated)  # what was loaded is what was verified
    changed = set_limit(config.state_dir, bundle, checks, wish)
    return Recipe(name, bundle, detector, check, signed_by, changed)


def proven(config: StationConfig, bundle: Bundle) -> str:
    """Prove that a bundle tells good references from bad ones on this CPU, in time; one line, or EdgeError."""
    outcome = attempt(lambda: _proof(config, bundle))  # a model can fail in any way
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, EdgeError):
        raise outcome
    raise EngineError(f"{bundle.path}: the self-test failed ({words(outcome)}); pack the bundle again")


def _proof(config: StationConfig, bundle: Bundle) -> str:
    _refuse_other_bits(config.camera, bundle)
    settings = config.inspection
    detector = Detector.from_bundle(bundle, settings.runtime, settings=Settings(settings.threads))
    checks = check_references(detector, bundle)
    _refuse_slow(bundle, detector, settings.deadline_ms, BESIDE_ROUNDS)
    limit = bundle.manifest.threshold.value
    bad = sum(check.score >= limit for check in checks)
    if not 0 < bad < len(checks):
        which = "good" if bad else "bad"
        raise EngineError(
            f"{bundle.path}: calls none of its references {which}, so nothing proves that it tells good from bad; "
            "train it again with good parts and known defects"
        )
    return f"references: {len(checks)} of {len(checks)} reproduced on this CPU in time, {bad} of them bad"


def _refuse_slow(bundle: Bundle, detector: Detector, deadline_ms: float, rounds: int) -> None:
    """Raise EngineError unless all references are judged in time at least once; it tells slow from wrong.

    At the start a busy computer gets some patience.
    """
    give_up = time.monotonic() + (PATIENCE_S if rounds > 1 else 0.0)
    best_ms = math.inf
    while rounds > 0 or time.monotonic() < give_up:
        rounds -= 1
        best_ms = min(best_ms, _slowest_ms(bundle, check_references(detector, bundle)))
        if best_ms <= deadline_ms:
            return
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    remedy = "other programs keep it busy: stop them, or " if busy else ""
    raise EngineError(
        f"{bundle.path}: the scores are right, but an inspection takes {best_ms:.0f} ms on this CPU, "
        f"inspection.deadline_ms is {deadline_ms:g}; {remedy}use a smaller input, a faster CPU or a longer deadline"
    )


def _refuse_other_bits(camera: CameraConfig, bundle: Bundle) -> None:
    """A picture that is scaled in another way than in training looks darker or brighter to the model."""
    trained, bits = bundle.manifest.input.bits, FULL
    if isinstance(camera, FolderCameraConfig):
        bits, remedy = camera.bits, f"set camera.bits = {trained}"
    elif isinstance(camera, GenicamCameraConfig) and camera.pixel_format in DEEP_FORMATS and trained != FULL:
        bits, remedy = DEEP_FORMATS[camera.pixel_format], f'set camera.pixel_format = "Mono{trained}"'
    else:
        return
    if bits != trained:
        raise EngineError(f"{bundle.path}: was trained on {trained} bits a sample, the camera gives {bits}; {remedy}")


def _slowest_ms(bundle: Bundle, checks: list[ReferenceCheck]) -> float:
    for check in checks:
        if not check.passed:
            raise EngineError(
                f"{bundle.path}: {check.file} scores {check.score:g} on this CPU, expected {check.expected:g} "
                f"within {check.tolerance:g}; try inspection.runtime, or pack a bundle for this CPU"
            )
    return max(check.infer_ms for check in checks)


class Recipes:
    """The recipe that judges, and a candidate. Used by the main loop; a thread lives only while one is verified."""

    def __init__(self, config: StationConfig) -> None:
        """Load the recipe that was in use last, or the default; raises EdgeError when it must not judge."""
        self._config = config
        self._pins = Pins(config)
        self.active = load_recipe(config, self._chosen(), self._pins)
        if self.active.own_limit is not None:
            log.warning("limit %g is not the bundle's: %s", self.active.limits.threshold, self.active.own_limit)
        self._pins.activated(self.active.name, self.active.bundle)
        self.pending: str | None = None  # the latest selection, until it judges or is refused
        self.fault: str | None = None  # why the last switch was refused
        self.unknown = False  # the fault is that no recipe has the number which a PLC wrote
        self.refusal: str | None = None  # the self-test's words: every part is ERROR while it is set
        self.self_test = SelfTest(at=datetime.now(UTC), passed=True)
        self._testing = False  # the active one is asked to prove itself again
        self.limit_fault: str | None = None  # why the last change of the threshold was refused
        self.limits_decided = 0  # wishes for another threshold that were taken or refused
        self._limiting = False  # the active one is asked to judge by another threshold
        self._activated: str | None = None  # the digest of another bundle that the active one is asked to take
        self._verifying = ""  # the one in the thread: a later selection waits for it, and then replaces it
        self._worker: Worker | None = None
        self._outcome: queue.SimpleQueue[Recipe | EdgeError] = queue.SimpleQueue()

    def _chosen(self) -> str:
        path = self._config.state_dir / CHOICE
        if not path.exists():
            return DEFAULT_RECIPE
        name = path.read_text(encoding="utf-8", errors="replace").strip()
        if name not in self._config.bundles:
            raise EngineError(f"{path}: the recipe in use was {name!r}; put it back in [recipes], or remove this file")
        return name

    @property
    def bundle_change(self) -> str | None:
        """The last change of a recipe's bundle that this engine took, None when there was none."""
        return self._pins.change

    @property
    def bundles(self) -> Mapping[str, object]:
        """The recipes to choose from, by name; the default comes first."""
        return self._config.bundles

    def select(self, name: str) -> None:
        """Begin to verify a recipe; it takes over when settle() finds it good. Raises EngineError."""
        if name not in self._config.bundles:
            raise EngineError(f"no recipe {name!r}; station.toml has {', '.join(self._config.bundles)}")
        self._refuse_pending()
        self.fault, self.unknown, self._testing, self._limiting = None, False, False, False
        self._begin(name)

    def _refuse_pending(self) -> None:
        if self.pending is not None:
            raise EngineError(f"recipe {self.pending!r} is being verified; ask again when it is done")

    def set_limit(self, wish: LimitWish) -> None:
        """Begin to prove another threshold for the bundle in use; it judges when settle() finds it good.

        Raises EngineError when the wish is about something that is not so any more.
        """
        self._refuse_pending()
        now = self.active.limits.threshold
        if wish.bundle_digest != self.active.bundle.digest:
            raise EngineError("another bundle judges by now; look at its limit and decide again")
        if wish.before != now:
            raise EngineError(f"the limit is {now:g} by now, somebody else changed it; look at it and decide again")
        self.limit_fault, self._testing, self._limiting = None, False, True
        self._begin(self.active.name, wish)

    def take(self, name: str, digest: str) -> None:
        """Begin to verify the bundle that was activated for a recipe; it judges when settle() finds it good.

        A recipe that is not in use stands for it at once, and is verified when it is selected. Raises EngineError.
        """
        if name not in self._config.bundles:
            raise EngineError(f"no recipe {name!r}; station.toml has {', '.join(self._config.bundles)}")
        self._refuse_pending()
        if name != self.active.name:
            self._pins.renew(name, digest)
            return
        self.fault, self.unknown, self._testing, self._limiting = None, False, False, False
        self._begin(name, activated=digest)

    def follow(self, number: int) -> None:
        """Take the number that a PLC wrote: the latest selection wins, and an unknown number changes nothing.

        A number that is selected already changes nothing either: a PLC may write it all the time.
        """
        names = list(self._config.bundles)
        if number >= len(names):
            fault = f"no recipe has the number {number}; a PLC may select 0 to {len(names) - 1}"
            if fault != self.fault:
                log.error("%s", fault)
            self.fault, self.unknown = fault, True
            return
        if self.unknown:
            self.fault, self.unknown = None, False
        if self.pending is not None:
            self.pending = names[number]
        elif names[number] != self.active.name:
            self.select(names[number])

    @property
    def switching(self) -> str | None:
        """The recipe that is to judge next; None when there is no other."""
        proving = self._testing or self._limiting
        return None if proving and self.pending == self.active.name else self.pending

    def _begin(self, name: str, wish: LimitWish | None = None, activated: str | None = None) -> None:
        self.pending = self._verifying = name
        self._activated = activated
        judging = self.active.name
        self._worker = Worker(THREAD, lambda: self._outcome.put(self._verified(name, judging, wish, activated)))
        self._worker.start()

    def retest(self) -> None:
        """Begin to prove the bundle in use anew, from its files; raises EngineError."""
        self.select(self.active.name)
        self._testing = True

    def _verified(self, name: str, judging: str, wish: LimitWish | None, activated: str | None) -> Recipe | EdgeError:
        """Verify a candidate, in the thread. The choice is stored here: the main loop never waits for the disk."""
        try:
            self._choose(judging)  # an earlier candidate may have been stored, and then replaced by this one
            recipe = load_recipe(self._config, name, self._pins, BESIDE_ROUNDS, wish, activated)
            if wish is not None and self.pending != name:
                return EngineError("another recipe was selected meanwhile; the limit stays as it is")
            if wish is not None:
                store_limit(self._config, recipe.bundle, wish)
            if self.pending == name:
                self._choose(name)
                self._pins.activated(name, recipe.bundle)
        except EdgeError as error:
            return error
        except OSError as error:
            return EngineError(f"{error.filename}: the choice of recipe cannot be stored ({error.strerror})")
        return recipe

    def _choose(self, name: str) -> None:
        """Store which recipe a restart takes up; raises EngineError and OSError."""
        if self._chosen() != name:
            write_atomically(self._config.state_dir / CHOICE, f"{name}\n".encode())

    def settle(self) -> bool:
        """Return True after a switch, a refused switch, or a self-test's result; call it between two parts."""
        if self.pending is None or self._worker is None:
            return False
        alive = self._worker.is_alive()
        try:
            outcome = self._outcome.get_nowait()
        except queue.Empty:
            if not alive:
                self._worker.check()
            return False
        latest, self.pending, self._worker = self.pending, None, None
        superseded = latest != self._verifying
        self.limits_decided += self._limiting
        if superseded and not (self._testing or self._limiting):
            log.info("recipe %s is not taken, %s was selected after it", self._verifying, latest)
        elif isinstance(outcome, Recipe):
            self._take(outcome)
        else:
            self._keep(self._verifying, str(outcome))
        self._limiting = False
        if superseded:
            self._testing = False
            self._begin(latest)
        return True

    def _take(self, recipe: Recipe) -> None:
        """Judge with this recipe; the old detector goes with the last reference to it."""
        log.info("recipe %s: %s judges now, digest %s", recipe.name, recipe.bundle.title, recipe.bundle.digest)
        if self._limiting:
            changed = recipe.own_limit or "back to the bundle's own"
            log.warning("limit %g instead of %g: %s", recipe.limits.threshold, self.active.limits.threshold, changed)
        if self._activated is not None:
            self._pins.renew(recipe.name, self._activated)
        self.active, self.refusal = recipe, None
        self.self_test = SelfTest(at=datetime.now(UTC), passed=True, detail=recipe.bundle.title)

    def _keep(self, name: str, why: str) -> None:
        """Note why a candidate failed, which changes nothing; a self-test that fails ends the judging."""
        if self._testing:
            log.error("self-test failed: %s", why)
            self.refusal = why
            self.self_test = SelfTest(at=datetime.now(UTC), passed=False, detail=why)
        elif self._limiting:
            log.error("the limit stays at %g: %s", self.active.limits.threshold, why)
            self.limit_fault = why
        else:
            log.error("recipe %s refused, %s goes on: %s", name, self.active.name, why)
            self.fault = f"{name}: {why}"
