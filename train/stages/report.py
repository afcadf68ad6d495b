"""Stage report: evaluate.json and the images behind it -> one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from edge.core.cli import OneLineParser
from train.report.sections import write_report
from train.run import Run
from train.stages import StageError


def main(argv: list[str]) -> None:
    parser = OneLineParser(prog="python -m train report", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the run's folder, e.g. runs/NAME")
    parser.add_argument("--out", type=Path, help="the page; default report.html in the run's folder")
    args = parser.parse_args(argv)
    report(Run(args.work), args.out)


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
