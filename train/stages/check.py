"""Stage check: a folder of photos -> what it holds, and every reason why it cannot be trained on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

from edge.core.cli import OneLineParser
from edge.core.types import Bits
from train.config import TrainConfig
from train.data.check import check_dataset, report_json, report_table
from train.data.dataset import MIN_GOOD, DataError, read_dataset
from train.data.input_spec import without_blank
from train.data.region import propose
from train.data.region.fits import refuse_unfit
from train.data.region.picture import region_picture, write_picture


def main(argv: list[str]) -> None:
    """Print what a folder holds; raises DataError with one line for each problem."""
    parser = OneLineParser(prog="python -m train check", description="Check a data set before training.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder in MVTec layout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    parser.add_argument("--min-good", type=int, default=MIN_GOOD, metavar="N", help="good images needed (default 20)")
    what = "bits that a sample of a 16-bit photo uses; default: what all good images agree on"
    parser.add_argument("--bits", type=int, choices=get_args(Bits), help=what)
    what = "propose the region that `--crop auto` would inspect (default)"
    parser.add_argument("--region", action=argparse.BooleanOptionalAction, default=True, help=what)
    what = "write a good photo there with that region drawn"
    parser.add_argument("--picture", type=Path, metavar="FILE", help=what)
    options = parser.parse_args(argv)
    report = check_dataset(options.data, min_good=options.min_good, bits=options.bits)
    print(report_table(report))
    if report.bits is not None:
        print(f"samples: {report.bits} of 16 bits are used; their upper eight are judged")
    for warning in report.warnings:
        print(f"warning: {warning}")
    if options.json is not None:
        try:
            options.json.write_text(json.dumps(report_json(report), indent=2) + "\n")
        except OSError as error:
            raise DataError(f"{options.json}: the report cannot be written ({error.strerror})") from error
    if report.problems:
        raise DataError("\n".join(report.problems))
    if not options.region:
        return
    goods = without_blank(read_dataset(options.data), TrainConfig(bits=report.bits))
    proposal = propose(goods, TrainConfig(bits=report.bits))
    print(f"region: {proposal.words}")
    refuse_unfit(goods, TrainConfig(bits=report.bits, crop=proposal.crop, follow=proposal.follow))
    if options.picture is not None:
        photo = proposal.photo or goods.train_good[0].path
        write_picture(region_picture(photo, proposal.crop, report.bits), options.picture)
