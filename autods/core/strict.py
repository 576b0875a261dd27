"""The base of everything read from YAML files: typed, frozen, unknown keys refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base of everything in a manifest: unknown keys are refused, values stay as read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
