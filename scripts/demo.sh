#!/usr/bin/env bash
# The whole product on small data, without a network (after installation).
#   scripts/demo.sh [--pretrained TAG|FILE]
# Without --pretrained the encoder is randomly initialised: the pipeline is real, the
# features are not.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

weights=(--random-weights 0)
if [ "${1:-}" = --pretrained ] && [ $# = 2 ]; then
    weights=(--pretrained "$2")
elif [ $# != 0 ]; then
    echo "usage: scripts/demo.sh [--pretrained TAG|FILE]" >&2
    exit 2
fi
environment demo

out=demo-output
rm -rf "$out"
export AUTODS_ROOT=$PWD/$out/root AUTODS_MANIFESTS=$PWD/$out/manifests
datasets=(digits shapes glyphs textures)
step() { printf '\n== %s\n' "$*"; }

step "1. Four small image datasets: real handwritten digits; drawn shapes, glyphs, textures"
python scripts/demo_images.py "$out/images"
for name in "${datasets[@]}"; do
    autods new "$name" --folder "$out/images/$name" --out "$AUTODS_MANIFESTS"
done

step "2. manifest -> fetch -> index -> open_clip features -> verify"
autods fetch "${datasets[@]}"
autods index "${datasets[@]}"
autods extract "${datasets[@]}" --model ViT-B-32 "${weights[@]}"
autods verify
encoder=$(autods status --json | python -c '
import json, sys
print(json.load(sys.stdin)["datasets"][0]["features"][0])')

step "3. The four datasets as one class-incremental stream"
bmc-stream run --scenario class-il --stream digits,shapes,glyphs,textures \
    --encoder "$encoder" --method bmc,slda --memory 100 -o bmc.experts=2 -o bmc.buffer=50 \
    --out "$out/images-class-il"

step "4. 71 tasks, 2,866 classes: the synthetic stream with the shape of Stream"
bmc-stream run --scenario class-il --stream synthetic \
    --method bmc,finetune,er,joint,slda --epochs "${DEMO_EPOCHS:-5}" -o bmc.experts=16 \
    --out "$out/synthetic-class-il"
