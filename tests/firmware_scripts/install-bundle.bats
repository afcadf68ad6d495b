# install-bundle.sh on a station whose engine is this checkout: what it refuses, and the way to a new bundle.

load a_station

setup_file() {
    load a_station
    make_bundles "$BATS_FILE_TMPDIR"
}

setup() {
    ROOT="$BATS_TEST_TMPDIR/a station" # a root with a space in its name
    mkdir -p "$ROOT/opt/linewatch/current/bin" "$ROOT/etc/linewatch/trust" "$ROOT/camera"
    chmod 0755 "$ROOT/etc/linewatch/trust"
    install -m 0644 "$BATS_FILE_TMPDIR"/keys/*.pub "$ROOT/etc/linewatch/trust"
    printf '#!/bin/sh\ncd "%s" && exec "%s" "$@"\n' "$REPO" "$PYTHON" >"$ROOT/opt/linewatch/current/bin/python"
    sed -i 's/exec "\(.*\)" "\$@"/shift; exec "\1" "$@"/' "$ROOT/opt/linewatch/current/bin/python" # without -P: of this checkout
    chmod +x "$ROOT/opt/linewatch/current/bin/python"
    write_station_toml "$ROOT"
}

install_bundle() {
    run "$REPO/firmware_scripts/install-bundle.sh" --root "$ROOT" "$@"
    echo "$output"
}

one_line_refusal() { # STATUS WORDS ARGUMENT...
    install_bundle "${@:3}"
    [ "$status" -eq "$1" ]
    [ "${#lines[@]}" -eq 1 ]
    [[ ${lines[0]} == "linewatch: "*"$2"* ]]
}

judges() { # VERSION
    [[ $(readlink "$ROOT/var/lib/linewatch/models/current") == "flange-$1-"* ]]
}

@test "help is shown and nothing is done" {
    install_bundle --help
    [ "$status" -eq 0 ]
    [[ $output == *"--dry-run"* ]]
    [ ! -e "$ROOT/var" ]
}

@test "wrong usage is one line and exit 2" {
    one_line_refusal 2 "BUNDLE.lwb is missing"
    one_line_refusal 2 "unknown option --surprise" --surprise
    one_line_refusal 2 "--wait needs a value" "$BATS_FILE_TMPDIR/flange-1.lwb" --wait
    one_line_refusal 2 "is no number of seconds" "$BATS_FILE_TMPDIR/flange-1.lwb" --wait soon
    one_line_refusal 2 "no such bundle" "$BATS_TEST_TMPDIR/absent.lwb"
    one_line_refusal 2 "one too many" "$BATS_FILE_TMPDIR/flange-1.lwb" "$BATS_FILE_TMPDIR/flange-2.lwb"
}

@test "a station without an engine is told to install one" {
    rm -r "$ROOT/opt"
    one_line_refusal 1 "run install.sh first" "$BATS_FILE_TMPDIR/flange-1.lwb"
}

@test "a dry run names the steps and changes nothing" {
    install_bundle "$BATS_FILE_TMPDIR/flange-1.lwb" --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *"would run: "*" bundle activate "* ]]
    [ ! -e "$ROOT/var" ]
}

@test "a signed bundle comes to judge, twice the same is no harm, and what must not judge leaves it" {
    [ "$EUID" -eq 0 ] || skip "only root can make a trust folder"
    install_bundle "$BATS_FILE_TMPDIR/flange-2.lwb"
    [ "$status" -eq 0 ]
    [[ $output == *"signed by key"*"references: 2 of 2 reproduced"* ]]
    judges 2
    install_bundle "$BATS_FILE_TMPDIR/flange-2.lwb"
    [ "$status" -eq 0 ]
    one_line_refusal 1 "is not signed" "$BATS_FILE_TMPDIR/washer-1.lwb"
    head -c 5000 "$BATS_FILE_TMPDIR/flange-1.lwb" >"$BATS_TEST_TMPDIR/cut.lwb"
    one_line_refusal 1 "copy it again" "$BATS_TEST_TMPDIR/cut.lwb"
    chmod 0666 "$ROOT"/etc/linewatch/trust/*.pub
    one_line_refusal 1 "others than root can write it" "$BATS_FILE_TMPDIR/flange-1.lwb"
    judges 2
}
