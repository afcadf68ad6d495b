#!/usr/bin/env bash
# Write what somebody needs to find a fault into one file, without secrets, people or pictures. Safe to run again.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
days=3

usage() {
    cat <<'END'
Usage: collect-logs.sh [--out DIR] [--root DIR] [--days N] [--dry-run]

  --out DIR   where linewatch-logs-DATE.tar.gz is written; default: the present folder
  --root DIR  the station below DIR instead of / (without the logs of the services)
  --days N    how far the logs go back; default: 3
  --dry-run   say what would be done, change nothing

Passwords, tokens, keys and names are blanked, of an address all but its host. Only the owner can read the file. Read it
before you give it away: what no word and no address announces cannot be known for a secret.
END
}

# What outlives a script that is killed must not hold the lock of its folder.
keep() { # keep NAME COMMAND...: what it says, or why it says nothing
    local name=$1
    shift
    { run timeout 60 "$@" 2>&1 || echo "($* ended with status $?)"; } 7<&- |
        python3 "$here/firmware_scripts/blanked.py" 7<&- >"$work/logs/$name"
}

collect() {
    keep system.txt uname -a
    keep disk.txt df -h
    keep memory.txt free -m
    keep cpu.txt lscpu
    keep station.toml cat "$config"
    keep versions.json cat "$settings/trust/versions.json"
    keep bundle-acts.jsonl cat "$settings/trust/audit.jsonl"
    keep health.json cat "$root/run/linewatch/health.json"
    keep metrics.prom cat "$root/run/linewatch/metrics.prom"
    keep files.txt find "$opt" "$state" "$settings" -maxdepth 2 -printf '%M %u:%g %s %TY-%Tm-%Td %p -> %l\n'
    [[ ! -x $python ]] || keep doctor.json "$python" -P -m edge doctor --json --config "$config"
    [[ -z $root ]] || return 0
    keep engine.log journalctl --no-pager -u linewatch-engine --since "-${days}d"
    keep page.log journalctl --no-pager -u linewatch-page --since "-${days}d"
    keep kernel.log journalctl --no-pager -k -p warning --since "-${days}d"
    keep units.txt systemctl --no-pager show "${units[@]}"
}

main() {
    parse "out= days=" "$@"
    takes_nothing_else
    [[ $days =~ ^[0-9]{1,4}$ ]] || fail 2 "--days $days is no number of days"
    find_station the logs
    umask 077
    name_file logs tar.gz
    mkdir -- "$work/logs"
    collect
    run tar -czf "$file.new" -C "$work" logs
    settle "$file.new" "$file"
    echo "$file"
}

main "$@"
