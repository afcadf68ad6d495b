# shellcheck shell=bash
# The releases of a station: one is in use, one was before it. Sourced by install.sh and rollback.sh after steps.sh.
# shellcheck disable=SC2154 # the variables are those of steps.sh and of whoever sources this
# docs/decisions/0027-a-release-that-gives-way.md

in_use() { # the release that is in use, empty when none is
    basename -- "$(readlink -- "$opt/current" 2>/dev/null)" 2>/dev/null || true
}

before_it() {
    basename -- "$(readlink -- "$opt/previous" 2>/dev/null)" 2>/dev/null || true
}

# Where a rollback that was killed was going; without it the next one would go back to where that one came from.
returning_to() {
    local name
    name=$(basename -- "$(readlink -- "$opt/returning" 2>/dev/null)" 2>/dev/null || true)
    [[ ! -f $opt/releases/$name/complete ]] || printf '%s\n' "$name"
}

arrived() {
    [[ ! -L $opt/returning ]] || { run rm -f -- "$opt/returning" && run sync -- "$opt"; }
}

of_release() { # of_release NAME VERB ARGUMENT...
    (cd / && "$opt/releases/$1/bin/python" -P -m edge "${@:2}")
}

# A station.toml or bundles that this release does not take leave the one that runs alone.
try_release() { # try_release NAME
    [[ -e $opt/current && $(in_use) != "$1" ]] || return 0
    if $dry_run; then
        echo "would run: $opt/releases/$1/bin/python -P -m edge bundle verify --config $config"
        return
    fi
    [[ -n $root || ! -e $config ]] || of_release "$1" bundle verify --config "$config" ||
        fail 1 "the release that was there goes on; correct $config, then run this again"
    judges_here "$1" && return
    (($? != 124)) || fail 1 "no processor was idle for $wait s; stop the line for the update, or give a longer --wait"
    fail 1 "release $1 does not judge as it should on this CPU; the release that was there goes on"
}

# The references of every recipe's bundle, beside an engine that judges: only while a processor has nothing else to do.
judges_here() { # judges_here NAME
    local models model end=$((SECONDS + wait))
    models=$(configured "$1") || return 1
    while IFS= read -r model; do
        [[ -d $model ]] || continue
        timeout $((SECONDS < end ? end - SECONDS : 1)) \
            chrt --idle 0 "$opt/releases/$1/bin/python" -P -m edge check "$model" || return
    done <<<"$models"
}

# The bundles of station.toml as a release reads them, the default first. In a folder these paths lead elsewhere.
configured() { # configured RELEASE
    local code='import edge.config.load, os, pathlib, sys
for path in edge.config.load.load_config(pathlib.Path(sys.argv[1])).bundles.values(): print(os.path.realpath(path))'
    if [[ -z $root && -e $config ]]; then
        (cd / && "$opt/releases/$1/bin/python" -P -c "$code" "$config")
    else
        realpath -m -- "$state/models/current"
    fi
}

switch_to() { # switch_to NAME
    local now
    now=$(in_use)
    [[ $(returning_to) == "$1" ]] || arrived
    run sync -f -- "$opt" "$state" "$settings" # also the folders above what was settled
    [[ -z $now || $now == "$1" ]] || point "$opt/previous" "releases/$now"
    point "$opt/current" "releases/$1"
    bring_files "$1"
}

# The units and the camera's rule are those of the release that is switched to, in either direction.
bring_files() { # bring_files RELEASE
    local from=$opt/releases/$1/systemd
    [[ -d $from ]] || ! $dry_run || from=$here/systemd
    [[ ! -d $from ]] || install_files "$from" service path rules # a release of before has none
    [[ -z $root ]] || return 0
    try udevadm control --reload
    run systemctl daemon-reload
}

# Start the release in use; when it does not get ready for a reason of its own, the one before takes over again.
start_release() {
    local was
    [[ -z $root ]] || { arrived && return; }
    run systemctl enable "${units[@]}"
    was=$($dry_run || unit_says InvocationID)
    run systemctl restart --no-block "${units[@]}"
    $dry_run || gets_ready "$was" || give_way
    arrived
}

# An engine that ends by itself has a reason of its own. One that is merely slow is compared with the release before.
gets_ready() { # gets_ready INVOCATION: of the engine that ran before
    local give_up=$((SECONDS + wait)) was=$1 now restarts
    while ((SECONDS < give_up)); do
        ! stays_ready "$was" || return 0
        now=$(unit_says InvocationID) # asked first: until the engine that ran before has ended, the count is its own
        restarts=$(unit_says NRestarts)
        if [[ $now != "$was" ]] && ((${restarts:-0} >= 3)); then
            [[ $(unit_says Result) == timeout ]] && merely_slow || return 1
            echo "the computer is busy: no release gets ready in two minutes; waiting" >&2
            was=$(unit_says InvocationID)
            systemctl restart --no-block linewatch-engine.service
        fi
        sleep 1
    done
    merely_slow || return 1
    arrived
    fail 3 "the computer is too busy to get any release ready in $wait s; release $(in_use) is installed and goes on trying"
}

# READY, and still there five seconds later.
stays_ready() { # stays_ready INVOCATION
    local now
    now=$(unit_says InvocationID)
    [[ $(unit_says ActiveState) == active && $now != "$1" ]] || return 1
    sleep 5
    [[ $(unit_says ActiveState) == active && $(unit_says InvocationID) == "$now" ]]
}

unit_says() { # unit_says PROPERTY: one word about the engine
    systemctl show --property "$1" --value linewatch-engine.service
}

# The same question to both: whoever is the only slow one has a fault. A first release has nobody to be compared with; its
# references were scored on this CPU before it started, so what is slow is the computer.
merely_slow() {
    local before model
    [[ $(unit_says Result) =~ ^(timeout|success|)$ ]] || return 1 # it ended by itself
    before=$(before_it)
    [[ -n $before ]] || return 0
    model=$(configured "$before" | head -n 1)
    ! timeout 60 "$opt/releases/$before/bin/python" -P -m edge check "$model" >/dev/null
}

# The last line of the engine itself, for whoever reads no journal.
its_reason() {
    journalctl --unit linewatch-engine.service --output cat --lines 50 --no-pager 2>/dev/null |
        sed -n 's/^linewatch: /: /p' | tail -n 1
}

give_way() {
    local now before reason
    now=$(in_use) before=$(before_it) reason=$(its_reason || true)
    [[ -n $before && -f $opt/releases/$before/complete ]] ||
        fail 1 "release $now does not get ready$reason; none was before it; see journalctl -u linewatch-engine"
    point "$opt/current" "releases/$before"
    run rm -f -- "$opt/previous"
    arrived
    bring_files "$before"
    own_station
    systemctl restart --no-block "${units[@]}"
    fail 1 "release $now does not get ready$reason; release $before is in use again, see journalctl -u linewatch-engine"
}

# What is neither in use nor before it goes, and what a kill left half-made.
prune_releases() {
    local folder name kept
    kept=" $(in_use) $(before_it) "
    for folder in "$opt"/releases/*; do
        name=${folder##*/}
        [[ ! -d $folder || $kept == *" $name "* ]] || run rm -rf -- "$folder"
    done
    for folder in "$state"/models/*.new "$opt"/*.new; do
        [[ ! -e $folder && ! -L $folder ]] || run rm -rf -- "$folder"
    done
}
