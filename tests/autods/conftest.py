"""Fixtures that many tests of autods share."""

from pathlib import Path

import pytest

from autods.core.root import DataRoot


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "root")
