"""A finding: what every check of the machine reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, how it is, and what to do about it."""

    check: str
    state: Literal["ok", "warn", "fail"]
    text: str
    cure: str = ""
