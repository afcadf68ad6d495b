"""An attack by a wall clock that jumps, as when the network's time arrives late; the monotonic clock goes on.

Neither a time namespace (it has no CLOCK_REALTIME) nor libfaketime (it distorts waits as well) can do this to one
process, so a few lines of C stand in front of libc in the engine's process, and only in what tells the wall clock.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.commands import CommandError
from edge.commands.acceptance.station import EngineProcess, TrialStation, broken_sequence, happens, inspecting
from edge.commands.evidence import Evidence
from edge.core.types import Reason
from edge.inference.bundle import Bundle

NAME = "the wall clock jumps"
JUMPS = (timedelta(days=400), timedelta(days=-800), timedelta(hours=-1), timedelta())  # from the real time
PARTS = 20
SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long long *jump_s;
__attribute__((constructor)) static void look(void) {
    jump_s = mmap(0, sizeof *jump_s, PROT_READ, MAP_SHARED, open(JUMP_FILE, O_RDONLY), 0);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *jump_s;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    return now ? *now = exact.tv_sec : exact.tv_sec;
}
"""


def clock(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Expect that parts are judged in time and in order and the loop beats; only dates show the jumps."""
    if shutil.which("cc") is None:
        evidence.skip(NAME, "needs a C compiler, cc; Debian: apt-get install gcc libc6-dev")
        return
    station = TrialStation(folder, bundle)
    told = folder / "jump"
    _jump(told, timedelta())
    with inspecting(station, environment={"LD_PRELOAD": str(_clock_in_front(folder, told))}) as engine:
        for jump in JUMPS:
            _jump(told, jump)
            _hold_jump(evidence, station, engine, jump)
        evidence.hold(f"{NAME}: the engine stops as usual", engine.stop() == 0, "stopped with status 0")
    wrong = broken_sequence(station.rows()) or station.verify()
    evidence.hold(f"{NAME}: sequence and chain unbroken", not wrong, wrong or f"1 to {len(station.rows())}")


def _hold_jump(evidence: Evidence, station: TrialStation, engine: EngineProcess, jump: timedelta) -> None:
    judged = happens(lambda: {answer.reason for answer in station.triggers(PARTS)} == {Reason.SCORE})
    beats = engine.beats(2.5)
    wanted = datetime.now(UTC) + jump
    health, row = station.health(), station.rows()[-1]
    dated = health is not None and all(abs(at - wanted) < timedelta(minutes=1) for at in (health.written_at, row.at))
    evidence.hold(
        f"{NAME} to {jump.total_seconds() / 3600:+.0f} h: parts are judged in time, the watchdog is beaten",
        judged and beats > 0 and dated,
        f"{PARTS} in a row {'judged' if judged else 'NOT judged'}, {beats} beats in 2.5 s, "
        f"the last row is of {row.at:%Y-%m-%d %H:%M}",
    )


def _jump(told: Path, jump: timedelta) -> None:
    """Write the jump into the file in place: the engine has the file mapped."""
    told.touch()
    with told.open("r+b") as stream:
        stream.write(struct.pack("q", round(jump.total_seconds())))


def _clock_in_front(folder: Path, told: Path) -> Path:
    """Compile the library that stands in front of the clock; raises CommandError when it cannot be compiled."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(f'#define JUMP_FILE "{told}"\n{SOURCE}', encoding="utf-8")
    done = subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(f"cc cannot build the clock: {(done.stderr.splitlines() or ['?'])[0]}")
    return library
