"""Hosts that several tests of fetching share."""

from collections.abc import Iterator

import pytest
from many_tools import Host, serving
from servers.web import Storage, running

from autods.fetch.sources import base


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BACKOFF", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


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
