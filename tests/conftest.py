"""Settings of all tests."""

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

# No test is timed: a busy machine makes any of them slow, and says nothing about the code.
# CI judges a change, so it tries the same examples every time; a developer's machine searches.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("untimed"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "untimed")

# What was hashed is remembered for the tests alone.
os.environ["AUTODS_CACHE"] = tempfile.mkdtemp(prefix="autods-cache-")
atexit.register(shutil.rmtree, os.environ["AUTODS_CACHE"], ignore_errors=True)
