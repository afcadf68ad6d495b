"""Stage report: evaluate.json and the images behind it -> one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge.core.cli import OneLineParser
from edge.inference.bundle import open_bundle
from train.data.dataset import read_dataset
from train.report.sections import write_report
from train.report.technical import technical_facts
from train.report.technical_page import write_technical
from train.run import HEADS, Run
from train.stages import StageError


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train report", description=__doc__)
    parser.add_argument("--work", type=Path, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--bundle", type=Path, help="write the technical report of a packed bundle instead")
    parser.add_argument("--evaluation", type=Path, metavar="FILE", help="of `train evaluate --bundle --json FILE`")
    parser.add_argument("--benchmark", type=Path, metavar="FILE", help="of `edge bench --bundle --json FILE`")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the photos that were measured, for the pictures")
    parser.add_argument("--out", type=Path, help="the page; default report.html in the run's folder")
    args = parser.parse_args(argv)
    if args.bundle is None:
        if args.work is None:
            parser.error("give --work RUN, or --bundle BUNDLE for the technical report")
        report(Run(args.work), args.out)
    elif args.evaluation is None or args.out is None:
        parser.error("the technical report of a bundle needs --evaluation FILE and --out PAGE")
    else:
        technical(args)


def report(work: Run, out: Path | None = None) -> Path:
    """Write the page for a process engineer; raises RunError or StageError when the run was not evaluated."""
    facts = work.read_report("evaluate.json", "evaluate")
    if not {"parts_good", "typical", "refused"} <= set(facts):
        raise StageError(f"{work.file('evaluate.json')}: is of another version; run `python -m train evaluate` again")
    if facts["threshold"] != work.read_report("calibration.json", "calibrate")["threshold"]["value"]:
        raise StageError(
            f"{work.file('evaluate.json')}: is of another threshold than calibration.json; "
            "run `python -m train evaluate` again"
        )
    path = out or work.file("report.html")
    write_report(work, facts, path)
    print(f"report: {path}")
    return path


def technical(args: argparse.Namespace) -> Path:
    """Write the technical report of a bundle, and its figures beside it; raises StageError for files of another one."""
    bundle = open_bundle(args.bundle)
    measured = _read(args.evaluation, ("images", "int8", "refused", "threshold"), "train evaluate --bundle")
    if measured["threshold"] != bundle.manifest.threshold.value:
        raise StageError(f"{args.evaluation}: is of another threshold than {args.bundle}; evaluate this bundle")
    benchmark = None
    if args.benchmark is not None:
        benchmark = _read(args.benchmark, ("bundle", "cpu", "results", "skipped"), "edge bench --bundle")
        if benchmark["bundle"]["digest"] != bundle.digest:
            raise StageError(f"{args.benchmark}: is of another bundle than {args.bundle}; measure this one")
    learned = _learned(Run(args.work), bundle.manifest.dataset_sha256) if args.work is not None else None
    dataset = read_dataset(args.data) if args.data is not None else None
    beside = write_technical(bundle, dataset, technical_facts(bundle, measured, benchmark, learned), args.out)
    print(f"report: {args.out}, every figure of it in {beside}")
    return beside


def _read(path: Path, keys: tuple[str, ...], command: str) -> dict[str, Any]:
    """Return a JSON report that holds these keys; raises StageError where it does not."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; write it with `python -m {command} BUNDLE --json {path}`") from None
    except ValueError as error:
        raise StageError(f"{path}: is no JSON ({error}); write it with `python -m {command}`") from None
    if not isinstance(facts, dict) or not set(keys) <= set(facts):
        raise StageError(f"{path}: is another report; write it with `python -m {command} BUNDLE --json {path}`")
    return facts


def _learned(work: Run, dataset_sha256: str) -> dict[str, Any] | None:
    """Return heads.json of the run that the bundle is of; None where the run had nothing to learn by epochs."""
    if work.fit_report().dataset_sha256 != dataset_sha256:
        raise StageError(f"{work.folder}: learned from other data than the bundle; give the bundle's own run")
    return work.read_report(HEADS, "fit") if work.file(HEADS).is_file() else None
