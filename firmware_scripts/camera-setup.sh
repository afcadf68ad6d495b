#!/usr/bin/env bash
# Find a USB camera, give it a name that stays, set its exposure, gain and white balance and see that it keeps them.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
camera="" name="" exposure="" gain="" white=""

usage() {
    cat <<'END'
Usage: camera-setup.sh                                   list the cameras
       camera-setup.sh --camera DEVICE --name NAME       /dev/linewatch-NAME is this camera from now on
       camera-setup.sh --camera DEVICE --exposure N --gain N --white N

  --camera DEVICE  e.g. /dev/video0
  --name NAME      letters, digits and dashes; the camera is known by its serial number, or by its socket without one
  --exposure N     in units of the driver; it stays so, the camera does not adjust it any more
  --gain N         in units of the camera
  --white N        the temperature in K
  --root DIR       write the rule below DIR instead of /
  --dry-run        say what would be done, change nothing

A camera forgets its values without power. The last lines are for station.toml, whose values the engine sets itself.
END
}

list() {
    v4l2-ctl --list-devices 2>/dev/null || fail 1 "no camera is there; plug one in"
    echo "one more look at each: v4l2-ctl --list-ctrls --device DEVICE"
}

name_it() {
    local serial path match
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9-]{0,30}$ ]] || fail 2 "--name $name: give letters, digits and dashes"
    serial=$(fact ID_SERIAL_SHORT) path=$(fact ID_PATH)
    [[ -z $serial ]] || match="ENV{ID_SERIAL_SHORT}==\"$serial\""
    [[ -n $serial || -z $path ]] || match="ENV{ID_PATH}==\"$path\""
    [[ -n ${match-} ]] || fail 1 "$camera: tells neither a serial number nor its socket; name /dev/v4l/by-id/ in station.toml"
    local file=$root/etc/udev/rules.d/71-linewatch-$name.rules
    if $dry_run; then
        echo "would write: $file"
        return
    fi
    mkdir -p -- "$(dirname -- "$file")"
    printf 'SUBSYSTEM=="video4linux", %s, ATTR{index}=="0", GROUP="video", MODE="0660", SYMLINK+="linewatch-%s"\n' \
        "$match" "$name" >"$file.new"
    settle "$file.new" "$file"
    [[ -n $root ]] || { udevadm control --reload && udevadm trigger --subsystem-match=video4linux; }
    echo "source = \"/dev/linewatch-$name\""
}

fact() { # fact NAME: what udev knows of the camera; words that would end the rule are none
    udevadm info --query=property --name="$camera" 2>/dev/null | sed -n "s/^$1=\([A-Za-z0-9:._-]*\)$/\1/p"
}

# First what adjusts itself is switched off, then the value is set, then it is read again.
lock() { # lock CONTROL VALUE
    local is
    run v4l2-ctl --device "$camera" --set-ctrl "$1=$2" >/dev/null 2>&1 ||
        fail 1 "$camera: has no $1, or does not take $2; see v4l2-ctl --list-ctrls --device $camera"
    $dry_run && run v4l2-ctl --device "$camera" --set-ctrl "$1=$2" && return
    is=$(v4l2-ctl --device "$camera" --get-ctrl "$1" 2>/dev/null)
    [[ $is == "$1: $2" ]] || fail 1 "$camera: was told $1=$2 and says $is; give a value that it takes"
}

set_it() {
    local value
    for value in "$exposure" "$gain" "$white"; do
        [[ -z $value || $value =~ ^[0-9]{1,7}$ ]] || fail 2 "$value is no number"
    done
    [[ -z $exposure ]] || { lock auto_exposure 1 && lock exposure_time_absolute "$exposure"; }
    [[ -z $gain ]] || lock gain "$gain"
    [[ -z $white ]] || { lock white_balance_automatic 0 && lock white_balance_temperature "$white"; }
    for_station
}

for_station() {
    echo "[camera]"
    [[ -z $exposure ]] || echo "exposure = $exposure.0"
    [[ -z $gain ]] || echo "gain = $gain.0"
    [[ -z $white ]] || echo "white_balance_k = $white.0"
}

main() {
    parse "camera= name= exposure= gain= white=" "$@"
    takes_nothing_else
    find_station the rules
    command -v v4l2-ctl >/dev/null || fail 1 "v4l2-ctl is missing; run: apt install v4l-utils"
    if [[ -z $camera ]]; then
        [[ -z $name$exposure$gain$white ]] || fail 2 "--camera DEVICE is missing; see camera-setup.sh --help"
        list
        return
    fi
    [[ -e $camera ]] || fail 1 "$camera: no such device; camera-setup.sh lists those that are there"
    [[ -z $name ]] || name_it
    [[ -z $exposure$gain$white ]] || set_it
}

main "$@"
