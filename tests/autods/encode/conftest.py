"""The encoder that most tests of extraction share."""

import pytest
from encode_tools import tiny_encoder

from autods.encode.encoders.open_clip import OpenClipEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OpenClipEncoder:
    return tiny_encoder(tmp_path_factory.mktemp("config"))
