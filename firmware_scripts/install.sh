#!/usr/bin/env bash
# Install Linewatch on a station, or into a folder that will become one. Safe to run again at any time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly here unused=$here/firmware_scripts/unused.txt
# shellcheck source=firmware_scripts/steps.sh
source "$here/firmware_scripts/steps.sh"
wheel="" root=/ bundle="" wheels="" config=""

usage() {
    cat <<'END'
Usage: install.sh --wheel FILE [--root DIR] [--bundle DIR] [--wheels DIR] [--dry-run]

  --wheel FILE   the engine, built with: pip wheel . --no-deps
  --root DIR     install below DIR instead of / (no user is made, no service is started)
  --bundle DIR   the model to inspect with; default: models/default, where no model is active yet
  --wheels DIR   take the dependencies from DIR, without a network (filled by: pip download)
  --dry-run      say what would be done, change nothing

What a person owns is never overwritten: etc/linewatch/station.toml, models, the history.
END
}

parse_arguments() {
    while (($#)); do
        case $1 in
            --help | -h) usage && exit 0 ;;
            --dry-run) dry_run=true && shift && continue ;;
            --wheel | --root | --bundle | --wheels) ;;
            *) fail 2 "unknown option $1; see install.sh --help" ;;
        esac
        [[ -n ${2-} ]] || fail 2 "$1 needs a value; see install.sh --help"
        printf -v "${1#--}" %s "$2"
        shift 2
    done
}

check_arguments() {
    [[ -n $wheel ]] || fail 2 "--wheel FILE is missing; see install.sh --help"
    [[ $wheel == *.whl && -f $wheel ]] || fail 2 "$wheel is not a wheel; build one with: pip wheel . --no-deps"
    [[ -z $wheels || -d $wheels ]] || fail 2 "$wheels is not a folder of wheels"
    [[ -z $bundle || -f $bundle/manifest.json ]] || fail 2 "$bundle is not a bundle: it has no manifest.json"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail 1 "python3 is missing or older than 3.11; install it first"
    root=$(realpath -m -- "$root")
    [[ $root != / ]] || $dry_run || ((EUID == 0)) || fail 1 "installing into / needs root; use sudo, or --root DIR"
    root=${root%/}
    config=$root/etc/linewatch/station.toml
    [[ -z $bundle || ! -e $config ]] || takes_unsigned ||
        fail 1 "$config takes signed bundles only; install the bundle with install-bundle.sh"
}

takes_unsigned() {
    grep -Eq '^bundle_signatures *= *"optional"' -- "$config"
}

# A station.toml that this release does not take, e.g. one without a word on signatures, leaves the old one running.
refuse_config() { # refuse_config RELEASE
    [[ -n $root || ! -e $config || ! -e $root/opt/linewatch/current ]] ||
        (cd / && run "$1/bin/python" -P -m edge bundle verify --config "$config") ||
        fail 1 "the release that was there goes on; correct $config, then run this again"
}

# A release is a folder named after what is in it, so that a failed installation leaves the running one alone.
install_engine() {
    local lock=$here/requirements/base.lock digest release
    digest=$(cat -- "$wheel" "$lock" "$unused" | sha256sum | cut -c1-12)
    release=$root/opt/linewatch/releases/$digest
    if [[ -f $release/complete ]]; then
        echo "engine: release $digest is already installed"
    else
        local source=()
        [[ -z $wheels ]] || source=(--no-index --find-links "$wheels")
        local pip=("$release/bin/python" -m pip --quiet --disable-pip-version-check --no-input install)
        run mkdir -p "$root/opt/linewatch/releases"
        run python3 -m venv --clear "$release"
        run "${pip[@]}" "${source[@]}" --only-binary :all: --require-hashes -r "$lock"
        run "${pip[@]}" --no-index --no-deps "$wheel"
        remove_unused "$release"
        run touch "$release/complete"
    fi
    refuse_config "$release"
    run ln -sfn "releases/$digest" "$root/opt/linewatch/current"
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
    local models=$root/var/lib/linewatch/models given=${bundle:-$here/models/default} name
    [[ -n $bundle || ! -e $models/current ]] || { echo "bundle: keeping the active one" && return; }
    [[ -f $given/manifest.sha256 ]] || fail 1 "$given is not a bundle; give one with --bundle"
    name=$(basename -- "$(realpath -- "$given")")
    if [[ -e $models/$name ]] && ! cmp -s "$given/manifest.sha256" "$models/$name/manifest.sha256"; then
        name=$name-$(cut -c1-12 "$given/manifest.sha256")
    fi
    [[ -e $models/$name ]] || copy_bundle "$given" "$models/$name"
    run ln -sfn "$name" "$models/current"
}

# Whole, verified and reproducing its scores on this CPU, or not there.
copy_bundle() { # copy_bundle FROM TO
    local draft=$2.new
    run mkdir -p "$(dirname -- "$2")"
    run rm -rf "$draft"
    run cp -R -- "$1" "$draft"
    run "$root/opt/linewatch/current/bin/python" -P -m edge check "$draft" || { rm -rf "$draft" && exit 1; }
    run mv -T "$draft" "$2"
}

install_files() {
    run mkdir -p "$root/etc/linewatch" "$root/etc/systemd/system" "$root/etc/udev/rules.d"
    run install -m 0644 "$here"/systemd/*.service "$root/etc/systemd/system"
    run install -m 0644 "$here"/systemd/*.rules "$root/etc/udev/rules.d"
    if [[ -e $config ]]; then
        echo "config: keeping $config"
    else
        run install -m 0640 "$here/firmware_scripts/station.toml" "$config" # may come to hold a camera's password
    fi
}

make_user() {
    id linewatch >/dev/null 2>&1 ||
        run useradd --system --home-dir /var/lib/linewatch --shell /usr/sbin/nologin linewatch
    run chown linewatch:linewatch /var/lib/linewatch
    run chown -R -h linewatch:linewatch /var/lib/linewatch/models
    run chgrp linewatch /etc/linewatch/station.toml
}

start_services() {
    run udevadm control --reload
    run systemctl daemon-reload
    run systemctl enable linewatch-engine.service linewatch-page.service
    run systemctl restart linewatch-engine.service linewatch-page.service
}

main() {
    umask 022 # the engine's user must be able to read what root installs
    parse_arguments "$@"
    check_arguments
    install_engine
    install_bundle
    install_files
    if [[ -z $root ]]; then
        make_user
        start_services
    fi
    $dry_run || echo "installed into ${root:-/}"
}

main "$@"
