"""`edge check`: verify a bundle, and that both runtimes reproduce its reference scores on this CPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.inference.bundle import BundleError, open_bundle
from edge.inference.cpu import cpu_tier
from edge.inference.detector import RUNTIMES, Detector, check_references


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")


def run(arguments: argparse.Namespace) -> int:
    """Print one line about a good bundle; raises BundleError for any other."""
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
