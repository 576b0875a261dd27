"""A browser for the tests of the report's page."""

from collections.abc import Iterator

import pytest
from chromium import EXECUTABLE, Page


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Page]:
    if EXECUTABLE is None:
        pytest.skip("no Chromium is installed")
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page
