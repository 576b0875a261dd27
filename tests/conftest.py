"""Settings of all tests."""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, settings

# No test is timed: a busy machine makes any of them slow, and says nothing about the code.
# CI judges a change, so it tries the same examples every time; a developer's machine searches.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("untimed"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "untimed")

# Rewriting the asserts of all modules takes seconds: test processes leave what one has rewritten
# to the others, whatever the environment says of bytecode.
WRITES_NONE, sys.dont_write_bytecode = sys.dont_write_bytecode, False

# What was hashed is remembered for the tests alone.
os.environ["AUTODS_CACHE"] = tempfile.mkdtemp(prefix="autods-cache-")
atexit.register(shutil.rmtree, os.environ["AUTODS_CACHE"], ignore_errors=True)


# The fork server of a process is started once, for the worker processes of all its tests, and
# imports what the first of them needs; without what later ones need, each would import that.
PRELOADED = (
    "bmc.studies.execute", "bmc.runs.run", "bmc.engines.local_worker", "autods.streams.synthetic",
    "autods.encode.loader", "autods.encode.encoders.open_clip", "autods.checks.audit_scan",
    "torch._dynamo", "safetensors.torch", "h5py", "pytest", "quick",
)  # fmt: skip
HELPERS = str(Path(__file__).parent / "autods")  # where the last of them lies
preload, ensure_running = forkserver.set_forkserver_preload, forkserver.ensure_running


def preload_all(modules: Sequence[str]) -> None:
    preload([*dict.fromkeys([*modules, *PRELOADED])])


def ensure_running_with_helpers() -> None:
    path = os.pathsep.join([HELPERS, os.environ.get("PYTHONPATH", "")])
    with patch.dict(os.environ, PYTHONPATH=path):
        ensure_running()


forkserver.set_forkserver_preload = preload_all
forkserver.ensure_running = ensure_running_with_helpers


def pytest_collection_finish() -> None:
    """Make this process quick, once everything is imported."""
    importlib.import_module("quick")
    warm = importlib.import_module("warm")
    warm.warm_ray(lambda: warm.program("ray-worker"))
    sys.dont_write_bytecode = WRITES_NONE
