# What install.sh refuses, each with one line, while the release that was there stays in use.

load a_station

setup() {
    ROOT="$BATS_TEST_TMPDIR/a station" BIN=$BATS_TEST_TMPDIR/bin
    mkdir -p "$ROOT/opt/linewatch/releases/one/bin" "$BIN"
    printf '#!/bin/sh\necho "it judges"\n' >"$ROOT/opt/linewatch/releases/one/bin/python"
    chmod +x "$ROOT/opt/linewatch/releases/one/bin/python"
    touch "$ROOT/opt/linewatch/releases/one/complete" "$BATS_TEST_TMPDIR/new.whl"
    ln -s releases/one "$ROOT/opt/linewatch/current"
    PATH=$BIN:$PATH
}

stands_for() { # stands_for PROGRAM SCRIPT: what a computer of another kind would say
    printf '#!/bin/sh\n%s\n' "$2" >"$BIN/$1"
    chmod +x "$BIN/$1"
}

refused() { # refused STATUS WORDS COMMAND...: in one line; nothing has changed and the release judges
    listing "$ROOT" >"$BATS_TEST_TMPDIR/before"
    one_line_refusal "$@"
    listing "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
    [ "$("$ROOT/opt/linewatch/current/bin/python" -P -m edge run)" = "it judges" ]
}

install() {
    "$SCRIPTS/install.sh" --wheel "$BATS_TEST_TMPDIR/new.whl" --root "$ROOT" "$@"
}

in_namespace() { # in_namespace COMMANDS: with mounts that go with it
    SCRIPTS=$SCRIPTS HERE=$BATS_TEST_TMPDIR ROOT=$ROOT unshare --mount --propagation private bash -euc "$1"
}

may_mount() {
    [ "$EUID" -eq 0 ] && unshare --mount mount -t tmpfs none /opt || skip "only root can have a / of its own"
}

@test "another architecture" {
    stands_for uname 'echo aarch64'
    refused 1 "this computer is aarch64; Linewatch runs on x86-64 with AVX2" install
}

@test "a CPU without AVX2" {
    may_mount
    sed 's/\bavx2\b//g' /proc/cpuinfo >"$BATS_TEST_TMPDIR/cpuinfo"
    refused 1 "this CPU has no AVX2; use one of 2013" in_namespace 'mount --bind "$HERE/cpuinfo" /proc/cpuinfo
"$SCRIPTS/install.sh" --wheel "$HERE/new.whl" --root "$ROOT"'
}

@test "an old Python" {
    stands_for python3 'exit 1'
    refused 1 "python3 is missing or older than 3.11" install
}

@test "a Python whose packages the archive does not hold" {
    mkdir "$BATS_TEST_TMPDIR/wheels"
    touch "$BATS_TEST_TMPDIR/wheels/numpy-2-"{cp311-cp311,cp312-cp312,cp313-abi3}-x86_64.whl
    stands_for python3 'case "$2" in *print*) echo 3.13 ;; esac'
    refused 1 "python3 is 3.13, and $BATS_TEST_TMPDIR/wheels is for 3.11 and 3.12; install one of these" \
        install --wheels "$BATS_TEST_TMPDIR/wheels"
}

@test "a disk without space, before anything is written" {
    may_mount
    refused 1 "MB left and a release needs 1200; make room first" in_namespace 'mkdir "$HERE/full"
mount -t tmpfs -o size=4m none "$HERE/full"
cp -R "$ROOT/opt" "$HERE/full/"
"$SCRIPTS/install.sh" --wheel "$HERE/new.whl" --root "$HERE/full"'
}

@test "a clock in 1970 is named, and is no reason to stop: no trust rests on it" {
    stands_for date '[ "$1" = +%Y ] && echo 1970 || echo 1970-01-01'
    run install --dry-run
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c "the clock says 1970-01-01; set it with timedatectl, or rows get wrong dates" <<<"$output")" -eq 1 ]
}

@test "a disk that fills up during the installation leaves the release in use, and what is half-made goes" {
    may_mount
    stands_for df 'printf "Avail\n9999M\n"' # another process takes the room afterwards
    stands_for python3 'case "$*" in *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; head -c 9000000 /dev/zero >"$last/bin/python" ;; esac'
    run in_namespace 'mkdir "$HERE/full"
mount -t tmpfs -o size=4m none "$HERE/full"
cp -R "$ROOT/opt" "$HERE/full/"
"$SCRIPTS/install.sh" --wheel "$HERE/new.whl" --root "$HERE/full" && exit 9
"$HERE/full/opt/linewatch/current/bin/python"
ls "$HERE/full/opt/linewatch/releases"'
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"No space left on device"*"could not be completed and is removed; what was in use stays in use"* ]]
    [ "${lines[-2]} ${lines[-1]}" = "it judges one" ]
}
