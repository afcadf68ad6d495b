#!/usr/bin/env bash
# Install Linewatch on a station, or into a folder that will become one. Safe to run again at any time.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
# shellcheck source=firmware_scripts/release.sh
source "$here/firmware_scripts/release.sh"
readonly unused=$here/firmware_scripts/unused.txt
wheel="" bundle="" wheels="" wait=600 half=""

usage() {
    cat <<'END'
Usage: install.sh --wheel FILE [--root DIR] [--bundle DIR] [--wheels DIR] [--wait S] [--dry-run]

  --wheel FILE   the engine, built with: pip wheel . --no-deps
  --root DIR     install below DIR instead of / (no user is made, no service is started)
  --bundle DIR   the first model to inspect with; default: models/default. install-bundle.sh changes the one that judges
  --wheels DIR   take the dependencies from DIR, without a network: wheels, where the archive was unpacked
  --wait S       how long a busy computer may take to get the new release ready; default: 600
  --dry-run      say what would be done, change nothing

What a person owns is never overwritten: etc/linewatch/station.toml, models, the history.
A release that does not get ready, for a reason of its own, gives way to the one before it. Status 3: the release is
installed and goes on trying, because the computer is too busy for any.
END
}

check_arguments() {
    takes_nothing_else
    [[ -n $wheel ]] || fail 2 "--wheel FILE is missing; see install.sh --help"
    [[ $wheel == *.whl && -f $wheel ]] || fail 2 "$wheel is not a wheel; build one with: pip wheel . --no-deps"
    [[ -z $wheels || -d $wheels ]] || fail 2 "$wheels is not a folder of wheels"
    [[ -z $bundle || -f $bundle/manifest.json ]] || fail 2 "$bundle is not a bundle: it has no manifest.json"
    [[ $wait =~ ^[0-9]{1,5}$ ]] || fail 2 "--wait $wait is no number of seconds"
    find_station installing into
    [[ -z $bundle || ! -e $config ]] || takes_unsigned ||
        fail 1 "$config takes signed bundles only; install the bundle with install-bundle.sh"
    local judging=$state/models/current
    [[ -z $bundle || ! -e $judging ]] || cmp -s -- "$bundle/manifest.sha256" "$judging/manifest.sha256" ||
        fail 1 "another bundle judges in ${root:-/}; change it with install-bundle.sh, which keeps the way back"
}

takes_unsigned() {
    grep -Eq '^bundle_signatures *= *"optional"' -- "$config"
}

# What no release can mend: found before anything is changed, so the release that runs goes on.
check_computer() {
    local needed=1200 free
    [[ $(uname -m) == x86_64 ]] || fail 1 "this computer is $(uname -m); Linewatch runs on x86-64 with AVX2"
    grep -qw avx2 /proc/cpuinfo || fail 1 "this CPU has no AVX2; use one of 2013 (Intel) or 2015 (AMD) or later"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail 1 "python3 is missing or older than 3.11; install it first"
    [[ -z $wheels ]] || python_finds_wheels
    free=$(df --output=avail -BM -- "$(existing "$opt")" | tail -n 1 | tr -dc 0-9)
    ((free >= needed)) || fail 1 "$opt has $free MB left and a release needs $needed; make room first"
    (($(date +%Y) >= 2026)) ||
        echo "linewatch: install: the clock says $(date +%F); set it with timedatectl, or rows get wrong dates" >&2
}

python_finds_wheels() {
    local own held
    own=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    held=$(find "$wheels" -name '*.whl' | sed -nE 's/.*-cp3([0-9]+)-cp3\1-.*/3.\1/p' | sort -uV)
    grep -qxF -- "$own" <<<"$held" && return
    held=${held//$'\n'/ and }
    fail 1 "python3 is $own, and $wheels is for ${held:-none}; install one of these, or leave --wheels out and use a network"
}

existing() { # existing PATH: the nearest folder above that is there
    local path=$1
    while [[ ! -e $path ]]; do path=$(dirname -- "$path"); done
    printf '%s\n' "$path"
}

# A release is a folder named after what is in it, so that a failed installation leaves the running one alone.
install_engine() {
    local locks=("$here"/requirements/{tools,base}.lock) lock
    release=$(cat -- "$wheel" "${locks[@]}" "$unused" "$here"/systemd/* | sha256sum | cut -c1-12)
    local folder=$opt/releases/$release
    if [[ -f $folder/complete ]]; then
        echo "engine: release $release is already installed"
        return
    fi
    local source=()
    [[ -z $wheels ]] || source=(--no-index --find-links "$wheels")
    local pip=("$folder/bin/python" -m pip --quiet --disable-pip-version-check --no-input install)
    run mkdir -p "$opt/releases"
    half=$folder
    run python3 -m venv --clear "$folder"
    for lock in "${locks[@]}"; do # first what installs
        run "${pip[@]}" "${source[@]}" --only-binary :all: --require-hashes -r "$lock"
    done
    run "${pip[@]}" --no-index --no-deps "$wheel"
    remove_unused "$folder"
    run cp -R -- "$here/systemd" "$folder/systemd"
    run sync -f "$(existing "$folder")" # a power cut must not leave the mark without what it stands for
    run touch "$folder/complete"
    run sync -- "$folder" # without the mark the next installation would begin anew in the folder that is in use
    half=""
}

# What is not whole takes no room from the history of the station that runs.
remove_half() {
    [[ -n $half && -e $half ]] || return 0
    rm -rf -- "$half"
    echo "linewatch: install: ${half##*/} could not be completed and is removed; what was in use stays in use" >&2
}

# A station's disk is small. What is left must still load, in the same Python that will run it.
remove_unused() { # remove_unused RELEASE
    local pattern
    while read -r pattern; do
        # shellcheck disable=SC2086 # the pattern is meant to be one
        [[ -z $pattern || $pattern == \#* ]] || run rm -rf "$1"/lib/python3*/site-packages/$pattern
    done <"$unused"
    run "$1/bin/python" -P -c 'import edge.engine.daemon, edge.web.server, onnxruntime'
}

# A bundle of the same name and other content goes beside the old one: a bundle is never changed.
install_bundle() {
    local models=$state/models given=${bundle:-$here/models/default} name
    [[ ! -e $models/current ]] || { echo "bundle: keeping the active one" && return; }
    [[ -f $given/manifest.sha256 ]] || fail 1 "$given is not a bundle; give one with --bundle"
    name=$(basename -- "$(realpath -- "$given")")
    if [[ -e $models/$name ]] && ! cmp -s "$given/manifest.sha256" "$models/$name/manifest.sha256"; then
        name=$name-$(cut -c1-12 "$given/manifest.sha256")
    fi
    [[ -e $models/$name ]] || copy_bundle "$given" "$models/$name"
    [[ -z $bundle || ! -e $config ]] || # a station that lost its models still knows versions and revoked bundles
        run "$opt/releases/$release/bin/python" -P -m edge bundle verify "$models/$name" --config "$config" || exit 1
    point "$models/current" "$name"
}

# Whole, verified and reproducing its scores on this CPU, or not there.
copy_bundle() { # copy_bundle FROM TO
    local draft=$2.new
    half=$draft
    run mkdir -p "$(dirname -- "$2")"
    run rm -rf "$draft"
    run cp -R -- "$1" "$draft"
    run "$opt/releases/$release/bin/python" -P -m edge check "$draft" || exit 1
    settle "$draft" "$2"
    half=""
}

install_config() {
    if [[ -e $config ]]; then
        echo "config: keeping $config"
    else
        install_file "$here/firmware_scripts/station.toml" "$config" 0640 # may come to hold a camera's password
    fi
}

main() {
    parse "wheel= bundle= wheels= wait=" "$@"
    check_arguments
    check_computer
    trap remove_half EXIT
    install_engine
    try_release "$release"
    install_bundle
    install_config
    switch_to "$release"
    own_station
    start_release
    prune_releases
    $dry_run || echo "installed into ${root:-/}"
}

main "$@"
