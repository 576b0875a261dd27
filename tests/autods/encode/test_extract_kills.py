"""A handful of the kills of ``scripts/bench/kills.py``; those on Ray are in test_extract_ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "kills.py"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc")
def test_an_extraction_of_20_shards_that_is_killed_8_times_ends_with_the_same_bytes():
    options = ["--plain", "8", "--decoders", "0", "--devices", "0", "--ray", "0", "--json"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["kills"] == {"the command": 8}
    assert row["identical"] == row["extractions"] > 0
