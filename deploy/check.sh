#!/usr/bin/env bash
# `make check-deploy`: what needs Debian packages. It says what it skips, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${STEPWAY_DEPLOY_CACHE:-/var/tmp/stepway-deploy}
image=localhost/stepway:check
bud=(buildah bud --isolation=chroot --layers=false)

has() { command -v "$1" >/dev/null; }

base() { # a Debian with Python, made here because images may not be pulled
    buildah inspect --type image localhost/stepway-base >/dev/null 2>&1 && return
    mkdir -p "$work"
    [ -e "$work/root/etc/debian_version" ] ||
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" >"$work/debootstrap.log"
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/root" / >/dev/null
    buildah commit --quiet "$container" localhost/stepway-base >/dev/null
    buildah rm "$container" >/dev/null
}

build() {
    local given=()
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ -e "$file" ] && given+=(--volume "$file:$file:ro")
    done
    "${bud[@]}" "${given[@]}" --build-arg BASE=localhost/stepway-base -f deploy/images/Dockerfile -t "$image" . >"$work/build.log" 2>&1 ||
        { tail -20 "$work/build.log"; return 1; }
}

try() { # each service starts far enough to name what it was not told; nothing runs as root
    container=$(buildah from "$image")
    for service in intake scheduling care family notifications; do
        said=$(buildah run --isolation=chroot "$container" python -m "stepway_$service" 2>&1 || true)
        [[ $said == *"missing: STEPWAY_DATABASE_URL"* ]] || { echo "$service said: $said"; return 1; }
    done
    [ "$(buildah run --isolation=chroot "$container" id -u)" = 10001 ] || { echo "the image runs as root"; return 1; }
    buildah rm "$container" >/dev/null
}

if has promtool; then
    promtool check config --lint=all --lint-fatal deploy/prometheus/prometheus.yml
else
    echo "skipped: prometheus.yml (needs promtool, of Debian's prometheus)"
fi
if has buildah && { has debootstrap || buildah inspect --type image localhost/stepway-base >/dev/null 2>&1; }; then
    base && build && try && echo "image: built, five services start in it, as user 10001"
else
    for program in buildah debootstrap; do has "$program" || echo "skipped: the image (needs $program)"; done
fi
