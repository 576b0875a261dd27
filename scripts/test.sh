#!/usr/bin/env bash
# Every check: format, lint, types, tests. Sets up its own environment.
# Arguments go to pytest, for example: scripts/test.sh tests/bmc -k reservoir
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
environment dev

# The report is tested in a real browser. In CI one is installed; elsewhere those tests
# are skipped, with the reason, where there is none.
if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && ! command -v chromium >/dev/null &&
    command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq chromium fonts-dejavu-core >/dev/null ||
        echo "chromium could not be installed; the browser tests will be skipped"
fi

ruff format --check .
ruff check .
mypy
export OMP_NUM_THREADS=1 # two test processes on two cores
python -m pytest -n "${TEST_PROCESSES:-2}" "$@"
