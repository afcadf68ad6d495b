"""An activation: verify, prove on this CPU, try on stored pictures, let it judge, confirm; or the way back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edge.commands import CommandError
from edge.commands.bundle.shadow import shadow
from edge.commands.bundle.store import Store, activated, said, still_there
from edge.core.files import remedy
from edge.engine.recipes import proven
from edge.exchange import ExchangeError
from edge.exchange.health import State, read_health
from edge.inference.bundle import Bundle
from edge.inference.release.versions import Activated, Activation, Versions

NICEST = 19
SHORTEST_REASON, LONGEST_REASON = 10, 300  # characters
LOOK_S = 0.2
JUDGES = (State.RUNNING, State.CAMERA_FAULT)


def activate(
    store: Store, source: Path, recipe: str, new_product: bool, shadow_s: float, say: Callable[[str], None] = print
) -> None:
    """Let a bundle judge by a recipe from the next start on; says what was found. Raises EdgeError.

    Nothing changes before everything was proven. The last two steps are a note and a link, each in one step.
    """
    step_aside()
    link = store.link(recipe)
    versions = store.versions()
    bundle = store.install(source)
    say(said(bundle, store.admissible(bundle, versions, recipe)))
    _refuse_other_product(versions, bundle, recipe, new_product)
    pending = versions.activation
    if pending is not None and (pending.recipe, pending.new.digest) != (recipe, bundle.digest):
        raise CommandError(f"{pending.new.title} is not confirmed yet; run `edge bundle confirm` or `rollback` first")
    if os.path.realpath(link) != os.path.realpath(bundle.path):
        store.refuse_no_link(link)
    say(proven(store.config, bundle))
    for line in shadow(store.config, bundle, shadow_s):
        say(line)
    old = store.judging(recipe) if pending is None else pending.old
    _switch(store, versions, Activation(recipe=recipe, new=activated(bundle), old=old))


def _refuse_other_product(versions: Versions, bundle: Bundle, recipe: str, new_product: bool) -> None:
    expected, release = versions.product(recipe), bundle.manifest.release
    if expected is None or release is None or release.product == expected or new_product:
        return
    raise CommandError(
        f"{bundle.path}: is for {release.product}, and recipe {recipe!r} judges {expected}; install a bundle for "
        f"{expected}, or give --new-product where the line makes {release.product} now"
    )


def _switch(store: Store, versions: Versions, activation: Activation) -> None:
    """Note the activation, then set the link: an engine that starts in between still judges with the old bundle."""
    before = "nothing" if activation.old is None else activation.old.title
    why = f"recipe {activation.recipe}: {activation.new.title} after {before}"
    store.note(versions.model_copy(update={"activation": activation}), "activate", why)
    _point(store, activation.recipe, activation.new.folder)


def _point(store: Store, recipe: str, folder: str) -> None:
    try:
        store.point(recipe, folder)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}; {remedy(error)}") from None


def confirm(store: Store, wait_s: float) -> str:
    """End an activation when the running engine judges with its bundle; from then on no older version may judge."""
    versions = store.versions()
    activation = versions.activation
    if activation is None:
        raise CommandError("no activation waits for its confirmation; see `python -m edge bundle list`")
    give_up = time.monotonic() + wait_s
    while (fault := unconfirmed(store, activation.recipe, activation.new)) is not None:
        if time.monotonic() >= give_up:
            raise CommandError(f"{activation.new.title} is not confirmed: {fault}")
        time.sleep(LOOK_S)
    new, recipe = activation.new, activation.recipe
    previous = dict(versions.previous)
    if activation.old is not None and activation.old.digest != new.digest:
        previous[recipe] = activation.old
    update = {
        "activation": None,
        "highest": _raised(versions, new),
        "active": {**versions.active, recipe: new},
        "previous": previous,
    }
    store.note(versions.model_copy(update=update), "confirm", f"recipe {recipe}: {new.title}")
    return f"recipe {recipe}: {new.title} judges"


def unconfirmed(store: Store, recipe: str, bundle: Activated) -> str | None:
    """Return why the running engine does not judge with a bundle by this recipe, None when it does."""
    try:
        health = read_health(store.config.run_dir)
    except ExchangeError as error:
        return str(error)
    age_s = (datetime.now(UTC) - health.written_at).total_seconds()
    if age_s > health.stale_after_s or health.state not in JUDGES:
        return f"the engine does not judge now ({health.state}{f': {health.detail}' if health.detail else ''})"
    if (health.recipe, health.bundle) != (recipe, bundle.title):
        return f"the engine judges by recipe {health.recipe} with {health.bundle}; restart it, or choose the recipe"
    return None


def roll_back(store: Store, recipe: str, automatic: bool, reason: str | None = None) -> str:
    """Let the bundle before judge from the next start on; raises EdgeError when it must not.

    While an activation is not confirmed, the bundle before is the one that judged then. Afterwards it is an older
    version, which needs the engineer's word: in `reason`, noted after the bundle was proven, or by `allow-rollback`.
    """
    versions = store.versions()
    if versions.activation is not None:
        return _return(store, versions, versions.activation, automatic)
    if automatic:
        raise CommandError("no activation waits for its confirmation, so the station does not go back by itself")
    if recipe not in versions.previous:
        raise CommandError(f"recipe {recipe!r}: no bundle judged before; see `python -m edge bundle list`")
    before, why = versions.previous[recipe], None
    if reason is not None and versions.rollback_fault(before.release, recipe) is not None:
        release = before.release
        product, to = (versions.product(recipe) or "", 0) if release is None else (release.product, release.counter)
        versions, why = _lowered(versions, product, to, reason)
    bundle = still_there(store, before, versions, recipe)
    proven(store.config, bundle)
    if why is not None:
        versions = store.note(versions, "allow-rollback", why)
    _switch(store, versions, Activation(recipe=recipe, new=activated(bundle), old=store.judging(recipe)))
    return f"recipe {recipe}: {bundle.title} judges from the next start of the engine on; then confirm it"


def _return(store: Store, versions: Versions, activation: Activation, automatic: bool) -> str:
    """End an activation with the bundle before; a word that let an older version try ends with it."""
    recipe, new, old = activation.recipe, activation.new, activation.old
    if old is None:
        raise CommandError(f"no bundle judged before {new.title}; activate another one")
    still_there(store, old, versions, recipe)
    _point(store, recipe, old.folder)
    confirmed = recipe in versions.active and versions.active[recipe].digest == old.digest
    highest = _raised(versions, old) if confirmed else versions.highest
    update = {"activation": None, "highest": highest}
    act, why = "return" if automatic else "rollback", f"{old.title} after {new.title}"
    store.note(versions.model_copy(update=update), act, why)
    return f"recipe {recipe}: {old.title} judges from the next start of the engine on"


def _raised(versions: Versions, judges: Activated) -> dict[str, int]:
    """Return the highest versions, now that this bundle judges."""
    highest = dict(versions.highest)
    if judges.release is not None:
        highest[judges.release.product] = max(judges.release.counter, highest.get(judges.release.product, 0))
    return highest


def allow_rollback(store: Store, product: str, to: int, reason: str) -> str:
    """Let versions of a product from `to` on judge again, with 0 also a bundle that names none; kept in the audit."""
    versions, why = _lowered(store.versions(), product, to, reason)
    store.note(versions, "allow-rollback", why)
    return f"{product}: version {to} or newer may judge here" if to else f"{product}: every version may judge here"


def _lowered(versions: Versions, product: str, to: int, reason: str) -> tuple[Versions, str]:
    """Return the note of versions after the engineer's word, and the words for the audit; raises CommandError."""
    highest = versions.highest.get(product)
    if highest is None:
        raise CommandError(f"no version of {product!r} judged here; see `python -m edge bundle list`")
    if not 0 <= to < highest:
        raise CommandError(
            f"--to {to}: version {highest} judged here; give an older one, or 0 for a bundle that names no version"
        )
    words = " ".join(reason.split())
    if not SHORTEST_REASON <= len(words) <= LONGEST_REASON:
        fault = (
            f"{words!r} tells nobody why" if len(words) < SHORTEST_REASON else f"{len(words)} characters are too many"
        )
        raise CommandError(f"--reason: {fault}; write {SHORTEST_REASON} to {LONGEST_REASON} characters")
    lowered = {**versions.highest, product: to}
    update = {"highest": {name: counter for name, counter in lowered.items() if counter}}
    return versions.model_copy(update=update), f"{product} from version {highest} to {to}: {words}"


def step_aside() -> None:
    """Give way to every other process: this one computes only while a processor has nothing else to do."""
    os.nice(NICEST)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
