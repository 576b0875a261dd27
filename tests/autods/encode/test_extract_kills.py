"""A handful of the kills of ``scripts/bench/kills.py``; those on Ray are in test_extract_ray."""

import json
import subprocess
from pathlib import Path

import pytest
from warm import program

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "kills.py"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc")
def test_an_extraction_of_20_shards_that_is_killed_8_times_ends_with_the_same_bytes():
    others = ("decoders", "devices", "ray", "fetch", "index", "run", "sweep", "compare")
    options = ["--plain", "8", "--json", *(w for name in others for w in (f"--{name}", "0"))]
    done = subprocess.run(
        [program("python"), SCRIPT, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert sum(row["kills"].values()) == 8  # of the command, and of the child that parses for it
    assert row["identical"] == row["extractions"] > 0
