# install.sh on a real wheel, into a folder, without a network; then the installed engine inspects parts.

load a_station

setup_file() {
    load a_station
    export WHEEL WHEELS BUNDLE ROOT
    WHEELS=$BATS_FILE_TMPDIR/wheels
    ROOT="$BATS_FILE_TMPDIR/a station"
    build_wheel
    make_bundle
    "$PYTHON" "$SCRIPTS/wheels.py" "$WHEELS"
    install_station >"$BATS_FILE_TMPDIR/install.log" 2>&1 || { cat "$BATS_FILE_TMPDIR/install.log" >&2 && false; }
}

build_wheel() { # of a copy, because setuptools leaves its build folder in the tree; beside it other tests compile Python
    local copy=$BATS_FILE_TMPDIR/copy
    mkdir "$copy"
    tar -c --exclude=__pycache__ -C "$REPO" pyproject.toml README.md LICENSE edge train | tar -x -C "$copy"
    "$PYTHON" -m pip --quiet --disable-pip-version-check wheel --no-deps --no-build-isolation \
        -w "$BATS_FILE_TMPDIR" "$copy"
    WHEEL=$(echo "$BATS_FILE_TMPDIR"/linewatch-*.whl)
}

make_bundle() {
    BUNDLE=$BATS_FILE_TMPDIR/tiny
    (cd "$REPO" && "$PYTHON" -c 'import sys, pathlib, tests.tiny
tests.tiny.write_tiny_bundle(*map(pathlib.Path, sys.argv[1:]))' "$BUNDLE" "$BATS_FILE_TMPDIR/work")
}

install_station() {
    "$REPO/firmware_scripts/install.sh" --wheel "$WHEEL" --wheels "$WHEELS" --bundle "$BUNDLE" --root "$ROOT" "$@"
}

engine() { # the installed one, from anywhere but the source tree
    (cd / && exec "$ROOT/opt/linewatch/current/bin/python" -P -m edge "$@")
}

@test "help is shown and nothing is done" {
    run "$REPO/firmware_scripts/install.sh" --help
    [ "$status" -eq 0 ]
    [[ $output == *"--dry-run"* ]]
}

@test "wrong usage is one line and exit 2" {
    local install=$REPO/firmware_scripts/install.sh
    one_line_refusal 2 "--wheel FILE is missing" "$install"
    one_line_refusal 2 "unknown option --surprise" "$install" --surprise
    one_line_refusal 2 "--root needs a value" "$install" --wheel "$WHEEL" --root
    one_line_refusal 2 "is not a wheel" "$install" --wheel "$BATS_TEST_TMPDIR/absent.whl"
    one_line_refusal 2 "is not a wheel" "$install" --wheel "$REPO/pyproject.toml"
    one_line_refusal 2 "has no manifest.json" "$install" --wheel "$WHEEL" --bundle "$BATS_TEST_TMPDIR"
    one_line_refusal 2 "is not a folder of wheels" "$install" --wheel "$WHEEL" --wheels "$BATS_TEST_TMPDIR/absent"
}

@test "a station that takes signed bundles only is not given one past its signature" {
    mkdir -p "$BATS_TEST_TMPDIR/strict/etc/linewatch"
    sed '/^bundle_signatures/d' "$REPO/firmware_scripts/station.toml" >"$BATS_TEST_TMPDIR/strict/etc/linewatch/station.toml"
    ROOT=$BATS_TEST_TMPDIR/strict
    one_line_refusal 1 "takes signed bundles only" install_station
    [ ! -e "$ROOT/opt" ]
}

@test "a dry run names the steps and leaves no file" {
    ROOT=$BATS_TEST_TMPDIR/untouched
    run install_station --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *"would run: python3 -m venv"* ]]
    [ ! -e "$ROOT" ]
}

@test "a dry run on the system itself touches no service" {
    ROOT=/
    run install_station --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *"would run: systemctl enable linewatch-engine.service linewatch-page.service"* ]]
    [ ! -e /opt/linewatch/current ] || skip "this machine is a station"
}

@test "what is installed is the wheel, not the source tree" {
    run engine --version
    [ "$status" -eq 0 ]
    cd /
    run "$ROOT/opt/linewatch/current/bin/python" -P -c 'import edge.web; print(edge.web.__file__)'
    [[ $output == "$ROOT"/opt/linewatch/current/lib/*/edge/web/__init__.py ]]
    local installed=${output%/__init__.py}
    diff -r -x __pycache__ "$REPO/edge/web" "$installed"
}

@test "what a station never loads is gone, and every runtime and format still works" {
    local site libs kept
    site=$(echo "$ROOT"/opt/linewatch/current/lib/python3*/site-packages)
    libs=$site/openvino/libs
    [ -e "$libs/libopenvino_intel_cpu_plugin.so" ]
    [ ! -e "$libs/libopenvino_intel_gpu_plugin.so" ]
    [ ! -e "$site/numpy/tests" ]
    kept=$(du -sm --apparent-size "$ROOT/opt/linewatch/releases" | cut -f1)
    echo "$kept MB"
    [ "$kept" -le 450 ]
    run engine bench --bundle "$BUNDLE" --n 10 --quick --budget-ms 60000
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"ONNX Runtime"*"FP32"* ]]
}

@test "units, camera rule and configuration are in place" {
    [ -f "$ROOT/etc/systemd/system/linewatch-engine.service" ]
    [ -f "$ROOT/etc/systemd/system/linewatch-page.service" ]
    [ -f "$ROOT/etc/systemd/system/linewatch-bundles.path" ]
    [ -f "$ROOT/etc/systemd/system/linewatch-bundles.service" ]
    [ -f "$ROOT/etc/udev/rules.d/70-linewatch-camera.rules" ]
    diff -r "$REPO/systemd" "$ROOT/opt/linewatch/current/systemd"
    [ "$(readlink "$ROOT/var/lib/linewatch/models/current")" = tiny ]
    local config=$BATS_TEST_TMPDIR/station.toml # what is at / in a station that boots is below $ROOT here
    sed "s|\"/var/lib|\"$ROOT/var/lib|" "$ROOT/etc/linewatch/station.toml" >"$config"
    run engine check-config "$config"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "the installed engine gives every part a verdict and leaves on SIGTERM" {
    local config=$BATS_TEST_TMPDIR/station.toml pid
    cat >"$config" <<END
name = "bats"
bundle = "$ROOT/var/lib/linewatch/models/current"
state_dir = "state"
bundle_signatures = "optional"
run_dir = "run"
[camera]
type = "folder"
path = "$ROOT/var/lib/linewatch/models/current/references"
[trigger]
type = "free_run"
rate_hz = 10
[inspection]
deadline_ms = 2000
END
    "$ROOT/opt/linewatch/current/bin/python" -P -m edge run --config "$config" --no-page \
        >"$BATS_TEST_TMPDIR/engine.log" 2>&1 3>&- &
    pid=$!
    for _ in $(seq 300); do
        [ "$(engine log export --config "$config" 2>/dev/null | grep -c ',OK,score,')" -ge 5 ] && break
        kill -0 "$pid" || break
        sleep 0.2
    done
    kill -TERM "$pid"
    wait "$pid"
    run engine log export --config "$config"
    echo "$output"
    cat "$BATS_TEST_TMPDIR/engine.log"
    [ "$(grep -c ',OK,score,' <<<"$output")" -ge 5 ]
    tail -n +2 <<<"$output" | cut -d, -f1 | diff - <(seq "$((${#lines[@]} - 1))")
}

@test "a station that was installed in a folder starts where it is moved to" {
    mv "$ROOT" "$BATS_TEST_TMPDIR/moved"
    cd /
    run "$BATS_TEST_TMPDIR/moved/opt/linewatch/current/bin/python" -P -m edge check \
        "$BATS_TEST_TMPDIR/moved/var/lib/linewatch/models/current"
    mv "$BATS_TEST_TMPDIR/moved" "$ROOT"
    [ "$status" -eq 0 ]
}

@test "a second installation changes nothing, and keeps what a person wrote" {
    echo '# tuned by hand' >>"$ROOT/etc/linewatch/station.toml"
    listing() { (cd "$ROOT" && find . -path '*/__pycache__' -prune -o -printf '%p %l\n' | sort); }
    listing >"$BATS_TEST_TMPDIR/before"
    run install_station
    [ "$status" -eq 0 ]
    [[ $output == *"already installed"* ]]
    listing | diff "$BATS_TEST_TMPDIR/before" -
    grep -q 'tuned by hand' "$ROOT/etc/linewatch/station.toml"
}

@test "where a bundle judges, another one is left to install-bundle.sh" {
    BUNDLE=$REPO/models/default
    one_line_refusal 1 "change it with install-bundle.sh" install_station
    [ "$(readlink "$ROOT/var/lib/linewatch/models/current")" = tiny ]
}

@test "where no bundle judges, a damaged one is refused" {
    BUNDLE=$BATS_TEST_TMPDIR/damaged
    cp -R "$BATS_FILE_TMPDIR/tiny" "$BUNDLE"
    printf x >>"$BUNDLE/model_int8.bin"
    rm "$ROOT/var/lib/linewatch/models/current"
    run install_station
    [ "$status" -ne 0 ]
    [[ $output == *"model_int8.bin does not match its sha256"* ]]
    [ "$(ls -A "$ROOT/var/lib/linewatch/models")" = tiny ]
}

@test "where no bundle judges, one of the same name and other content goes beside the old one" {
    BUNDLE=$BATS_TEST_TMPDIR/tiny
    cp -R "$BATS_FILE_TMPDIR/tiny" "$BUNDLE"
    sed -i 's/"version": "1"/"version": "2"/' "$BUNDLE/manifest.json"
    (cd "$BUNDLE" && sha256sum manifest.json >manifest.sha256)
    run install_station
    [ "$status" -eq 0 ]
    [[ $(readlink "$ROOT/var/lib/linewatch/models/current") == tiny-???????????? ]]
    diff -r "$BATS_FILE_TMPDIR/tiny" "$ROOT/var/lib/linewatch/models/tiny"
}

@test "removing leaves configuration, models and history" {
    one_line_refusal 2 "unknown option" "$REPO/firmware_scripts/uninstall.sh" --surprise
    run "$REPO/firmware_scripts/uninstall.sh" --root "$ROOT" --dry-run
    [ -e "$ROOT/opt/linewatch/current" ]
    run "$REPO/firmware_scripts/uninstall.sh" --root "$ROOT"
    [ "$status" -eq 0 ]
    [ ! -e "$ROOT/opt/linewatch" ]
    [ ! -e "$ROOT/etc/systemd/system/linewatch-engine.service" ]
    [ ! -e "$ROOT/etc/systemd/system/linewatch-bundles.path" ]
    [ -f "$ROOT/etc/linewatch/station.toml" ]
    [ -f "$ROOT/var/lib/linewatch/models/tiny/manifest.json" ]
}

@test "two archives of one commit are the same, and hold what they list" {
    git -C "$REPO" rev-parse HEAD >/dev/null 2>&1 || skip "not a git checkout"
    local package=$REPO/firmware_scripts/package.sh name
    for name in first second; do
        "$package" --out "$BATS_TEST_TMPDIR/$name" --wheels "$WHEELS" --python "$PYTHON" >/dev/null 2>&1
    done
    cmp "$BATS_TEST_TMPDIR"/first/*.tar "$BATS_TEST_TMPDIR"/second/*.tar
    if command -v dpkg-deb; then
        cmp "$BATS_TEST_TMPDIR"/first/*.deb "$BATS_TEST_TMPDIR"/second/*.deb
        dpkg-deb --contents "$BATS_TEST_TMPDIR"/first/*.deb >"$BATS_TEST_TMPDIR/contents"
        no grep -Ev ' \./(usr/(lib/(linewatch/.*)?|share/(doc/(linewatch/(copyright)?)?)?)?)?$' "$BATS_TEST_TMPDIR/contents"
        no grep -v ' root/root ' "$BATS_TEST_TMPDIR/contents"
        rm "$BATS_TEST_TMPDIR"/*/*.deb
    fi
    tar xf "$BATS_TEST_TMPDIR"/first/*.tar -C "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"/linewatch-*
    sha256sum -c --quiet SHA256SUMS
    for name in $(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements/{base,tools}.lock | sort -u); do
        grep -q "pkg:pypi/$name@" sbom.json || no ls wheels/"${name//-/_}"-* 2>/dev/null
    done
    "$PYTHON" firmware_scripts/wheels.py "$BATS_TEST_TMPDIR/again" --no-index --find-links wheels # for every Python
    diff <(ls wheels) <(ls "$BATS_TEST_TMPDIR/again")
    [ "$(grep -c '"licenses"' sbom.json)" -eq "$(grep -c '"purl"' sbom.json)" ]
    [ -f licences/onnxruntime/LICENSE ]
    run firmware_scripts/install.sh --wheel linewatch-*.whl --wheels wheels --root "$BATS_TEST_TMPDIR/root" --dry-run
    [ "$status" -eq 0 ]
}
