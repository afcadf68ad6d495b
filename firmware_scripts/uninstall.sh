#!/usr/bin/env bash
# Remove the engine and its units; the configuration, the models and the history stay.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

usage() {
    cat <<'END'
Usage: uninstall.sh [--root DIR] [--dry-run]

Removes opt/linewatch, the systemd units, the udev rules and what provision.sh set. etc/linewatch, var/lib/linewatch and
the users stay: what a person configured and what was inspected is theirs to delete.
END
}

main() {
    parse "" "$@"
    takes_nothing_else
    [[ -d $root ]] || fail 2 "--root needs a folder that exists; see uninstall.sh --help"
    find_station removing from
    services disable --now
    [[ -n $root ]] || try systemctl disable --now linewatch-firewall.service
    run rm -f -- "$root"/etc/systemd/system/linewatch-{engine,page,firewall,bundles}.service
    run rm -f -- "$root/etc/systemd/system/linewatch-bundles.path"
    run rm -f -- "$root"/etc/udev/rules.d/7?-linewatch-*.rules "$root"/etc/{sysusers,tmpfiles}.d/linewatch*.conf
    run rm -f -- "$root"/etc/systemd/{system,timesyncd}.conf.d/linewatch.conf
    run rm -rf -- "$opt"
    [[ -n $root ]] || run systemctl daemon-reload
}

main "$@"
