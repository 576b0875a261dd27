"""Cores that may be used, and the threads of worker processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm import program

from autods.core import cores


@pytest.mark.parametrize(
    ("files", "lines", "expected"),
    [
        ({"cpu.max": "max 100000"}, "0::/", 64),
        ({"cpu.max": "150000 100000"}, "0::/", 2),
        ({"cpu.max": "50000 100000"}, "0::/job", 1),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 3),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, "0::/a/b", 2),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", 64),
        ({"cpu,cpuacct/cpu.cfs_quota_us": "400000",
          "cpu,cpuacct/cpu.cfs_period_us": "100000"}, "3:pids:/\n1:cpu,cpuacct:/host", 4),
        ({"cpu.max": "nonsense"}, "0::/", 64),
        ({}, "7:memory:/x\n0::/", 64),
    ],
)  # fmt: skip
def test_usable_cores_are_those_of_the_affinity_within_the_quota_of_all_groups(
    tmp_path, monkeypatch, files, lines, expected
):
    (tmp_path / "cgroup").write_text(lines + "\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    monkeypatch.setattr(cores, "PROC", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert cores.usable_cores() == expected


CHILD = """
import os
from multiprocessing.connection import Connection
from autods.core.processes import worker_context

def work(parent: Connection) -> None:
    import numpy
    numpy.ones((500, 500)) @ numpy.ones((500, 500))
    pools = {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")}
    parent.send([pools, len(os.listdir("/proc/self/task"))])

if __name__ == "__main__":
    here, there = (context := worker_context(["numpy"])).Pipe()
    context.Process(target=work, args=(there,)).start()
    import json
    print(json.dumps([here.recv(), os.environ.get("OMP_NUM_THREADS")]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("chosen", [None, "7"])
def test_a_worker_process_has_one_thread_whatever_its_parent_has(tmp_path, chosen):
    script = tmp_path / "parent.py"
    script.write_text(CHILD)
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    kept |= {"OMP_NUM_THREADS": chosen} if chosen else {}
    done = subprocess.run(
        [program("python"), script], env=kept, capture_output=True, text=True, check=True
    )
    (pools, threads), of_parent = json.loads(done.stdout)
    assert set(pools.values()) == {"1"} and "OPENBLAS_NUM_THREADS" in pools
    assert threads == 1
    assert of_parent == chosen


STARTED = """
import json, os, sys
import {0}.cli.app as app
app.run_app = lambda *_, **__: print(json.dumps(["numpy" in sys.modules, dict(os.environ)]))
app.main()
"""


@pytest.mark.parametrize(
    ("package", "chosen", "of_torch"),
    [("autods", None, None), ("autods", "3", None), ("bmc", None, "1")],
)
def test_commands_compute_with_one_thread_unless_a_user_or_an_encoder_wants_more(
    package, chosen, of_torch
):
    kept = {k: v for k, v in os.environ.items() if k not in cores.POOLS}
    kept |= {"OPENBLAS_NUM_THREADS": chosen} if chosen else {}
    code = STARTED.format(package)
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True
    )
    loaded, found = json.loads(done.stdout)
    assert not loaded  # its pool would have been made
    assert found["OPENBLAS_NUM_THREADS"] == (chosen or "1")
    assert found.get("OMP_NUM_THREADS") == found.get("VECLIB_MAXIMUM_THREADS") == of_torch
