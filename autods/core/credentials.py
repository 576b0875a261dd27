"""Credentials for hosts, and the lookup of the Hugging Face Hub's token."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

HUB = "https://huggingface.co"  # HF_ENDPOINT overrides it
HUB_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
HUB_LOG_IN = f"Make a token at {HUB}/settings/tokens and run 'hf auth login', or set HF_TOKEN."


@dataclass(frozen=True)
class Credentials:
    """An authorization for a host. Never printed: neither repr nor str shows it."""

    source: str  # the variable or the path it comes from
    authorization: str = field(repr=False)  # value of the header
    note: str = ""  # a line for the user about the source


def hub_credentials() -> Credentials | None:
    """Return the Hub's token and its source, or ``None``."""
    from huggingface_hub import constants, get_token

    token = get_token()
    if not token:
        return None
    variable = next((name for name in HUB_VARIABLES if os.environ.get(name)), None)
    return Credentials(variable or constants.HF_TOKEN_PATH, f"Bearer {token}")
