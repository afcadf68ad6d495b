# What is done to a station besides installing: prepared, backed up, restored, reset, looked into.

load a_station

setup_file() {
    load a_station
    without_disk
    export STATION="$BATS_FILE_TMPDIR/one station"
    make_engine "$STATION"
    write_station_toml "$STATION"
    (cd "$REPO" && "$PYTHON" - "$STATION") <<'END'
import json, sys
from pathlib import Path

from edge.history.audit import AuditLog, Deed
from edge.history.eventlog import EventLog
from edge.inference.release.versions import Versions, store_versions
from edge.people.roles import Role
from edge.people.store import People
from tests.edge.engine.parts import inspection
from tests.edge.inference.release.signing import Signer

root = Path(sys.argv[1])
state, trust = root / "var/lib/linewatch", root / "etc/linewatch/trust"
log = EventLog(state / "events.db")
log.reserve(32)
for number in range(1, 41):
    log.append(inspection(number))
log.close()
page = state / "page"
page.mkdir()
people = People(page)
people.add("Ada", Role.ENGINEER)
people.close()
audit = AuditLog(page)
audit.append(Deed("Ada", "engineer", "page", "", "bats", "recipe"))
audit.close()
(state / "images").mkdir()
(state / "images" / "1.jpg").write_bytes(b"a picture")
(state / "models" / "flange-7").mkdir(parents=True)
(state / "models" / "flange-7" / "manifest.json").write_text("{}")
(state / "models" / "current").symlink_to("flange-7")
Signer().trusted_in(trust)
store_versions(trust, Versions(highest={"flange": 7}), "confirm")
(trust / "revoked.json").write_text(json.dumps(["a" * 64]))
(trust / "revoked.json").chmod(0o644)
END
    "$SCRIPTS/backup.sh" --root "$STATION" --out "$BATS_FILE_TMPDIR" >"$BATS_FILE_TMPDIR/name"
    BACKUP=$(cat "$BATS_FILE_TMPDIR/name")
    export BACKUP
}

setup() {
    ROOT="$BATS_TEST_TMPDIR/a station"
}

new_station() { # another computer, with Linewatch and nothing else
    make_engine "$ROOT"
    write_station_toml "$ROOT"
    mkdir -p "$ROOT/var/lib/linewatch" "$ROOT/etc/linewatch/trust"
}

same_station() {
    rm -rf "$ROOT"
    cp -R "$STATION" "$ROOT"
    write_station_toml "$ROOT"
}

ask() { # ask ROOT CODE: Python with `state` and `trust` of a station
    (cd "$REPO" && "$PYTHON" -c "import sys
from pathlib import Path
state, trust = Path(sys.argv[1]) / 'var/lib/linewatch', Path(sys.argv[1]) / 'etc/linewatch/trust'
$2" "$1")
}

next_id() { # the id that the engine of this station gives to its next part
    ask "$1" "
import tempfile
from edge.history.eventlog import EventLog
from edge.history.ids import Ids
log = EventLog(state / 'events.db')
log.verify()
print(Ids(log, Path(tempfile.mkdtemp()), 'another boot').next_id())"
}

highest() {
    ask "$1" "
from edge.inference.release.versions import read_audit, read_versions
read_audit(trust)
print(dict(read_versions(trust).highest))"
}

people() {
    ask "$1" "
from edge.people.store import People
print(*(one.name for one in People(state / 'page').accounts()))"
}

@test "every script shows its help, and wrong usage is one line and exit 2" {
    local script
    for script in "$SCRIPTS"/*.sh; do
        [ -x "$script" ] || continue
        run "$script" --help
        [ "$status" -eq 0 ]
        [[ ${lines[0]} == "Usage: $(basename "$script")"* ]]
        [[ $output == *"--dry-run"* ]]
        one_line_refusal 2 "unknown option --surprise" "$script" --surprise
        one_line_refusal 2 "unknown option -x" "$script" -x
    done
}

@test "a dry run changes nothing" {
    same_station
    listing "$ROOT" >"$BATS_TEST_TMPDIR/before"
    local script
    for script in "backup.sh --out $BATS_TEST_TMPDIR/none" "restore.sh $BACKUP" "factory-reset.sh" \
        "collect-logs.sh --out $BATS_TEST_TMPDIR/none" "provision.sh --allow 10.0.0.0/8 --ntp 10.0.0.1" "uninstall.sh"; do
        # shellcheck disable=SC2086 # the words are the arguments
        run "$SCRIPTS"/$script --root "$ROOT" --dry-run
        echo "$script: $output"
        [ "$status" -eq 0 ]
        [[ $output == *"would "* ]]
    done
    listing "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
    [ ! -e "$BATS_TEST_TMPDIR/none" ]
}

@test "a computer is prepared, twice is as once, and a kill at every step leaves what the next run completes" {
    local once="$BATS_TEST_TMPDIR/once" step killed=0 network
    one_line_refusal 2 "is no network" "$SCRIPTS/provision.sh" --root "$once" --allow 'all; flush ruleset'
    one_line_refusal 2 "70000 is no port" "$SCRIPTS/provision.sh" --root "$once" --ports 8080,70000
    for network in 192.168.10.0/99 300.1.1.1 10.0.0 1.2.3.4/ fd00::/129 fd00::1::2 fd00:12345::; do
        one_line_refusal 2 "$network is no network" "$SCRIPTS/provision.sh" --root "$once" --allow "10.0.0.1,$network"
    done
    [ ! -e "$once" ]
    provision() { "$SCRIPTS/provision.sh" --root "$1" --allow 10.0.0.0/8,fd00::/8 --ntp 10.0.0.1; }
    provision "$once"
    listing "$once" >"$BATS_TEST_TMPDIR/expected"
    provision "$once"
    listing "$once" | diff "$BATS_TEST_TMPDIR/expected" -
    # Nothing but the two ports is looked at: every rule but that of the loopback names them.
    run sed -n '/policy/,/}$/p' "$once/etc/linewatch/firewall.nft"
    [ "${lines[2]}" = "        tcp dport { 8080, 502 } ip saddr { 10.0.0.0/8 } accept" ]
    [ "${lines[3]}" = "        tcp dport { 8080, 502 } ip6 saddr { fd00::/8 } accept" ]
    [ "${lines[4]}" = "        tcp dport { 8080, 502 } drop" ]
    ! command -v nft || unshare --net nft --check --file "$once/etc/linewatch/firewall.nft"
    for ((step = 1; step < 60; step++)); do
        KILL_AT=$step BASH_ENV=$(killer) provision "$ROOT" >/dev/null 2>&1 && break
        killed=$step
    done
    [ "$killed" -ge 12 ]
    listing "$ROOT" | diff "$BATS_TEST_TMPDIR/expected" -
}

@test "rules that nft refuses do not take the place of those that are there" {
    command -v nft && unshare --net nft list ruleset || skip "no nft, or no right to ask it"
    sed 's/tcp dport { $listed } drop/& nonsense/' "$SCRIPTS/provision.sh" >"$BATS_TEST_TMPDIR/broken"
    mkdir "$BATS_TEST_TMPDIR/copy"
    cp -R "$SCRIPTS" "$REPO/systemd" "$BATS_TEST_TMPDIR/copy"
    "$SCRIPTS/provision.sh" --root "$ROOT" --allow 10.0.0.1
    listing "$ROOT" >"$BATS_TEST_TMPDIR/before"
    cp "$BATS_TEST_TMPDIR/broken" "$BATS_TEST_TMPDIR/copy/firmware_scripts/provision.sh"
    one_line_refusal 1 "nft refuses the rules" \
        unshare --net "$BATS_TEST_TMPDIR/copy/firmware_scripts/provision.sh" --root "$ROOT" --allow 10.0.0.2
    listing "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
}

@test "a backup is its owner's alone, and holds no picture" {
    [ "$(stat -c %a "$BACKUP")" = 600 ]
    run tar -tf "$BACKUP"
    [[ $output == *backup/state/events.db* && $output == *backup/state/page/people.db* ]]
    [[ $output != *.jpg* && $output != *-wal* ]]
}

@test "another computer takes over: history, people, keys, versions, and no id of the lost one comes again" {
    [ "$EUID" -eq 0 ] || skip "only root can make a trust folder"
    new_station
    "$SCRIPTS/restore.sh" "$BACKUP" --root "$ROOT"
    [ "$(people "$ROOT")" = Ada ]
    [ "$(highest "$ROOT")" = "{'flange': 7}" ]
    [ "$(readlink "$ROOT/var/lib/linewatch/models/current")" = flange-7 ]
    cmp "$STATION"/etc/linewatch/trust/*.pub "$ROOT"/etc/linewatch/trust/*.pub
    [ "$(next_id "$ROOT")" -gt 1000040 ]
    [ ! -e "$ROOT/var/lib/linewatch/restore.new" ]
}

@test "on the same station neither ids nor versions nor revocations go back" {
    [ "$EUID" -eq 0 ] || skip "only root can make a trust folder"
    same_station
    ask "$ROOT" "
import json
from edge.history.eventlog import EventLog
from edge.inference.release.versions import read_versions, store_versions
from tests.edge.engine.parts import inspection
log = EventLog(state / 'events.db')
log.reserve(32)
for number in range(41, 91):
    log.append(inspection(number))
log.close()
store_versions(trust, read_versions(trust).model_copy(update={'highest': {'flange': 9, 'washer': 2}}), 'confirm')
(trust / 'revoked.json').write_text(json.dumps(['b' * 64]))"
    "$SCRIPTS/restore.sh" "$BACKUP" --root "$ROOT"
    [ "$(highest "$ROOT")" = "{'flange': 9, 'washer': 2}" ]
    [ "$(ask "$ROOT" "import json; print(*(one[0] for one in json.loads((trust / 'revoked.json').read_text())))")" = "a b" ]
    local given
    given=$(next_id "$ROOT")
    [ "$given" -gt 90 ]
    [ "$given" -lt 1000 ] # this station's own mark tells how far the ids went
    [ -f "$(echo "$ROOT"/var/lib/linewatch/before-restore-*/events.db)" ]
    [ -f "$ROOT/var/lib/linewatch/images/1.jpg" ]
}

@test "a restore that is killed at a step ends as one that was not" {
    [ "$EUID" -eq 0 ] || skip "only root can make a trust folder"
    ends_the_same() {
        [ -f "$(ls -d "$ROOT"/var/lib/linewatch/before-restore-*/events.db | head -n 1)" ]
        rm -rf "$ROOT"/var/lib/linewatch/before-restore-*
        listing "$ROOT" >"$BATS_TEST_TMPDIR/is"
        [ -e "$BATS_TEST_TMPDIR/expected" ] || cp "$BATS_TEST_TMPDIR/is" "$BATS_TEST_TMPDIR/expected"
        diff "$BATS_TEST_TMPDIR/expected" "$BATS_TEST_TMPDIR/is"
    }
    wherever_killed same_station : ends_the_same "$SCRIPTS/restore.sh" "$BACKUP" --root "$ROOT"
    [ "$(people "$ROOT")" = Ada ]
    [ "$(highest "$ROOT")" = "{'flange': 7}" ]
    [ "$(next_id "$ROOT")" -gt 40 ]
}

@test "a backup that is killed at a step harms no station, and the next one is whole and clears up" {
    local made="$BATS_TEST_TMPDIR/made"
    mkdir "$BATS_TEST_TMPDIR/tmp"
    same_station
    listing "$ROOT" >"$BATS_TEST_TMPDIR/before"
    nothing_made() { rm -rf "$made"; }
    no_half_one() {
        listing "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
        is_whole
    }
    is_whole() {
        local file
        for file in "$made"/*.tar; do
            [ ! -e "$file" ] || tar -xOf "$file" backup/SHA256SUMS | grep -q state/events.db
        done
    }
    one_and_no_more() {
        is_whole
        [ "$(find "$made" "$BATS_TEST_TMPDIR/tmp" -mindepth 1 ! -name '*.tar')" = "" ]
        [ -n "$(ls "$made"/*.tar)" ]
    }
    export TMPDIR="$BATS_TEST_TMPDIR/tmp"
    wherever_killed nothing_made no_half_one one_and_no_more "$SCRIPTS/backup.sh" --root "$ROOT" --out "$made"
}

@test "what is no backup is refused before anything changes" {
    new_station
    local restore="$SCRIPTS/restore.sh"
    mkdir -p "$BATS_TEST_TMPDIR/forged/backup"
    cd "$BATS_TEST_TMPDIR/forged"
    head -c 20000 "$BACKUP" >cut.tar
    sed 's/"flange":7/"flange":1/' "$BACKUP" >flipped.tar
    ln -s /etc/passwd backup/link && tar -cf link.tar backup && rm backup/link
    echo x >backup/x && tar -cf outside.tar --transform 's#backup/x#backup/../../x#' -P backup
    : >backup/SHA256SUMS && tar -cf more.tar backup
    tar -cf other.tar -C "$BATS_TEST_TMPDIR/forged" cut.tar
    listing "$ROOT" >"$BATS_TEST_TMPDIR/before"
    one_line_refusal 1 "damaged" "$restore" cut.tar --root "$ROOT"
    one_line_refusal 1 "a sum does not fit" "$restore" flipped.tar --root "$ROOT"
    one_line_refusal 1 "links or devices" "$restore" link.tar --root "$ROOT"
    one_line_refusal 1 "outside of itself" "$restore" outside.tar --root "$ROOT"
    one_line_refusal 1 "no backup" "$restore" other.tar --root "$ROOT"
    one_line_refusal 1 "a sum" "$restore" more.tar --root "$ROOT"
    rm -rf "$ROOT/var/lib/linewatch/restore.new"
    listing "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
}

@test "while the engine runs nothing is restored and nothing is reset" {
    same_station
    exec 7>"$ROOT/var/lib/linewatch/engine.lock"
    flock 7
    one_line_refusal 1 "runs; run: systemctl stop" "$SCRIPTS/restore.sh" "$BACKUP" --root "$ROOT"
    one_line_refusal 1 "runs; run: systemctl stop" "$SCRIPTS/factory-reset.sh" --yes --root "$ROOT"
    exec 7>&-
    [ "$(people "$ROOT")" = Ada ]
}

@test "a reset forgets parts, people and secrets; versions, keys and the count of ids stay, wherever it is killed" {
    [ "$EUID" -eq 0 ] || skip "only root can make a trust folder"
    same_station
    one_line_refusal 2 "say so with --yes" "$SCRIPTS/factory-reset.sh" --root "$ROOT"
    local went=""
    with_a_secret() {
        same_station
        echo hunter2 >"$ROOT/etc/linewatch/broker.password"
    }
    is_forgotten() {
        no grep -rq 'hunter2\|Ada' "$ROOT/etc" "$ROOT/var"
        [ "$(ls -A "$ROOT/var/lib/linewatch")" = "$(printf 'events.ids\nmodels\npage')" ]
        grep -v 'bundle_signatures\|not signed' "$SCRIPTS/station.toml" | cmp - "$ROOT/etc/linewatch/station.toml"
        [ "$(stat -c %a "$ROOT/etc/linewatch/station.toml")" = 640 ]
        cmp "$STATION/etc/linewatch/trust/versions.json" "$ROOT/etc/linewatch/trust/versions.json"
        local mark # how far the ids went; the name of the history before them may be gone
        mark=$(cut -d' ' -f2,3 "$ROOT/var/lib/linewatch/events.ids")
        [ "${went:=$mark}" = "$mark" ]
    }
    wherever_killed with_a_secret : is_forgotten "$SCRIPTS/factory-reset.sh" --yes --root "$ROOT"
    [ "$(highest "$ROOT")" = "{'flange': 7}" ]
    [ "$(next_id "$ROOT")" -gt 40 ]
}

@test "a reset leaves a station as strict about signatures as it was" {
    [ "$EUID" -eq 0 ] || skip "only root can make a trust folder"
    takes_unsigned() {
        (cd "$REPO" && "$PYTHON" -c "import sys
from pathlib import Path
from edge.config.load import load_config
print(load_config(Path(sys.argv[1])).bundle_signatures)" "$ROOT/etc/linewatch/station.toml")
    }
    same_station
    "$SCRIPTS/factory-reset.sh" --yes --root "$ROOT"
    [ "$(takes_unsigned)" = required ]
    "$SCRIPTS/factory-reset.sh" --yes --root "$ROOT"
    [ "$(takes_unsigned)" = required ]
    same_station
    sed -i '1i bundle_signatures = "optional"' "$ROOT/etc/linewatch/station.toml"
    "$SCRIPTS/factory-reset.sh" --yes --root "$ROOT"
    [ "$(takes_unsigned)" = optional ]
}

@test "a purge leaves nothing of Linewatch, wherever it is killed, and says what it keeps" {
    same_station
    one_line_refusal 2 "say so with --yes" "$SCRIPTS/uninstall.sh" --purge --root "$ROOT"
    exec 7>"$ROOT/var/lib/linewatch/engine.lock"
    flock 7
    one_line_refusal 1 "runs; run: systemctl stop" "$SCRIPTS/uninstall.sh" --purge --yes --root "$ROOT"
    exec 7>&-
    [ "$(people "$ROOT")" = Ada ]
    "$SCRIPTS/provision.sh" --root "$ROOT" --ntp 10.0.0.1 >/dev/null
    mkdir -p "$ROOT/etc/systemd/system/linewatch-engine.service.d" "$ROOT/srv/parts" "$ROOT/run/linewatch"
    sed -i "s|^state_dir.*|state_dir = \"$ROOT/srv/parts\"|" "$ROOT/etc/linewatch/station.toml"
    local step killed=0
    for ((step = 1; step < 40; step++)); do
        run env KILL_AT=$step BASH_ENV="$(killer)" "$SCRIPTS/uninstall.sh" --purge --yes --root "$ROOT"
        [ "$status" -ne 0 ] || break
        killed=$step
    done
    echo "$output"
    [ "$killed" -ge 8 ]
    [[ $output == *"kept: $ROOT/srv/parts, the state_dir of station.toml"*"kept: the journal, backups, "* ]]
    [ -z "$(find "$ROOT" -name '*linewatch*')" ]
    "$SCRIPTS/uninstall.sh" --purge --yes --root "$ROOT"
}

@test "what the page of an older release wrote moves into its folder, whole, wherever the move is killed" {
    same_station
    local state="$ROOT/var/lib/linewatch" step killed=0
    mv "$state"/page/*.db "$state/"
    rm -r "$state/page"
    for step in 1 2 3 4 5 6 7 8 9 10; do
        KILL_AT=$step BASH_ENV=$(killer) "$SCRIPTS/provision.sh" --root "$ROOT" >/dev/null 2>&1 || killed=$step
        [ -f "$state/page/people.db" ] || [ -f "$state/people.db" ]
        [ ! -e "$state/page" ] || [ "$(ls "$state/page")" = "$(printf 'audit.db\npeople.db')" ]
    done
    [ "$killed" -ge 8 ]
    "$SCRIPTS/provision.sh" --root "$ROOT" >/dev/null
    [ "$(people "$ROOT")" = Ada ]
    [ -z "$(find "$state" -maxdepth 1 -name '*.db*' ! -name 'events.*')$(find "$state" -name '*.new')" ]
}

@test "what is collected holds no secret, and only its owner reads it" {
    same_station
    cat >>"$ROOT/etc/linewatch/station.toml" <<'END'
# source = "rtsp://viewer:hunter2@camera/1"
# source = "rtsp://viewer:hun/ter2@camera/1"
# source = "rtsp://viewer:hun@ter2@camera/1"
# source = "rtsp://camera/s?user=a&pwd=hunter2"
# password = 'one two three'
# api_token: hunter2
# {"client_secret": "hunter2", "port": 5}
# password = """
# one two
# three"""
END
    mkdir -p "$ROOT/run/linewatch"
    echo '{"detail": "http://ada:hunter2@10.0.0.1/ does not answer", "api_key": "hunter2", "who": "Ada"}' \
        >"$ROOT/run/linewatch/health.json"
    run "$SCRIPTS/collect-logs.sh" --root "$ROOT" --out "$BATS_TEST_TMPDIR"
    [ "$status" -eq 0 ]
    [ "$(stat -c %a "$output")" = 600 ]
    mkdir "$BATS_TEST_TMPDIR/seen"
    tar -xzf "$output" -C "$BATS_TEST_TMPDIR/seen"
    no grep -rE 'hun|ter2|three|Ada' "$BATS_TEST_TMPDIR/seen"
    grep -q '10.0.0.1 does not answer' "$BATS_TEST_TMPDIR/seen/logs/health.json"
    grep -q 'name = "bats"' "$BATS_TEST_TMPDIR/seen/logs/station.toml"
    grep -q '"findings"' "$BATS_TEST_TMPDIR/seen/logs/doctor.json"
}

@test "a collection that is killed at a step changes nothing of the station, and the next one is whole and clears up" {
    local made="$BATS_TEST_TMPDIR/made"
    mkdir "$BATS_TEST_TMPDIR/tmp"
    same_station
    rm "$ROOT/opt/linewatch/current/bin/python" # the doctor takes seconds and writes nothing
    listing "$ROOT" >"$BATS_TEST_TMPDIR/before"
    nothing_made() { rm -rf "$made"; }
    unchanged_and_whole() {
        local file
        listing "$ROOT" | diff "$BATS_TEST_TMPDIR/before" -
        for file in "$made"/*.tar.gz; do
            [ ! -e "$file" ] || tar -tzf "$file" | grep -q logs/station.toml
        done
    }
    one_and_no_more() {
        unchanged_and_whole
        [ "$(find "$made" "$BATS_TEST_TMPDIR/tmp" -mindepth 1 ! -name '*.tar.gz')" = "" ]
        [ -n "$(ls "$made"/*.tar.gz)" ]
    }
    export TMPDIR="$BATS_TEST_TMPDIR/tmp"
    wherever_killed nothing_made unchanged_and_whole one_and_no_more \
        "$SCRIPTS/collect-logs.sh" --root "$ROOT" --out "$made"
}

fake_camera() { # a v4l2-ctl whose camera has an exposure and a gain of at most 100
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    cat >"$BATS_TEST_TMPDIR/bin/v4l2-ctl" <<'END'
#!/usr/bin/env bash
cd "$(dirname "$0")"
case "$*" in
    --list-devices) printf 'A camera (usb-1):\n\t/dev/video0\n' ;;
    *--set-ctrl\ gain=*) n=${4#gain=} && echo $((n > 100 ? 100 : n)) >gain ;;
    *--set-ctrl\ auto_exposure=* | *--set-ctrl\ exposure_time_absolute=*) echo "${4#*=}" >"${4%%=*}" ;;
    *--get-ctrl*) echo "$4: $(cat "$4")" ;;
    *) exit 1 ;;
esac
END
    printf '#!/bin/sh\n[ "$3" = "--name=/dev/null" ] && printf "ID_SERIAL_SHORT=AB12\\nID_PATH=usb-1\\n"\n' \
        >"$BATS_TEST_TMPDIR/bin/udevadm"
    chmod +x "$BATS_TEST_TMPDIR"/bin/*
    PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

@test "a camera is listed, named for good, set and read back" {
    local setup="$SCRIPTS/camera-setup.sh"
    fake_camera
    run "$setup"
    [[ $output == *"/dev/video0"* ]]
    run "$setup" --camera /dev/null --name left --exposure 120 --gain 50 --root "$ROOT"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *'source = "/dev/linewatch-left"'*'exposure = 120.0'*'gain = 50.0'* ]]
    grep -q 'ENV{ID_SERIAL_SHORT}=="AB12".*SYMLINK+="linewatch-left"' "$ROOT/etc/udev/rules.d/71-linewatch-left.rules"
    one_line_refusal 1 "was told gain=500 and says gain: 100" "$setup" --camera /dev/null --gain 500 --root "$ROOT"
    one_line_refusal 1 "has no white_balance_automatic" "$setup" --camera /dev/null --white 5000 --root "$ROOT"
    one_line_refusal 2 "give letters" "$setup" --camera /dev/null --name 'a", RUN+="x' --root "$ROOT"
    one_line_refusal 1 "no such device" "$setup" --camera /dev/absent --gain 1 --root "$ROOT"
}

@test "a camera that is named when the script is killed has the old rule or the new one" {
    fake_camera
    local rules="$ROOT/etc/udev/rules.d"
    no_rule() { rm -rf "$rules"; }
    whole_or_none() { [ ! -e "$rules/71-linewatch-left.rules" ] || named; }
    named() { [ "$(grep -c 'AB12.*SYMLINK+="linewatch-left"$' "$rules/71-linewatch-left.rules")" = 1 ]; }
    named_and_set() {
        named
        [ "$(ls "$rules")" = 71-linewatch-left.rules ]
        [ "$(cat "$BATS_TEST_TMPDIR/bin/gain" "$BATS_TEST_TMPDIR/bin/auto_exposure")" = "$(printf '50\n1')" ]
    }
    wherever_killed no_rule whole_or_none named_and_set \
        "$SCRIPTS/camera-setup.sh" --camera /dev/null --name left --exposure 120 --gain 50 --root "$ROOT"
}
