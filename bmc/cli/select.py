"""Methods that a command line names, looked up."""

from __future__ import annotations

from collections.abc import Iterable

from autods.errors import UsageError


def methods_of(text: str) -> list[str]:
    """Return the methods of a comma-separated list, or all of them.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, or there is none.
    """
    from bmc.methods import METHODS

    names = METHODS.names() if text == "all" else [part for part in text.split(",") if part]
    if not names:
        raise UsageError(f"--method: expected names such as bmc,er or 'all'; got '{text}'.")
    for name in names:
        METHODS.get(name)
    return list(dict.fromkeys(names))


def with_finetune(methods: Iterable[str]) -> list[str]:
    """Add fine-tuning, whose time is 100 % of relative time, unless it is among the methods."""
    from bmc.report.load import BASE_OF_TIME

    return list(dict.fromkeys([*methods, BASE_OF_TIME]))
