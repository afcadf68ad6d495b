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

no() { # what must not succeed; a mere `!` ends no test
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

# A script ends by SIGKILL in front of its step KILL_AT. Each step goes through `run "$@"` of steps.sh; a sync changes
# nothing that a kill leaves, so it is no step.
killer() {
    cat >"$BATS_FILE_TMPDIR/killer" <<'END'
set -o functrace
steps=0
trap 'if [[ $BASH_COMMAND == "\"\$@\"" && " $* " != *" sync "* ]] && ((++steps == ${KILL_AT:-0})); then kill -9 $$; fi' DEBUG
END
    printf '%s\n' "$BATS_FILE_TMPDIR/killer"
}
