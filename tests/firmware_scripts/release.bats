# install.sh and rollback.sh on / itself, in a mount namespace of their own: which release is in use, and who owns what.
# systemctl starts what it is told to, as systemd does; the releases are scripts, so that one can be broken or slow.

load a_station

setup_file() {
    load a_station
    without_disk
    [ "$EUID" -eq 0 ] && unshare --mount mount -t tmpfs none /opt || skip "only root can have a / of its own"
    (cd "$REPO" && "$PYTHON" -c 'import sys, pathlib, tests.tiny
tests.tiny.write_tiny_bundle(*map(pathlib.Path, sys.argv[1:]))' "$BATS_FILE_TMPDIR/tiny" "$BATS_FILE_TMPDIR/work")
    make_bundles "$BATS_FILE_TMPDIR/bundles"
}

setup() {
    [ "$EUID" -eq 0 ] && unshare --mount mount -t tmpfs none /opt || skip "only root can have a / of its own"
    BIN=$BATS_TEST_TMPDIR/bin
    mkdir -p "$BIN"
    cat >"$BIN/systemctl" <<'END'
#!/usr/bin/env bash
# One engine, whose release says with its exit status how a start ends: 0 READY, 9 too slow, else it ends by itself.
set -eu
unit=/run/linewatch-test
case $1 in
    restart)
        status=0
        /opt/linewatch/current/bin/python -P -m edge run >/dev/null 2>&1 || status=$?
        case $status in
            0) state=active restarts=0 result=success ;;
            9) state=activating restarts=3 result=timeout ;;
            *) state=activating restarts=3 result=exit-code ;;
        esac
        printf 'ActiveState=%s\nNRestarts=%s\nResult=%s\nInvocationID=%s\n' $state $restarts $result "$RANDOM" >$unit.next
        echo 6 >$unit.before
        ;;
    show) # until the job is carried out, all is as before, with the restarts that a watchdog leaves over the weeks
        before=$(cat $unit.before 2>/dev/null || echo 0)
        [ "$before" -ne 1 ] || mv $unit.next $unit
        [ "$before" -eq 0 ] || echo $((before - 1)) >$unit.before
        if [ "$before" -gt 1 ] && [ "$3" = NRestarts ]; then echo 3; else sed -n "s/^$3=//p" $unit 2>/dev/null || true; fi
        ;;
esac
END
    printf '#!/bin/sh\n' >"$BIN/udevadm"
    printf '#!/bin/sh\nexec /bin/sleep 0.01\n' >"$BIN/sleep"
    printf '#!/bin/sh\nshift 2\nexec "$@"\n' >"$BIN/chrt" # a computer that tests others at the same time is never idle
    chmod +x "$BIN"/*
}

# Everything below happens on an /etc, /opt, /var/lib and /run that go with the namespace.
on_a_computer() { # on_a_computer COMMANDS
    BATS_TEST_DIRNAME=$BATS_TEST_DIRNAME PATH=$BIN:$PATH SCRIPTS=$SCRIPTS REPO=$REPO PYTHON=$PYTHON TINY=$BATS_FILE_TMPDIR/tiny KEYS=$BATS_FILE_TMPDIR/bundles/keys HERE=$BATS_TEST_TMPDIR \
        KILLER=$(killer) unshare --mount --propagation private bash -c "$COMPUTER
$1"
}

# shellcheck disable=SC2016 # it is meant for the other shell
COMPUTER='set -eu
. "$REPO/tests/firmware_scripts/a_station.bash"
mount -t tmpfs none /opt
mount -t tmpfs none /run
mkdir -p /run/over /run/work /run/var /run/var-work
mount -t overlay none -o lowerdir=/etc,upperdir=/run/over,workdir=/run/work /etc
mount -t tmpfs none /var/lib
mkdir -p /etc/linewatch
cat >/etc/linewatch/station.toml <<END
name = "bats"
bundle = "/var/lib/linewatch/models/current"
state_dir = "/var/lib/linewatch"
run_dir = "/run/linewatch"
bundle_signatures = "optional"
[camera]
type = "folder"
path = "/"
[trigger]
type = "free_run"
rate_hz = 1
END
named() { # named WHEEL: what install.sh calls the release of this wheel
    cat "$1" "$REPO"/requirements/{tools,base}.lock "$SCRIPTS/unused.txt" "$REPO"/systemd/* | sha256sum | cut -c1-12
}
release() { # release NAME: a wheel of that name, and its release with units of its own as install.sh would have installed it
    printf %s "$1" >"$HERE/linewatch-$1.whl"
    local folder file
    folder=/opt/linewatch/releases/$(named "$HERE/linewatch-$1.whl")
    mkdir -p "$folder/bin"
    cp -R "$REPO/systemd" "$folder/systemd"
    for file in "$folder"/systemd/*; do echo "# of $1" >>"$file"; done
    cat >"$folder/bin/python"
    chmod +x "$folder/bin/python"
    touch "$folder/complete"
}
good() { printf "#!/bin/sh\ncase \" \$* \" in *\" run \"*) exit 0 ;; esac\nPYTHONPATH=%s exec %s \"\$@\"\n" "$REPO" "$PYTHON"; }
lives() { # an engine that judges with the bundle in use as soon as it is started
    printf "#!/bin/sh\nexport PYTHONPATH=%s\ncase \" \$* \" in *\" run \"*) set -- %s ;; esac\nexec %s \"\$@\"\n" \
        "$REPO" "$REPO/tests/firmware_scripts/judging.py" "$PYTHON"
}
ends() { # ends STATUS STATUS [PART]: of a start, and of a check of the bundles whose path has this part
    good | sed "2i case \" \$* \" in *\" run \"*) exit $1 ;; *\" check \"*${3-}*) exit $2 ;; esac"
}
install() { "$SCRIPTS/install.sh" --wheel "$HERE/linewatch-$1.whl" "${@:2}"; }
in_use() { for wheel in "$HERE"/linewatch-*.whl; do
    [ "releases/$(named "$wheel")" != "$(readlink "/opt/linewatch/${1:-current}")" ] || basename "$wheel" .whl; done; }
units() { # of which release all of them are
    tail -qn 1 /etc/systemd/system/linewatch-*.{path,service} /etc/udev/rules.d/70-linewatch-camera.rules \
        /etc/{sysusers,tmpfiles}.d/linewatch.conf | sort -u
}
good | release one
install one --bundle "$TINY" >/dev/null
[ "$(in_use)" = linewatch-one ]
'

@test "a release that is ready is in use, the one before is kept, older ones and leftovers go, and there is a way back" {
    run on_a_computer '
good | release two
install two
good | release three
install three
[ "$(in_use) $(in_use previous)" = "linewatch-three linewatch-two" ]
[ "$(ls /opt/linewatch/releases | wc -l)" = 2 ]
"$SCRIPTS/rollback.sh"
[ "$(in_use) $(in_use previous)" = "linewatch-two linewatch-three" ]
mkdir /var/lib/linewatch/models/half.new
install two # is in use already
[ ! -e /var/lib/linewatch/models/half.new ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a release that ends by itself gives way to the one before, with one line" {
    run on_a_computer 'ends 1 0 | release broken
no install broken 2>/run/said
[ "$(wc -l </run/said)" = 1 ]
grep -q "does not get ready; release .* is in use again" /run/said
[ "$(in_use)" = linewatch-one ]
grep -q ActiveState=active /run/linewatch-test.next'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "units, rules, users and folders are those of the release in use, also after a return and a rollback" {
    run on_a_computer '[ "$(units)" = "# of one" ]
ends 1 0 | release broken
no install broken
[ "$(units)" = "# of one" ]
good | release two
install two
[ "$(units)" = "# of two" ]
"$SCRIPTS/rollback.sh"
[ "$(units)" = "# of one" ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a release that is slow where the one before is quick gives way" {
    run on_a_computer 'ends 9 0 | release slow
no install slow
[ "$(in_use)" = linewatch-one ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a release that is slow where the one before is as slow stays, because the computer is busy" {
    run on_a_computer 'ends 9 0 | release slow
ends 9 1 >/opt/linewatch/current/bin/python
no install slow --wait 2 2>/run/said
grep -q "the computer is busy" /run/said
grep -q "too busy to get any release ready" /run/said
[ "$(in_use)" = linewatch-slow ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a first release on a computer that is slow stays and goes on trying, and one that ends by itself is told why" {
    printf '#!/bin/sh\necho READY\necho "linewatch: camera.path: no such folder"\n' >"$BIN/journalctl"
    chmod +x "$BIN/journalctl"
    run on_a_computer 'rm /opt/linewatch/current /opt/linewatch/previous 2>/dev/null || true
ends 9 0 | release slow
status=0
install slow --wait 1 2>/run/said || status=$?
[ "$status" = 3 ]
[ "$(in_use)" = linewatch-slow ]
[ "$(grep -c "^linewatch: " /run/said)" = 1 ]
grep -q "too busy to get any release ready in 1 s; .* goes on trying" /run/said
rm /opt/linewatch/current
ends 1 0 | release broken
status=0
install broken 2>/run/said || status=$?
[ "$status" = 1 ]
grep -q "does not get ready: camera.path: no such folder; none was before it" /run/said'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a release that does not judge here, or does not take station.toml, is never in use" {
    run on_a_computer 'ends 0 1 | release wrong
no install wrong 2>/run/said
grep -q "does not judge as it should on this CPU; the release that was there goes on" /run/said
sed -i "s/^bundle_signatures.*/surprise = 1/" /etc/linewatch/station.toml
good | release new
no install new 2>/run/said
grep -q "surprise: unknown key" /run/said
grep -q "the release that was there goes on" /run/said
[ "$(in_use)" = linewatch-one ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a release that does not judge with the bundle of another recipe, or of another place, is never in use" {
    run on_a_computer 'cp -R "$TINY" /var/lib/linewatch/models/washer
printf "[recipes]\nwasher = \"/var/lib/linewatch/models/washer\"\n" >>/etc/linewatch/station.toml
ends 0 1 washer | release wrong
no install wrong 2>/run/said
grep -q "does not judge as it should on this CPU; the release that was there goes on" /run/said
[ "$(in_use)" = linewatch-one ]
mv /var/lib/linewatch/models/washer /var/lib/elsewhere
sed -i "/recipes/,\$ d; s|^bundle = .*|bundle = \"/var/lib/elsewhere\"|" /etc/linewatch/station.toml
ends 0 1 elsewhere | release elsewhere
no install elsewhere 2>/run/said
grep -q "does not judge as it should on this CPU" /run/said
[ "$(in_use)" = linewatch-one ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "an update that is killed at a step leaves a whole release in use, and the next run completes it" {
    run on_a_computer 'ends 0 0 | release two
killed=0
for ((step = 1; step < 200; step += ${EVERY_STEP:-15})); do
    at_step "$step" "$SCRIPTS/install.sh" --wheel "$HERE/linewatch-two.whl" >/dev/null 2>&1 && break
    killed=$step
    [ -f /opt/linewatch/current/complete ]
    [ -x /opt/linewatch/current/bin/python ]
    [ -f /var/lib/linewatch/models/current/manifest.json ]
    [ "$(sed -n 1p /etc/linewatch/station.toml)" = "name = \"bats\"" ]
done
echo "killed at $killed"
[ "$killed" -ge 30 ]
[ "$(in_use) $(in_use previous)" = "linewatch-two linewatch-one" ]
[ -z "$(find /opt/linewatch /var/lib/linewatch /etc/systemd/system -name "*.new" -prune)" ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a rollback that is killed at a step is completed by the next one, with a whole release in use all the time" {
    run on_a_computer 'ends 0 0 | release two
one=$(readlink /opt/linewatch/current)
ends 0 0 >"/opt/linewatch/$one/bin/python"
install two >/dev/null
two=$(readlink /opt/linewatch/current)
two_in_use() { rm -f /opt/linewatch/returning && ln -sfn "$two" /opt/linewatch/current && ln -sfn "$one" /opt/linewatch/previous; }
whole() { [ -f /opt/linewatch/current/complete ] && [ -f /opt/linewatch/previous/complete ]; }
one_in_use() { [ "$(in_use) $(in_use previous) $(ls /opt/linewatch | wc -l)" = "linewatch-one linewatch-two 3" ]; }
wherever_killed two_in_use whole one_in_use "$SCRIPTS/rollback.sh"
"$SCRIPTS/rollback.sh"
[ "$(in_use)" = linewatch-two ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "a bundle whose installation is killed is confirmed by the next one" {
    run on_a_computer 'command install -m 0644 "$KEYS"/*.pub /etc/linewatch/trust
lives >/opt/linewatch/current/bin/python
cp -a /var/lib/linewatch/models /etc/linewatch/trust /run
set_back() { for folder in /var/lib/linewatch/models /etc/linewatch/trust; do
    rm -rf "$folder" && cp -a "/run/${folder##*/}" "$folder"; done; }
for step in ${EVERY_STEP:+1 2} 3; do
    set_back
    no at_step "$step" "$SCRIPTS/install-bundle.sh" "$KEYS/../flange-2.lwb"
    [ -f /var/lib/linewatch/models/current/manifest.json ]
    "$SCRIPTS/install-bundle.sh" "$KEYS/../flange-2.lwb"
    [[ $(readlink /var/lib/linewatch/models/current) == flange-2-* ]]
    grep -q "\"highest\":{\"flange\":2}" /etc/linewatch/trust/versions.json
done'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "an installation lets no other bundle judge, and no older version where none judges" {
    run on_a_computer 'command install -m 0644 "$KEYS"/*.pub /etc/linewatch/trust
lives >/opt/linewatch/current/bin/python
"$SCRIPTS/install-bundle.sh" "$KEYS/../flange-2.lwb"
good | release two
no install two --bundle "$KEYS/../flange-1" 2>/run/said
grep -q "another bundle judges in /; change it with install-bundle.sh" /run/said
[ "$(in_use)" = linewatch-one ]
[[ $(readlink /var/lib/linewatch/models/current) == flange-2-* ]]
rm /var/lib/linewatch/models/current /opt/linewatch/current
no install two --bundle "$KEYS/../flange-1" 2>/run/said
grep -q "version 2 judged here already" /run/said
[ ! -e /var/lib/linewatch/models/current ]
[ ! -e /opt/linewatch/current ]
install two --bundle "$KEYS/../flange-2"
[ "$(in_use) $(readlink /var/lib/linewatch/models/current)" = "linewatch-two flange-2" ]'
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "root owns what decides verdicts, and neither user can write, rename or remove it" {
    run on_a_computer '
echo hunter2 >/etc/linewatch/broker.password && chown linewatch /etc/linewatch/broker.password
install one >/dev/null
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}" 2>/dev/null; }
for user in linewatch linewatch-page; do
    for place in /opt/linewatch /etc/linewatch /etc/linewatch/trust /etc/linewatch/station.toml \
        /var/lib/linewatch/models /var/lib/linewatch/models/tiny/manifest.json; do
        no as "$user" test -w "$place" || { echo "$user can write $place"; exit 1; }
    done
    no as "$user" mv /var/lib/linewatch/models /var/lib/linewatch/mine
    as "$user" cat /etc/linewatch/station.toml >/dev/null
done
as linewatch touch /var/lib/linewatch/events.db
as linewatch cat /etc/linewatch/broker.password >/dev/null
no as linewatch-page cat /etc/linewatch/broker.password
no as linewatch-page touch /var/lib/linewatch/x
no as linewatch-page mv /var/lib/linewatch/events.db /var/lib/linewatch/page/
no as linewatch ls /var/lib/linewatch/page
as linewatch-page touch /var/lib/linewatch/page/people.db'
    echo "$output"
    [ "$status" -eq 0 ]
}
