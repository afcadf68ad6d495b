# shellcheck shell=bash
# What the scripts of a station share; sourced by each of them.
# shellcheck disable=SC2034 # the variables are those of whoever sources this
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=$(basename -- "$0")
readonly here program
dry_run=false root=/ config="" out=. rest=()
readonly units=(linewatch-engine.service linewatch-page.service linewatch-bundles.path)

fail() { # fail CODE MESSAGE
    printf 'linewatch: %s: %s\n' "${program%.sh}" "$2" >&2
    exit "$1"
}

run() { # carry a command out, or only name it
    if $dry_run; then
        printf 'would run: %s\n' "$*"
    else
        "$@"
    fi
}

# What a computer has not, e.g. a container without devices of its own, is named and is no reason to stop.
try() {
    run "$@" || echo "linewatch: ${program%.sh}: this computer does not take: $*" >&2
}

# --NAME VALUE sets the variable NAME, --NAME alone sets it to true; what is no option goes into rest.
# No option is called as these variables are.
parse() { # parse "NAME= NAME ..." ARGUMENT...
    local known_=" root= dry-run $1 " option_
    shift
    while (($#)); do
        option_=${1#--}
        case $1 in
            --help | -h) usage && exit 0 ;;
            --*) ;;
            -*) fail 2 "unknown option $1; see $program --help" ;;
            *) rest+=("$1") && shift && continue ;;
        esac
        if [[ $known_ == *" $option_ "* ]]; then
            printf -v "${option_//-/_}" true && shift
        elif [[ $known_ == *" $option_= "* ]]; then
            [[ -n ${2-} ]] || fail 2 "$1 needs a value; see $program --help"
            printf -v "${option_//-/_}" %s "$2" && shift 2
        else
            fail 2 "unknown option $1; see $program --help"
        fi
    done
}

takes_nothing_else() {
    ((${#rest[@]} == 0)) || fail 2 "${rest[0]} is one too many; see $program --help"
}

# From here on root is empty for the computer itself, else the folder in which a station lies.
find_station() { # find_station WHAT...
    root=$(realpath -m -- "$root")
    root=${root%/}
    [[ -n $root ]] || $dry_run || ((EUID == 0)) || fail 1 "$* of / needs root; use sudo, or --root DIR"
    state=$root/var/lib/linewatch settings=$root/etc/linewatch opt=$root/opt/linewatch
    config=$settings/station.toml python=$opt/current/bin/python
    umask 022 # the users of the services read what root installs
}

need_engine() {
    [[ -x $python ]] || fail 1 "no engine is installed in ${root:-/}; run install.sh first"
}

edge() { # edge VERB ARGUMENT...: of the release that is in use
    (cd / && "$python" -P -m edge "$@")
}

services() { # services VERB OPTION: of the computer itself; a station in a folder has none
    local unit there=()
    [[ -z $root ]] || return 0
    for unit in "${units[@]}" $([[ $1 == start ]] || echo linewatch-bundles.service); do
        [[ ! -e /etc/systemd/system/$unit ]] || there+=("$unit") # an older release has fewer
    done
    ((${#there[@]} == 0)) || run systemctl "$@" "${there[@]}"
}

engine_is_off() {
    local lock=$state/engine.lock
    [[ ! -e $lock ]] || (flock --nonblock 9) 9<"$lock" ||
        fail 1 "the engine of ${root:-/} runs; run: systemctl stop ${units[*]}"
}

# What is new takes its place in one step, and whole also when the power goes: its content is on the disk before its name.
settle() { # settle NEW PLACE
    run find "$1" ! -type l -exec sync -- {} +
    run mv -T -- "$1" "$2"
    run sync -- "$(dirname -- "$2")"
}

install_file() { # install_file FILE PLACE [MODE]
    run install -D -m "${3:-0644}" -- "$1" "$2.new"
    settle "$2.new" "$2"
}

# Units, rules, users and folders: those of the release in use; before the first one those beside this script.
files_in_use() {
    if [[ -d $opt/current/systemd ]]; then echo "$opt/current/systemd"; else echo "$here/systemd"; fi
}

install_files() { # install_files FOLDER KIND...: to where systemd and udev look for them
    local kind file
    for kind in "${@:2}"; do
        for file in "$1"/*."$kind"; do
            case $kind in
                service | path) install_file "$file" "$root/etc/systemd/system/${file##*/}" ;;
                rules) install_file "$file" "$root/etc/udev/rules.d/${file##*/}" ;;
                sysusers | tmpfiles) install_file "$file" "$root/etc/$kind.d/linewatch.conf" ;;
            esac
        done
    done
}

# Whoever follows the link meanwhile finds the old folder or the new one.
point() { # point LINK TARGET
    run ln -sfn -- "$2" "$1.new"
    settle "$1.new" "$1"
}

# One file for a person to carry, out of a folder `work` that goes when the script ends.
name_file() { # name_file KIND ENDING
    file=$(realpath -m -- "$out")/linewatch-$1-$(date -u +%Y%m%dT%H%M%SZ).$2
    $dry_run && echo "would write: $file" && exit 0
    forget_killed "$1"
    work=$(mktemp -d --tmpdir "linewatch-$1.XXXXXXXXXX")
    exec 7<"$work" && flock 7
    trap 'rm -rf "$work"' EXIT
    mkdir -p -- "$(dirname -- "$file")"
    rm -f -- "${file%/*}/linewatch-$1-"*."$2.new"
}

# What a script that was killed left holds secrets. One that is at work has its folder locked.
forget_killed() { # forget_killed KIND
    local left
    while IFS= read -r -d '' left; do
        flock --nonblock -- "$left" rm -rf -- "$left" || true
    done < <(find "${TMPDIR:-/tmp}" -maxdepth 1 -type d -user "$EUID" -name "linewatch-$1.*" -print0)
}

# The users, and who owns what: docs/decisions/0026-two-users.md. In a folder there are no users, only folders.
own_station() {
    run mkdir -p "$state/models" "$settings/trust"
    give_the_page_its_folder
    install_files "$(files_in_use)" sysusers tmpfiles
    [[ -z $root ]] || return 0
    run systemd-sysusers /etc/sysusers.d/linewatch.conf
    run systemd-tmpfiles --create /etc/tmpfiles.d/linewatch.conf
    run chown -R -h root:root "$state/models"
    run chown -R -h linewatch-page:linewatch-page "$state/page"
    [[ ! -e $state/events.ids ]] || run chown linewatch:linewatch "$state/events.ids"
    own_settings
}

# Before page and engine had a user each, the page wrote beside the history. Its folder appears with all that it wrote.
give_the_page_its_folder() {
    local file written=()
    for file in "$state"/{people,audit,reviews,orders}.db "$state"/page-{certificate,key}.pem; do
        [[ ! -e $file ]] || written+=("$file")
    done
    if [[ ! -d $state/page ]]; then
        [[ -n $root || ${#written[@]} -eq 0 ]] || run systemctl stop linewatch-page.service
        run rm -rf -- "$state/page.new"
        run mkdir -m 0700 -p -- "$state/page.new"
        for file in "${written[@]}"; do
            run python3 "$here/firmware_scripts/state.py" copy "$file" "$state/page.new/${file##*/}"
        done
        settle "$state/page.new" "$state/page"
    fi
    for file in "${written[@]}"; do
        run rm -f -- "$file" "$file-wal" "$file-shm"
    done
}

# A secret that the engine's user owned is root's now; the engine reads it, and the page does not.
own_settings() {
    local key
    run find "$settings" -type f -user linewatch -exec chown -h root:linewatch-engine {} + -exec chmod 0640 {} +
    run find "$settings" ! -user root -exec chown -h root {} +
    run chmod -R go-w "$settings"
    [[ -e $config ]] || return 0
    run chgrp linewatch "$config"
    run chmod 0640 "$config"
    key=$(sed -n 's/^private_key *= *"\(.*\)".*/\1/p' "$config")
    [[ ! -f $key ]] || run chgrp linewatch-page "$key"
}
