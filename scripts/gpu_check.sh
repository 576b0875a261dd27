#!/usr/bin/env bash
# Check everything on a CUDA device, without a network: right first, then how fast. Under 6 minutes.
#   scripts/gpu_check.sh OUT [--wheels FOLDER] [OPTIONS of scripts/bench/gpu_check.py]
# Python (PYTHON=..., default python3) must have torch. Other missing packages are installed from
# the wheels in FOLDER to OUT/site, and nowhere else. Results: OUT/gpu_check.json.
set -euo pipefail
[ $# -ge 1 ] && [ "${1:0:1}" != - ] || { sed -n '2,5s/^# \?//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
wheels=
if [ "${1:-}" = --wheels ]; then
    wheels=$(cd "${2:?--wheels: expected a folder}" && pwd)
    shift 2
fi
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$out/site:$PWD" OMP_NUM_THREADS=1

missing=$("$python" scripts/bench/gpu/missing.py)
if [ -n "$missing" ] && [ -n "$wheels" ]; then
    for package in $missing; do # one by one: what has no wheel is named below, all at once
        "$python" -m pip install --quiet --no-index --no-deps --find-links "$wheels" \
            --target "$out/site" "$package" || true
    done
    missing=$("$python" scripts/bench/gpu/missing.py)
fi
if [ -n "$missing" ]; then
    vital=$("$python" scripts/bench/gpu/missing.py --training)
    what="Parts encode and files will fail, the others are measured."
    [ -z "$vital" ] || what="Nothing was measured."
    others=$(grep -Ev '^(torch|timm|open_clip)' <<<"$missing" || true) # need no torch themselves
    these=$(grep -E '^(torch|timm|open_clip)' <<<"$missing" || true)
    download="pip download --only-binary=:all: --python-version"
    download+=" $("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') -d wheels"
    echo "Packages are missing: ${missing//$'\n'/ }. $what Where there is a network, run" >&2
    [ -z "$others" ] || echo "  $download ${others//$'\n'/ }" >&2 # in versions that go together
    [ -z "$these" ] || echo "  $download --no-deps ${these//$'\n'/ }" >&2
    echo "and give the folder: --wheels wheels" >&2
    [ -z "$vital" ] || exit 2
fi
exec "$python" scripts/bench/gpu_check.py "$out" "$@"
