"""Lesser CPUs, stood in for by this one: each in a process of its own, because oneDNN reads its cap once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge.commands import CommandError
from edge.inference.cpu import ISA_CAP, TIER_CAPS, TIERS, read_cpu


def measure_tiers(
    tier: str, arguments: Sequence[str], once: Sequence[str], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Run `edge bench ARGUMENTS` for a tier, or for all, and return their results in one report.

    The CPU's own tier comes uncapped. Starts are measured with the first tier only, which also gets the arguments
    `once`. Raises CommandError.
    """
    cpu = read_cpu()
    wanted = TIERS if tier == "all" else (tier,)
    able = [one for one in wanted if one in cpu.tiers]
    if not able:
        raise CommandError(f"--tier {tier}: this CPU is {cpu.native_tier}, and a lesser one cannot stand in for it")
    reports: list[dict[str, Any]] = []
    for one in able:
        progress(f"tier {one}, {len(reports) + 1} of {len(able)}")
        cap = None if one == cpu.native_tier else TIER_CAPS[one]
        reports.append(_measure_capped([*arguments, *(["--quick"] if reports else once)], cap))
    progress("")
    first = reports[0]
    return {
        "skipped": [one for one in wanted if one not in able],
        "results": [result for report in reports for result in report["results"]],
        "notes": sorted({note for report in reports for note in report["notes"]}),
        **{key: first[key] for key in ("rss_mb", "starts", "cameras") if key in first},
    }


def _measure_capped(arguments: Sequence[str], cap: str | None) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != ISA_CAP}
    if cap is not None:
        environment[ISA_CAP] = cap
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "bench.json"
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "edge", "bench"]
        command += [*arguments, "--json", str(answer)]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if not answer.exists():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise CommandError(f"{ISA_CAP}={cap}: {last.removeprefix('linewatch: ')}")
        report: dict[str, Any] = json.loads(answer.read_bytes())
        return report
