"""Hosts that several tests of fetching share."""

from collections.abc import Iterator

import pytest
from many_tools import Host, serving
from servers.web import Storage, running


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running(Storage()) as server:
        yield server
        # whatever a test does, the storage host sees no credentials
        assert set(server.sent("Authorization")) <= {None}


@pytest.fixture
def host() -> Iterator[Host]:
    with serving({}) as running:
        yield running
