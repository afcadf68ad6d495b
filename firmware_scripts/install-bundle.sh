#!/usr/bin/env bash
# Let a station judge with a new bundle, or with the one before when the new one does not judge. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
recipe=default wait=120 bundle="" asked=""

usage() {
    cat <<'END'
Usage: install-bundle.sh BUNDLE.lwb [--root DIR] [--config FILE] [--recipe NAME] [--wait S] [--dry-run]

  BUNDLE.lwb     what `python -m train sign` wrote; the folder of a bundle is taken, too
  --root DIR     the station below DIR instead of / (no service is restarted, and nothing is confirmed)
  --config FILE  default: etc/linewatch/station.toml below the root
  --recipe NAME  for which recipe of station.toml; default: default
  --wait S       how long the engine may take to judge with the new bundle; default: 120
  --dry-run      say what would be done, change nothing

The bundle is verified, installed beside the others and proven on this CPU. Then the engine is restarted. When it does
not judge with the new bundle in time, the bundle before judges again. Whatever fails, a bundle that judged stays.
END
}

check_arguments() {
    ((${#rest[@]} < 2)) || fail 2 "one bundle at a time; ${rest[1]} is one too many"
    bundle=${rest[0]-}
    [[ -n $bundle ]] || fail 2 "BUNDLE.lwb is missing; see install-bundle.sh --help"
    [[ -e $bundle ]] || fail 2 "$bundle: no such bundle"
    [[ $wait =~ ^[0-9]{1,4}$ ]] || fail 2 "--wait $wait is no number of seconds"
    bundle=$(realpath -- "$bundle")
    asked=$config
    find_station the bundles
    [[ -z $asked ]] || config=$(realpath -m -- "$asked")
    need_engine
    [[ -f $config ]] || fail 1 "$config: no such file; give the station's with --config"
}

edge_bundle() { # edge_bundle ACT ARGUMENT...
    (cd / && run "$python" -P -m edge bundle "$1" --config "$config" "${@:2}")
}

# The window of the automatic return: it ends with the confirmation, whatever happens to this script.
start_with_it() {
    run systemctl restart linewatch-engine.service || true # the confirmation tells what the engine does
    if edge_bundle confirm --wait "$wait"; then
        return
    fi
    echo "the engine does not judge with the new bundle; the bundle before comes back" >&2
    edge_bundle rollback --automatic
    run systemctl restart linewatch-engine.service
    exit 1
}

main() {
    parse "config= recipe= wait=" "$@"
    check_arguments
    edge_bundle activate "$bundle" --recipe "$recipe"
    if [[ -z $root ]]; then
        start_with_it
    else
        $dry_run || echo "activated in $root; its engine confirms it: python -m edge bundle confirm"
    fi
}

main "$@"
