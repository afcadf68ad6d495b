#!/usr/bin/env bash
# Remove the engine and its units; the configuration, the models and the history go with --purge. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
purge=false yes=false

usage() {
    cat <<'END'
Usage: uninstall.sh [--purge --yes] [--root DIR] [--dry-run]

  --purge     remove also what a person configured and what was inspected: etc/linewatch with the secrets and keys,
              var/lib/linewatch with bundles, history and people, drop-ins of the units, the users and groups
  --yes       without it nothing is purged
  --root DIR  the station below DIR instead of /
  --dry-run   say what would be done, change nothing

Removes opt/linewatch, the systemd units, the udev rules and what provision.sh set. Without --purge etc/linewatch,
var/lib/linewatch and the users stay. Backups, the journal and packages of the distribution stay in any case.
END
}

remove_engine() {
    services disable --now
    [[ -n $root ]] || try systemctl disable --now linewatch-firewall.service
    ! $purge || engine_is_off
    run rm -f -- "$root"/etc/systemd/system/linewatch-{engine,page,firewall,bundles}.service
    run rm -f -- "$root/etc/systemd/system/linewatch-bundles.path"
    run rm -f -- "$root"/etc/udev/rules.d/7?-linewatch-*.rules "$root"/etc/{sysusers,tmpfiles}.d/linewatch*.conf
    run rm -f -- "$root"/etc/systemd/{system,timesyncd}.conf.d/linewatch.conf
    run rm -rf -- "$opt"
    [[ -n $root ]] || run systemctl daemon-reload
    [[ -n $root ]] || try udevadm control --reload
}

# Whatever remains after a kill is found again: station.toml, which names the folders, goes last.
forget() {
    local elsewhere
    elsewhere=$(sed -n 's/^state_dir *= *"\(.*\)".*/\1/p' "$config" 2>/dev/null || true)
    [[ ! -d $state ]] || run find "$state/" -mindepth 1 -delete
    [[ ! -e $state && ! -L $state ]] || try rm -d -- "$state" # a disk of its own is mounted there and stays, empty
    run rm -rf -- "$root/run/linewatch" "$root"/etc/systemd/system/linewatch-*.d
    [[ -n $root ]] || forget_users
    run rm -rf -- "$settings"
    [[ -z $elsewhere || $elsewhere == "$state" || ! -e $elsewhere ]] || echo "kept: $elsewhere, the state_dir of station.toml"
}

forget_users() {
    local name
    for name in linewatch-page linewatch; do
        ! getent passwd "$name" >/dev/null || run userdel "$name"
    done
    for name in linewatch-page linewatch linewatch-engine; do
        ! getent group "$name" >/dev/null || run groupdel "$name"
    done
}

main() {
    parse "purge yes" "$@"
    takes_nothing_else
    [[ -d $root ]] || fail 2 "--root needs a folder that exists; see uninstall.sh --help"
    find_station removing from
    ! $purge || $yes || $dry_run ||
        fail 2 "--purge removes the history, the bundles, the people and the keys of ${root:-/}; say so with --yes"
    remove_engine
    ! $purge || forget
    $dry_run || $purge || echo "removed from ${root:-/}; kept: $settings, $state, the users, the journal"
    $dry_run || ! $purge || echo "removed from ${root:-/}; kept: the journal, backups, packages of the distribution"
}

main "$@"
