#!/usr/bin/env bash
# Build the archive that installs a station without a network. Two builds of one commit have one hash.
set -euo pipefail

# shellcheck source=firmware_scripts/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
out=dist wheels="" python=$here/.venv/bin/python

usage() {
    cat <<'END'
Usage: package.sh [--out DIR] [--wheels DIR] [--python FILE] [--dry-run]

  --out DIR      where linewatch-VERSION-COMMIT.tar is written, and linewatch_VERSION+DATE.COMMIT_amd64.deb where
                 dpkg-deb is there; default: dist
  --wheels DIR   take the dependencies from DIR, without a network (filled by: firmware_scripts/wheels.py DIR)
  --python FILE  a Python with pip, setuptools and packaging; default: that of .venv

For the first installation: sudo apt install ./linewatch_*.deb. For every one, on the station: tar xf linewatch-*.tar, cd into it, sha256sum -c --quiet SHA256SUMS, and
sudo firmware_scripts/install.sh --wheel linewatch-*.whl --wheels wheels
END
}

check_arguments() {
    takes_nothing_else
    [[ -x $python ]] || fail 2 "$python is no Python; run make test first, or give one with --python"
    [[ -z $wheels || -d $wheels ]] || fail 2 "$wheels is not a folder of wheels"
    [[ -z $wheels ]] || wheels=$(realpath -- "$wheels")
    out=$(realpath -m -- "$out")
    commit=$(git -C "$here" rev-parse --short=12 HEAD) || fail 1 "$here is no git checkout; the commit names the archive"
    SOURCE_DATE_EPOCH=$(git -C "$here" log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
    umask 022
}

# Only what is committed goes in, so that the commit tells what is in it.
collect() { # collect FOLDER
    local pip=("$python" -m pip --quiet --disable-pip-version-check --no-input)
    git -C "$here" archive HEAD firmware_scripts systemd requirements/base.lock requirements/tools.lock models/default LICENSE README.md |
        tar -x -C "$1"
    mkdir "$1/.source"
    git -C "$here" archive HEAD pyproject.toml README.md LICENSE edge train | tar -x -C "$1/.source"
    "${pip[@]}" wheel --no-deps --no-build-isolation -w "$1" "$1/.source"
    rm -rf "$1/.source"
    local source=()
    [[ -z $wheels ]] || source=(--no-index --find-links "$wheels")
    "$python" "$1/firmware_scripts/wheels.py" "$1/wheels" "${source[@]}"
    "$python" "$here/firmware_scripts/sbom.py" "$1"
    (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >"$1.sums"
    mv "$1.sums" "$1/SHA256SUMS"
}

pack() { # pack FOLDER
    local folder=$1 name
    name=$(basename -- "$folder")
    tar --create --file "$out/.$name.tar" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" \
        --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$(dirname -- "$folder")" "$name"
    mv "$out/.$name.tar" "$out/$name.tar"
    echo "$out/$name.tar"
}

# For the first installation. It owns usr/lib/linewatch and nothing else; install.sh and the releases own what it starts.
debian() { # debian FOLDER VERSION
    local tree=$work/deb file=$out/linewatch_$2_amd64.deb
    command -v dpkg-deb >/dev/null || { echo "no .deb: dpkg-deb is missing" >&2 && return; }
    mkdir -p "$tree/DEBIAN" "$tree/usr/lib" "$tree/usr/share/doc/linewatch"
    cp -R -- "$1" "$tree/usr/lib/linewatch"
    cp -- "$here/LICENSE" "$tree/usr/share/doc/linewatch/copyright"
    sed "s/@VERSION@/$2/" "$here/firmware_scripts/debian/control" >"$tree/DEBIAN/control"
    install -m 0755 "$here"/firmware_scripts/debian/{postinst,prerm} "$tree/DEBIAN"
    chmod -R u=rwX,go=rX "$tree"
    # The wheels are compressed already.
    dpkg-deb --build --root-owner-group -Znone "$tree" "$out/.deb.new" >/dev/null
    mv -- "$out/.deb.new" "$file"
    echo "$file"
}

main() {
    parse "out= wheels= python=" "$@"
    check_arguments
    local version name
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/pyproject.toml")
    name=linewatch-$version-$commit
    if $dry_run; then
        echo "would write: $out/$name.tar"
        return
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$out" "$work/$name"
    collect "$work/$name"
    pack "$work/$name"
    debian "$work/$name" "$version+$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$commit" # a later commit is newer
}

main "$@"
