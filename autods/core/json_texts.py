"""JSON of others: nested too deep, a text is no JSON, instead of a `RecursionError`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says; `ValueError` if it is none, or is nested too deep."""
    with deep_values():
        return json.loads(text)


@contextmanager
def deep_values() -> Iterator[None]:
    """Turn the `RecursionError` of values that lie too deep in each other into a `ValueError`."""
    try:
        yield
    except RecursionError:
        raise ValueError("its values lie too deep in each other") from None
