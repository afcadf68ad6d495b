#!/usr/bin/env bash
# Go back to the release that was in use before. Safe to run again: the one after it is kept, and it is the way back.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
# shellcheck source=firmware_scripts/release.sh
source "$here/firmware_scripts/release.sh"
wait=600

usage() {
    cat <<'END'
Usage: rollback.sh [--root DIR] [--wait S] [--dry-run]

  --root DIR     the station below DIR instead of / (no service is restarted)
  --wait S       how long a busy computer may take to get the release ready; default: 600
  --dry-run      say what would be done, change nothing

The engine, the page and what they need change. The bundle stays: install-bundle.sh and `edge bundle rollback` change it.
END
}

main() {
    parse "wait=" "$@"
    takes_nothing_else
    [[ $wait =~ ^[0-9]{1,5}$ ]] || fail 2 "--wait $wait is no number of seconds"
    find_station the releases
    local before
    before=$(returning_to)
    [[ -n $before ]] || before=$(before_it)
    [[ -n $before && -f $opt/releases/$before/complete ]] ||
        fail 1 "no release was in use before in ${root:-/}; install one with install.sh"
    try_release "$before"
    point "$opt/returning" "releases/$before"
    switch_to "$before"
    own_station
    start_release
    $dry_run || echo "release $before is in use in ${root:-/}"
}

main "$@"
