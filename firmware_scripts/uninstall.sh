#!/usr/bin/env bash
# Remove the engine and its units; the configuration, the models and the history stay.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
root=/

usage() {
    cat <<'END'
Usage: uninstall.sh [--root DIR] [--dry-run]

Removes opt/linewatch, the systemd units and the udev rule. etc/linewatch and var/lib/linewatch stay:
what a person configured and what was inspected is theirs to delete.
END
}

parse_arguments() {
    while (($#)); do
        case $1 in
            --help | -h) usage && exit 0 ;;
            --dry-run) dry_run=true && shift ;;
            --root)
                [[ -d ${2-} ]] || fail 2 "--root needs a folder that exists; see uninstall.sh --help"
                root=$2 && shift 2
                ;;
            *) fail 2 "unknown option $1; see uninstall.sh --help" ;;
        esac
    done
}

main() {
    parse_arguments "$@"
    root=$(realpath -- "$root")
    root=${root%/}
    if [[ -z $root ]]; then
        $dry_run || ((EUID == 0)) || fail 1 "removing from / needs root; use sudo, or --root DIR"
        run systemctl disable --now linewatch-engine.service linewatch-page.service
    fi
    run rm -f "$root"/etc/systemd/system/linewatch-{engine,page}.service
    run rm -f "$root/etc/udev/rules.d/70-linewatch-camera.rules"
    run rm -rf "$root/opt/linewatch"
    if [[ -z $root ]]; then
        run systemctl daemon-reload
    fi
}

main "$@"
