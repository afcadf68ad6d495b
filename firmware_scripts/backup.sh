#!/usr/bin/env bash
# Write what a station must not lose into one file, also while it inspects. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

usage() {
    cat <<'END'
Usage: backup.sh [--out DIR] [--root DIR] [--dry-run]

  --out DIR   where linewatch-backup-DATE.tar is written; default: the present folder
  --root DIR  the station below DIR instead of /
  --dry-run   say what would be done, change nothing

The file holds the history, the people and their acts, limits, baselines, bundles, keys, versions and the settings with
their secrets, so only its owner can read it. Pictures are not in it: copy var/lib/linewatch/images while the engine is off.
END
}

# The mark of the ids comes after the history, so it is never behind it.
copy_state() { # copy_state FOLDER
    local file
    run mkdir -p -- "$1/state"
    while IFS= read -r -d '' file; do
        run mkdir -p -- "$(dirname -- "$1/state/$file")"
        run python3 "$here/firmware_scripts/state.py" copy "$state/$file" "$1/state/$file"
    done < <(cd "$state" && kept | LC_ALL=C sort -z)
}

kept() { # what lies in the state and is no picture, no bundle and no leftover
    find . \( -name images -o -name models -o -name '*.new' -o -name 'before-restore*' \) -prune -o \
        -type f ! -name '*-wal' ! -name '*-shm' ! -name '*.lock' ! -name '.*.tmp' -printf '%P\0'
}

copy_bundles() { # copy_bundles FOLDER
    local entry
    run mkdir -p -- "$1/models"
    for entry in "$state"/models/*; do
        if [[ -L $entry ]]; then
            printf '%s %s\n' "${entry##*/}" "$(basename -- "$(readlink -- "$entry")")"
        elif [[ -d $entry && $entry != *.new ]]; then
            run cp -R -- "$entry" "$1/models/" >&2
        fi
    done >"$1/links"
}

pack() { # pack FOLDER FILE
    (cd "$1" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >"$1.sums"
    mv -- "$1.sums" "$1/SHA256SUMS"
    (umask 077 && tar --create --file "$2.new" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner \
        -C "$(dirname -- "$1")" "$(basename -- "$1")")
    settle "$2.new" "$2"
}

main() {
    parse "out=" "$@"
    takes_nothing_else
    find_station the backup
    [[ -d $state && -d $settings ]] || fail 1 "no station lies in ${root:-/}; give its folder with --root"
    name_file backup tar
    mkdir -p -- "$work/backup/settings"
    exec 8<"$settings" # no bundle is activated meanwhile
    [[ ! -d $settings/trust ]] || { exec 8<"$settings/trust" && flock --wait 60 8; } ||
        fail 1 "$settings/trust: another act is at work; wait for it"
    copy_state "$work/backup"
    copy_bundles "$work/backup"
    cp -R -- "$settings/." "$work/backup/settings/"
    pack "$work/backup" "$file"
    echo "$file"
}

main "$@"
