#!/usr/bin/env bash
# Every check: format, lint, types, imports, tests. Sets up its own environment.
# Arguments go to pytest, for example: scripts/test.sh tests/bmc -k reservoir
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
environment dev

# The report is tested in a real browser, and archives by the tools that unpack them. In CI
# these are installed, and tests of archives must run; elsewhere tests are skipped, with the
# reason, where there is none.
install() { # PACKAGES COMMAND.. : install the packages unless all commands are there
    local packages=$1 name
    shift
    for name; do
        command -v "$name" >/dev/null && continue
        # shellcheck disable=SC2086 # several packages
        apt-get update -qq && apt-get install -y -qq $packages >/dev/null ||
            echo "$packages: could not be installed"
        return
    done
}
if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install "chromium fonts-dejavu-core" chromium
    install "libarchive-tools 7zip" bsdtar 7zz
fi

ruff format --check .
ruff check .
mypy
lint-imports --no-logo
export OMP_NUM_THREADS=1 # two test processes on two cores
python -m pytest -n "${TEST_PROCESSES:-2}" "$@"
