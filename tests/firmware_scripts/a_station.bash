# A station in a folder whose name has a space, and whose engine is this checkout.

REPO=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
PYTHON=$REPO/.venv/bin/python
SCRIPTS=$REPO/firmware_scripts

make_engine() { # make_engine ROOT
    mkdir -p "$1/opt/linewatch/current/bin" "$1/etc/linewatch"
    printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "$@"\n' "$REPO" "$PYTHON" >"$1/opt/linewatch/current/bin/python"
    chmod +x "$1/opt/linewatch/current/bin/python"
}

write_station_toml() { # write_station_toml ROOT
    cat >"$1/etc/linewatch/station.toml" <<END
name = "bats"
bundle = "$1/var/lib/linewatch/models/current"
state_dir = "$1/var/lib/linewatch"
run_dir = "$1/run"
[camera]
type = "folder"
path = "$1/camera"
[trigger]
type = "free_run"
rate_hz = 1
[inspection]
deadline_ms = 2000
END
}

make_bundles() { # make_bundles FOLDER: flange-1 and flange-2, signed, and washer-1, not signed
    (cd "$REPO" && "$PYTHON" - "$1") <<'END'
import sys
from pathlib import Path

from edge.inference.release.archive import archive_path, write_archive
from tests.edge.inference.release.signing import released
from tests.tiny import write_tiny_bundle
from train.signing.keygen import keygen
from train.signing.sign import sign

folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
tiny = write_tiny_bundle(folder / "tiny", folder / "work")
key = keygen(folder / "keys")
for counter in (1, 2):
    sign(released(tiny, folder, counter).path, folder / "keys" / f"{key.id}.key")
washer = released(tiny, folder, 1, "washer")
write_archive(washer, archive_path(washer.path))
END
}

no() { # what must not succeed; a mere `!` ends no test, and neither does what stands before `&&`
    if "$@"; then
        echo "this should not have succeeded: $*" >&2
        return 1
    fi
}

one_line_refusal() { # STATUS WORDS COMMAND...
    local expected=$1 words=$2
    run "${@:3}"
    echo "$output"
    [ "$status" -eq "$expected" ]
    [ "${#lines[@]}" -eq 1 ]
    [[ ${lines[0]} == "linewatch: "*"$words"* ]]
}

listing() { # listing FOLDER: names, modes, targets and contents of all that is there
    (cd "$1" && find . -path '*/__pycache__' -prune -o -printf '%p %m %l\n' | LC_ALL=C sort &&
        find . -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}

# Whether the power may go is tested by tests/system/test_power_cut.py; here nothing waits for a disk.
without_disk() {
    mkdir -p "$BATS_FILE_TMPDIR/quick"
    printf '#!/bin/sh\n' >"$BATS_FILE_TMPDIR/quick/sync"
    chmod +x "$BATS_FILE_TMPDIR/quick/sync"
    export PATH=$BATS_FILE_TMPDIR/quick:$PATH
}

# A script ends by SIGKILL in front of its step KILL_AT; a file has a dot for each step of all its shells.
# A step goes through `run "$@"` of steps.sh, and with EVERY_COMMAND=1 each command is one. A sync changes nothing that a
# kill leaves, so it is no step.
killer() {
    cat >"$BATS_FILE_TMPDIR/killer" <<'END'
set -o functrace
trap 'if [[ ${EVERY_COMMAND-} || ($BASH_COMMAND == "\"\$@\"" && " $* " != *" sync "*) ]]; then
    printf . >>"$BASH_ENV.steps"
    read -r steps_ <"$BASH_ENV.steps" || true
    if ((KILL_AT > 0 && ${#steps_} >= KILL_AT)); then kill -9 $$ $BASHPID; fi
fi' DEBUG
END
    : >"$BATS_FILE_TMPDIR/killer.steps"
    printf '%s\n' "$BATS_FILE_TMPDIR/killer"
}

# COMMAND is killed in front of a step on what FRESH makes. HOLDS looks at what is left then; COMMAND runs again, and
# ENDS looks at what is there. That is done at four steps, and with EVERY_STEP=1 or EVERY_COMMAND=1 at all of them.
wherever_killed() { # wherever_killed FRESH HOLDS ENDS COMMAND...
    local fresh=$1 holds=$2 ends=$3 all step status
    shift 3
    "$fresh"
    at_step 0 "$@"
    "$ends"
    all=$(wc -c <"$KILLER.steps")
    for ((step = 1; step <= all; step++)); do
        [[ ${EVERY_STEP-}${EVERY_COMMAND-} ]] || ((step * 4 / all != (step - 1) * 4 / all)) || continue
        "$fresh"
        status=0
        at_step "$step" "$@" || status=$?
        echo "killed at $step of $all: status $status" # bats shows it where the test fails
        [[ $status == 137 || ${EVERY_COMMAND-} ]] # the number of commands is not the same each time: processes wait for each other
        "$holds"
        at_step 0 "$@"
        "$ends"
    done
    echo "killed at $all steps"
    ((all >= 1))
}

at_step() { # at_step STEP COMMAND...
    KILLER=${KILLER:-$(killer)}
    : >"$KILLER.steps"
    env KILL_AT="$1" BASH_ENV="$KILLER" "${@:2}"
}
