#!/usr/bin/env bash
# Says whether requirements/gpu.txt is whole and without a conflict, by the packages' metadata; needs uv and no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=requirements/gpu.txt
for version in 3.11 3.12; do
    resolved=$(uv pip compile --quiet --no-header --no-annotate --python-version "$version" \
        --python-platform x86_64-manylinux_2_28 "$lock")
    diff <(grep -v '^#' "$lock") <(echo "$resolved") || { echo "$lock is not what it resolves to on Python $version" >&2; exit 1; }
done
echo "$lock is whole"
