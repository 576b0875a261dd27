"""The scripts run; what they measure is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def test_the_loader_benchmark_reads_the_same_samples_both_ways_and_prints_json():
    command = [sys.executable, SCRIPTS / "bench_loader.py", "--samples", "300", "--json"]
    options = ["--rounds", "1", "--seconds", "0.05", "--workers", "0", "--dim", "16"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert "shards" in json.dumps(printed)
    assert "lmdb" in json.dumps(printed)


def test_the_demo_draws_the_same_images_every_time(tmp_path):
    for part in ("a", "b"):
        command = [sys.executable, SCRIPTS / "demo_images.py", tmp_path / part]
        subprocess.run(command, capture_output=True, check=True)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(names) == 372
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
