#!/usr/bin/env bash
# The published experiment on Stream: published features (downloaded once), then all
# published methods with the preset published-code (--preset paper: the poster's equations). Run again,
# it goes on where it stopped.
#   scripts/reproduce_paper.sh [OPTIONS of bmc-stream reproduce]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
environment train

autods fetch --features stream-clip
bmc-stream reproduce stream-clip --resume "$@"
