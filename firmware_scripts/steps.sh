# shellcheck shell=bash
# What install.sh and uninstall.sh share; sourced by both.
dry_run=false

fail() { # fail CODE MESSAGE
    printf 'linewatch: %s: %s\n' "$(basename -- "$0" .sh)" "$2" >&2
    exit "$1"
}

run() { # carry a command out, or only name it
    if $dry_run; then
        printf 'would run: %s\n' "$*"
    else
        "$@"
    fi
}
