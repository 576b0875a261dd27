"""Settings of all tests."""

import os

from hypothesis import settings

# CI judges a change, so it tries the same examples every time; a developer's machine searches.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")
