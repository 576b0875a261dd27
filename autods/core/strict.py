"""The base of everything read from YAML files: typed, frozen, unknown keys refused."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T", bound=Hashable)


class Strict(BaseModel):
    """Base of everything in a manifest: unknown keys are refused, values stay as read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def repeated(values: Iterable[T]) -> T | None:
    """Return the first value that occurs twice, or ``None``."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
