#!/usr/bin/env bash
# Builds the CPU image, starts its server, checks the answer to a question about an image, and prints the image's size.
# With Docker if its daemon answers; else with buildah (Debian, as root), on a base image made by debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."
name=llava-interleave-serve
port=${PORT:-8765}
work=$(mktemp -d)
trap 'cleanup' EXIT

ask() {
    picture=$(base64 -w0 docs/shapes.png)
    curl -sf "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' -d @- <<JSON
{"messages": [{"role": "user", "content": [
  {"type": "image_url", "image_url": {"url": "data:image/png;base64,$picture"}},
  {"type": "text", "text": "What is in the image?"}]}], "temperature": 0}
JSON
}

check() { # waits until the server is ready, then compares its answer
    for _ in $(seq 300); do
        curl -sf "http://127.0.0.1:$port/ready" >/dev/null && break
        sleep 1
    done
    answer=$(ask)
    echo "$answer"
    grep -q "A red circle, a blue square and a yellow star." <<<"$answer"
}

if docker info >/dev/null 2>&1; then
    cleanup() { docker rm -f "$name-test" >/dev/null 2>&1 || true; rm -rf "$work"; }
    docker build --build-arg DEVICE=cpu -t "$name:cpu" .
    docker run -d --name "$name-test" -p "127.0.0.1:$port:9000" "$name:cpu" --port 9000 >/dev/null
    check
    docker exec "$name-test" python -m llava_interleave_serve.server.health_check
    test "$(docker exec "$name-test" id -u)" = 1000
    echo "size: $(($(docker image inspect -f '{{.Size}}' "$name:cpu") / 1048576)) MiB"
    exit
fi

export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
container= pid=
descendants() { # of a process
    for child in $(pgrep -P "$1"); do
        echo "$child"
        descendants "$child"
    done
}
cleanup() {
    # Ends the server, which ends its engine. Ending buildah alone would leave both running.
    for child in ${pid:+$(descendants "$pid")}; do
        ! grep -q llava-interleave "/proc/$child/cmdline" || kill -TERM "$child" || true
    done 2>/dev/null
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    [ -z "$container" ] || buildah rm "$container" >/dev/null || true
    rm -rf "$work"
}
if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
    apt-get update -q && apt-get install -qy --no-install-recommends buildah debootstrap
fi
if ! buildah inspect localhost/base:bookworm >/dev/null 2>&1; then
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | grep -E '^(URIs:|deb) ' | grep -oE 'https?://[^ ]+' | head -1)
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$work/root" "$mirror"
    base=$(buildah from scratch)
    buildah add -q "$base" "$work/root" /
    buildah commit -q "$base" localhost/base:bookworm
    buildah rm "$base" >/dev/null
    rm -rf "$work/root"
fi

# The files by which this machine's pip and apt reach their registries are mounted during the build; no layer keeps them.
{
    echo "[global]"
    python3 -m pip config list | sed -nE "s/^(global|install|:env:)\.([a-z-]+)='(.*)'$/\2 = \3/p" | sort -u -t' ' -k1,1
} >"$work/pip.conf"
mounts=(--volume "$work/pip.conf:/etc/pip.conf:ro")
for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/ssl/certs \
    $(grep -oE '(file:/)?/[^ ]+' "$work/pip.conf" | sed 's|^file:/||; s|^/*|/|; s|/simple$||' | sort -u); do
    [ -e "$path" ] && mounts+=(--volume "$path:$path:ro")
done
buildah bud --format docker --layers --build-arg BASE=localhost/base:bookworm --build-arg DEVICE=cpu \
    "${mounts[@]}" -t "localhost/$name:cpu" .

container=$(buildah from "localhost/$name:cpu")
buildah run --user server "$container" -- llava-interleave serve --host 0.0.0.0 --port "$port" >"$work/log" 2>&1 &
pid=$!
check || { tail -50 "$work/log"; exit 1; }
buildah run --user server "$container" -- python -m llava_interleave_serve.server.health_check
test "$(buildah run "$container" -- id -u)" = 1000
echo "size: $(du -sm "$(buildah mount "$container")" | cut -f1) MiB"
