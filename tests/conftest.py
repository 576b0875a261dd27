"""Settings of all tests."""

import os

from hypothesis import HealthCheck, settings

# No test is timed: a busy machine makes any of them slow, and says nothing about the code.
# CI judges a change, so it tries the same examples every time; a developer's machine searches.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("untimed"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "untimed")
