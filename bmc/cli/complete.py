"""What the shell offers for a method's name: found without importing one, which takes seconds."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

from autods.cli.complete import last_of_list

REGISTERED = re.compile(r'^@METHODS\.register\("([^"]+)"\)', re.MULTILINE)


def methods(incomplete: str) -> list[str]:
    """Return the ways to complete methods that are separated by commas, or ``all``."""
    folder = Path(__file__).parents[1] / "methods"
    own = {n for path in folder.glob("*.py") for n in REGISTERED.findall(path.read_text("utf-8"))}
    others = {entry.name for entry in entry_points(group="bmc.methods")}
    return last_of_list(incomplete, own | others | (set() if "," in incomplete else {"all"}))
