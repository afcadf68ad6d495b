#!/usr/bin/env bash
# Remove what a station saw and who worked there. Versions, keys and the count of ids stay. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
yes=false

usage() {
    cat <<'END'
Usage: factory-reset.sh --yes [--root DIR] [--dry-run]

  --yes       without it nothing is removed
  --root DIR  the station below DIR instead of /
  --dry-run   say what would be done, change nothing

Removes the history, pictures, people, their acts, baselines, certificates, secrets and station.toml, which becomes the
example again; whether unsigned bundles judge stays as it was. The release, the bundles, the keys and versions in etc/linewatch/trust, the firewall and the count of ids stay: no
older bundle judges afterwards, and no id comes twice. Make a backup first.
END
}

# A station that takes signed bundles only goes on so: the example is for a demo, and its two lines are left out.
install_example() {
    local example=$here/firmware_scripts/station.toml lax='^bundle_signatures *= *"optional"'
    if grep -Eqs -- "$lax" "$config"; then
        install_file "$example" "$config" 0640
    else
        install_file <(grep -Ev -- "$lax|^# The bundle that comes with Linewatch is not signed" "$example") "$config" 0640
    fi
}

main() {
    parse "yes" "$@"
    takes_nothing_else
    find_station the reset
    need_engine
    $yes || $dry_run || fail 2 "this removes the history and the people of ${root:-/}; say so with --yes"
    services stop
    engine_is_off
    run "$python" -P "$here/firmware_scripts/state.py" ids "$state/events.ids" 0 "$state/events.db"
    run find "$state" -mindepth 1 -maxdepth 1 ! -name models ! -name events.ids -exec rm -rf -- {} +
    run find "$settings" -mindepth 1 -maxdepth 1 ! -name trust ! -name station.toml ! -name firewall.nft -exec rm -rf -- {} +
    install_example
    run sync -- "$state" "$settings"
    own_station
    services start --no-block
    $dry_run || echo "reset ${root:-/}"
}

main "$@"
