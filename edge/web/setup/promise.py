"""What the bundles of a station say of themselves, and which of them judges, judged, or waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.config.station import StationConfig
from edge.core.types import one_line
from edge.inference.bundle import MOST_BUNDLES, Bundle, BundleError, Threshold, bundle_folders, read_promise
from edge.inference.release.trust import read_trust
from edge.inference.release.versions import Versions, read_audit, read_versions

LAST_ACTS = 10


def bundles_facts(config: StationConfig) -> dict[str, Any]:
    """Return the bundles beside the station's own, the recipes, and the last acts; raises BundleError."""
    versions = read_versions(config.bundle_trust)
    pending = versions.activation
    return {
        "recipes": [_recipe(config, name, versions) for name in config.bundles],
        "bundles": [_facts(config, folder, versions) for folder in _folders(config)],
        "unconfirmed": None if pending is None else {"recipe": pending.recipe, "title": pending.new.title},
        "highest": dict(versions.highest),
        "acts": read_audit(config.bundle_trust)[: -LAST_ACTS - 1 : -1],
        "signatures": config.bundle_signatures,
    }


def _folders(config: StationConfig) -> list[Path]:
    """Return the folders of the bundles, the newest first."""
    folders = bundle_folders(config.bundle.parent, config.bundles.values())
    return sorted(folders, key=lambda one: one.stat().st_mtime, reverse=True)[:MOST_BUNDLES]


def _recipe(config: StationConfig, name: str, versions: Versions) -> dict[str, Any]:
    before = versions.previous.get(name)
    return {
        "name": name,
        "folder": Path(os.path.realpath(config.bundles[name])).name,
        "before": None if before is None else {"folder": before.folder, "title": before.title},
        "needs_reason": before is not None and versions.rollback_fault(before.release, name) is not None,
    }


def _facts(config: StationConfig, folder: Path, versions: Versions) -> dict[str, Any]:
    """Return one bundle; what is wrong with it is a fact like the others."""
    try:
        bundle = read_promise(folder)
    except BundleError as error:
        return {"folder": folder.name, "title": folder.name, "roles": [], "fault": one_line(error), "promise": []}
    signed_by = fault = None
    try:
        signed_by = read_trust(config.bundle_trust).signer(bundle, config.bundle_signatures == "required")
    except BundleError as error:
        fault = one_line(error)
    return {
        "folder": folder.name,
        "title": bundle.title,
        "created": bundle.manifest.created.isoformat(timespec="seconds"),
        "roles": list(_roles(config, bundle, versions)),
        "fault": fault,
        "older": versions.rollback_fault(bundle.manifest.release) is not None,
        "signed_by": signed_by,
        "promise": [{"label": label, "text": text} for label, text in promises(bundle)],
    }


def _roles(config: StationConfig, bundle: Bundle, versions: Versions) -> Iterator[dict[str, str]]:
    """Yield what a bundle is for each recipe that has to do with it."""
    pending = versions.activation
    for name, path in config.bundles.items():
        if Path(os.path.realpath(path)) == Path(os.path.realpath(bundle.path)):
            waits = pending is not None and (pending.recipe, pending.new.digest) == (name, bundle.digest)
            yield {"recipe": name, "role": "not confirmed" if waits else "judges"}
        elif (before := versions.previous.get(name)) is not None and before.digest == bundle.digest:
            yield {"recipe": name, "role": "judged before"}


def promises(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield what the manifest promises, in words: a label and a sentence each."""
    manifest = bundle.manifest
    if manifest.release is not None:
        yield "Product", f"{manifest.release.product}, version {manifest.release.counter}"
    yield "Good parts rejected", _rejected(manifest.threshold)
    yield from _measured(manifest.metrics)
    if manifest.types:
        yield "Names defects", ", ".join(manifest.types)
    size = f"{manifest.input.width} × {manifest.input.height} pixels {manifest.input.colour}"
    yield "Looks at", size if manifest.input.crop is None else f"{size} of a part of the picture"
    yield "Self-test", f"{len(manifest.references)} reference pictures, whose scores this station has to reproduce"


def _rejected(threshold: Threshold) -> str:
    if threshold.bound is None:
        return f"about {threshold.alpha:.2%}, an estimate from {threshold.n} good parts; nothing is guaranteed"
    sure = "" if threshold.upper_95 is None else f"; in 95 of 100 such trainings below {threshold.upper_95:.2%}"
    return f"at most {threshold.bound:.2%} on average, guaranteed by {threshold.n} good parts{sure}"


def _measured(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was measured on parts that the model had not seen; a manifest may say nothing of it."""
    goods, bads = metrics.get("n_good"), metrics.get("n_defective")
    found = metrics.get("int8")
    wrong = found.get("at_threshold") if isinstance(found, dict) else None
    if not (isinstance(goods, int) and isinstance(bads, int) and isinstance(wrong, dict)):
        yield "Measured", "nothing: the manifest names no test"
        return
    passed, rejected = wrong.get("escapes"), wrong.get("overkill")
    if isinstance(passed, int) and isinstance(rejected, int):
        yield "Bad parts found", f"{bads - passed} of {bads} in the test"
        yield "Good parts passed", f"{goods - rejected} of {goods} in the test"
