#!/usr/bin/env bash
# Prepare a computer for Linewatch: users, folders, camera names, clock, CPU, firewall, watchdog. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
ports=8080,502 allow="" ntp=""

usage() {
    cat <<'END'
Usage: provision.sh [--allow NETWORKS] [--ports PORTS] [--ntp SERVERS] [--root DIR] [--dry-run]

  --allow NETWORKS  who reaches the ports, e.g. 192.168.10.0/24,192.168.20.7; default: this computer alone
  --ports PORTS     of the page and of Modbus; default: 8080,502
  --ntp SERVERS     where the clock is taken from, e.g. 192.168.10.1; default: those of the distribution
  --root DIR        write the files below DIR instead of / (nothing is started)
  --dry-run         say what would be done, change nothing

Run it before install.sh, and again when a network or a port changes. Other rules of a firewall stay as they are.
END
}

check_arguments() {
    local part
    takes_nothing_else
    for part in ${ports//,/ }; do
        [[ $part =~ ^[1-9][0-9]{0,4}$ && $part -lt 65536 ]] || fail 2 "--ports: $part is no port"
    done
    for part in ${allow//,/ }; do
        is_network "$part" || fail 2 "--allow: $part is no network; write e.g. 192.168.10.0/24"
    done
    [[ -z $ntp || $ntp =~ ^[A-Za-z0-9.:,-]+$ ]] || fail 2 "--ntp: $ntp names no servers; write e.g. 192.168.10.1"
    find_station the settings
    [[ -n $root ]] || $dry_run || command -v nft >/dev/null ||
        fail 1 "nft is missing, so nothing keeps others from the ports; run: apt install nftables"
}

is_network() { # is_network WORD: an address, or one with the length of its prefix
    [[ $1 =~ ^[0-9.]+(/[0-9]+)?$ || $1 =~ ^[0-9a-fA-F:]*:[0-9a-fA-F:]*(/[0-9]+)?$ ]] || return 1
    command -v python3 >/dev/null || fail 1 "python3 is missing, and Linewatch needs it; run: apt install python3-venv"
    python3 -c 'import ipaddress, sys; ipaddress.ip_network(sys.argv[1], strict=False)' "$1" 2>/dev/null
}

put() { # put FILE [CHECK]: whole and passed by CHECK, or as it was; what it holds comes from standard input
    local content
    content=$(cat)
    if $dry_run; then
        echo "would write: $1"
        return
    fi
    run mkdir -p -- "$(dirname -- "$1")"
    printf '%s\n' "$content" >"$1.new"
    "${2:-true}" "$1.new"
    settle "$1.new" "$1"
}

# Rules that nft refuses would be no rules after the next start. A folder may be filled by somebody who may not ask it.
taken_by_nft() { # taken_by_nft FILE
    local said
    command -v nft >/dev/null && ! said=$(nft --check --file "$1" 2>&1) || return 0
    [[ -z $root || $said != *"not permitted"* ]] || return 0
    rm -f -- "$1"
    fail 1 "nft refuses the rules, so those from before stay: ${said%%$'\n'*}"
}

# Its own table beside all others: packets to the ports of a station from anybody else are dropped.
firewall() {
    local four="" six="" part listed=${ports//,/, }
    for part in ${allow//,/ }; do
        if [[ $part == *:* ]]; then six+="${six:+, }$part"; else four+="${four:+, }$part"; fi
    done
    put "$settings/firewall.nft" taken_by_nft <<END
# Made by provision.sh; a change here is lost when it runs again.
table inet linewatch
delete table inet linewatch
table inet linewatch {
    chain input {
        type filter hook input priority 10; policy accept;
        iif lo accept
${four:+        tcp dport { $listed \} ip saddr { $four \} accept
}${six:+        tcp dport { $listed \} ip6 saddr { $six \} accept
}        tcp dport { $listed } drop
    }
}
END
    install_file "$(files_in_use)/linewatch-firewall.service" "$root/etc/systemd/system/linewatch-firewall.service"
}

# A governor that saves power makes the first part after a pause late.
cpu() {
    put "$root/etc/tmpfiles.d/linewatch-cpu.conf" <<'END'
w /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor - - - - performance
END
}

# systemd beats the hardware, so a computer that hangs starts again; the engine's loop beats systemd.
watchdog() {
    put "$root/etc/systemd/system.conf.d/linewatch.conf" <<'END'
[Manager]
RuntimeWatchdogSec=30s
RebootWatchdogSec=5min
END
}

clock() {
    [[ -z $ntp ]] || put "$root/etc/systemd/timesyncd.conf.d/linewatch.conf" <<END
[Time]
NTP=${ntp//,/ }
END
}

start() {
    [[ -z $root ]] || return 0
    run systemctl daemon-reload
    try systemd-tmpfiles --create /etc/tmpfiles.d/linewatch-cpu.conf
    try udevadm control --reload
    try timedatectl set-ntp true
    run systemctl enable linewatch-firewall.service
    run systemctl reload-or-restart linewatch-firewall.service
}

main() {
    parse "ports= allow= ntp=" "$@"
    check_arguments
    own_station
    install_files "$(files_in_use)" rules
    cpu
    watchdog
    clock
    firewall
    start
    $dry_run || echo "provisioned ${root:-/}; the watchdog counts from the next start of the computer on"
}

main "$@"
