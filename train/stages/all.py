"""Stage all: a folder of photos -> a bundle the station uses, through every stage in turn."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path

from edge.core.cli import OneLineParser
from edge.inference.bundle import INT8_IR, NAME
from train.config import add_options, config_from
from train.int8.in_time import is_open, slower_than_predicted
from train.run import FitReport, Run
from train.stages import check, synth
from train.stages.budget import add_budget_options, budget
from train.stages.calibrate import calibrate, held_out_goods
from train.stages.evaluate import can_be_measured, evaluate_work
from train.stages.export import export
from train.stages.fit import fit
from train.stages.pack import add_pack_options, carry, need_goods, pack
from train.stages.quantize import quantize
from train.stages.report import report

SYNTHETIC = Path("data/synthetic")


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train all", description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder in MVTec layout; default: the synthetic product")
    parser.add_argument("--name", type=_name, required=True, help="the product's name: runs/NAME and models/NAME")
    parser.add_argument("--out", type=Path, help="the bundle's folder; default models/NAME")
    add_pack_options(parser)
    add_options(parser)
    add_budget_options(parser)
    args = parser.parse_args(argv)
    _refuse_alone(parser, args)
    config = config_from(args)
    start = time.monotonic()
    if args.data is None and not SYNTHETIC.exists():
        synth.main(["--out", str(SYNTHETIC)])
    data = args.data or SYNTHETIC
    work = Run(Path("runs") / args.name)
    check.main(["--data", str(data), "--no-region", *([] if config.bits is None else ["--bits", str(config.bits)])])
    region = ""
    if args.latency_budget_ms is not None:
        config, region = budget(data, config, args.latency_budget_ms, args.target, work)
    fitted = fit(data, config, work, region)
    if fitted is None:
        return  # another process of a torchrun goes on
    if args.promise is not None:
        need_goods(len(set(held_out_goods(fitted).values())), args.promise, fitted.cross)
    export(work)
    quantize(work)
    calibrate(work)
    if args.latency_budget_ms is None and is_open(config) and not config.boxes:
        _tell_slow(work, fitted)
    if can_be_measured(work):
        evaluate_work(work)
        report(work)
    else:
        print(f"all: nothing was measured: {data / 'test'} needs unseen good images and defects to measure on")
    target = args.out or Path("models") / args.name
    bundle = pack(work, target, args.promise, args.although_blind, args.product, args.counter)
    carry(bundle)
    if not work.read_report("quantize.json", "quantize")["within_limits"]:
        print("all: warning: INT8 changes more than is allowed; see the trials in report.html or quantize.json")
    print(f"done in {time.monotonic() - start:.0f} s; try: python -m edge inspect --bundle {bundle.path} IMAGE")


def _tell_slow(work: Run, report: FitReport) -> None:
    """Time the INT8 file, whose input was chosen by a prediction, and say where that was wrong."""
    slow = slower_than_predicted(work.file(INT8_IR), report.input, report.data / report.fit_images[0])
    if slow is not None:
        print(f"all: warning: {slow}")


def _refuse_alone(parser: OneLineParser, args: argparse.Namespace) -> None:
    """End where an option of the latency budget cannot be kept."""
    if args.target is not None and args.latency_budget_ms is None:
        parser.error("--target is the CPU of --latency-budget-ms; give both")
    if args.latency_budget_ms is not None and "LOCAL_RANK" in os.environ:
        parser.error(
            "--latency-budget-ms measures in one process; run `train budget` first, then torchrun with its --side"
        )


def _name(text: str) -> str:
    """A bundle's name, and therefore no path."""
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name; use letters, digits, '.', '_' and '-'")
    return text
