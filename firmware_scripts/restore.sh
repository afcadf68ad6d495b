#!/usr/bin/env bash
# Bring back what backup.sh wrote. Ids, versions, retired keys and revoked bundles never go back. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
margin=1000000

usage() {
    cat <<'END'
Usage: restore.sh BACKUP.tar [--root DIR] [--margin N] [--dry-run]

  BACKUP.tar  what backup.sh wrote
  --root DIR  the station below DIR instead of /
  --margin N  how many parts the station may have judged after the backup, where it is not this station that is
              restored: their ids are never given again; default: 1000000
  --dry-run   say what would be done, change nothing

Linewatch must be installed. What lies there now is kept beside, in before-restore-DATE. A backup holds what decides
what leaves the factory: restore none whose way here you do not know.
END
}

check_arguments() {
    ((${#rest[@]} == 1)) || fail 2 "give one BACKUP.tar; see restore.sh --help"
    [[ -f ${rest[0]} ]] || fail 2 "${rest[0]}: no such file"
    [[ $margin =~ ^[0-9]{1,9}$ ]] || fail 2 "--margin $margin is no number of parts"
    archive=$(realpath -- "${rest[0]}")
    find_station the backup
    need_engine
    draft=$state/restore.new aside=$state/before-restore
}

# Plain files and folders below backup/, and none besides; their sums are looked at before anything changes.
unpack() {
    local listed names
    listed=$(tar -P -tvf "$archive" 2>/dev/null) || fail 1 "$archive is damaged or no backup; copy it again"
    ! grep -qv '^[-d]' <<<"$listed" || fail 1 "$archive holds links or devices; it is no backup"
    names=$(tar -P -tf "$archive" 2>/dev/null)
    ! grep -Eqv '^backup/|^backup$' <<<"$names" || fail 1 "$archive is no backup"
    ! grep -Eq '(^|/)[.][.](/|$)|[\\]' <<<"$names" || fail 1 "$archive names places outside of itself; it is no backup"
    run rm -rf -- "$draft"
    run mkdir -m 0700 -p -- "$draft"
    run tar -x --no-same-owner --no-same-permissions -f "$archive" -C "$draft" --strip-components=1 ||
        fail 1 "$archive cannot be unpacked below $state; make room first"
    $dry_run || (cd "$draft" && sha256sum --check --strict --quiet SHA256SUMS >/dev/null 2>&1) ||
        fail 1 "$archive is damaged: a sum does not fit; copy it again"
    $dry_run || (($(find "$draft" -type f | wc -l) == $(wc -l <"$draft/SHA256SUMS") + 1)) ||
        fail 1 "$archive holds files without a sum; it is no backup"
}

# Bundles are added and none is exchanged. A station that has a note of versions goes on judging with its own.
put_bundles() {
    local bundle name target
    run mkdir -p -- "$state/models"
    for bundle in "$draft"/models/*; do
        name=${bundle##*/}
        [[ -d $bundle && ! -e $state/models/$name ]] || continue
        run rm -rf -- "$state/models/$name.new"
        run cp -R -- "$bundle" "$state/models/$name.new"
        settle "$state/models/$name.new" "$state/models/$name"
    done
    [[ ! -e $settings/trust/versions.json && -e $draft/links ]] || return 0
    while read -r name target; do
        [[ ! -d $state/models/$target ]] || point "$state/models/$name" "$target"
    done <"$draft/links"
}

# No id is given that the rows here, the mark here or the backup show, or that the lost station may have given.
raise_what_never_goes_back() {
    [[ ! -d $draft/settings/trust ]] ||
        run "$python" -P "$here/firmware_scripts/state.py" trust "$draft/settings/trust" "$settings/trust"
    run "$python" -P "$here/firmware_scripts/state.py" ids "$state/events.ids" "$margin" \
        "$draft/state/events.db" "$draft/state/events.ids" "$state/events.db"
}

# All that is here goes aside, before the first file comes in: a database and another one's log make no database.
put_aside() {
    local entry
    [[ ! -e $aside/complete ]] || return 0
    run mkdir -p -- "$aside"
    for entry in "$state"/*; do
        case ${entry##*/} in
            images | models | page | events.ids | *.lock | restore.new | before-restore*) ;;
            *) run mv -n -- "$entry" "$aside/" ;;
        esac
    done
    run mkdir -p -- "$aside/page" "$state/page"
    for entry in "$state"/page/*; do
        [[ ! -e $entry ]] || run mv -n -- "$entry" "$aside/page/"
    done
    [[ ! -e $config ]] || run cp -- "$config" "$aside/station.toml"
    run sync -- "$aside" "$aside/page" "$state" "$state/page" # a log that came back would be taken for the new history's
    run touch "$aside/complete"
}

put_in() {
    local entry
    for entry in "$draft"/state/*; do
        [[ ${entry##*/} == page || ${entry##*/} == events.ids || ! -e $entry ]] || put "$entry" "$state" linewatch:linewatch
    done
    for entry in "$draft"/state/page/*; do
        [[ ! -e $entry ]] || put "$entry" "$state/page" linewatch-page:linewatch-page
    done
    for entry in "$draft"/settings/*; do
        [[ ${entry##*/} == trust ]] || put "$entry" "$settings" root:linewatch-engine
    done
}

put() { # put ENTRY FOLDER OWNER: in one step, over what an earlier try put there; the page reads what the engine owns
    local target=$2/${1##*/}
    run rm -rf -- "$target.new"
    run cp -R -- "$1" "$target.new"
    run chmod -R u=rwX,g=rX,o= "$target.new"
    [[ -n $root ]] || run chown -R -h "$3" "$target.new"
    [[ ! -d $target ]] || run rm -rf -- "$target"
    settle "$target.new" "$target"
}

main() {
    parse "margin=" "$@"
    check_arguments
    unpack
    services stop
    engine_is_off
    put_bundles
    raise_what_never_goes_back
    put_aside
    put_in
    own_station
    run mv -T -- "$aside" "$aside-$(date -u +%Y%m%dT%H%M%S.%3NZ)" # a second restore in one second has another name
    run rm -rf -- "$draft"
    services start --no-block
    $dry_run || echo "restored into ${root:-/}; people who were removed after the backup are back: look with edge users"
}

main "$@"
