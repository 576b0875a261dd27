"""Which methods can learn a stream."""

from __future__ import annotations

from collections.abc import Iterable

from autods.errors import UsageError
from autods.streams.stream import Stream
from bmc.config import Config, Overrides
from bmc.methods import METHODS
from bmc.methods.overrides import check_chosen, config_for


def methods_named(text: str) -> list[str]:
    """Return the methods of a comma-separated list, or of ``all``.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, or there is none.
    """
    names = METHODS.names() if text == "all" else [part for part in text.split(",") if part]
    if not names:
        raise UsageError(f"--method: expected names such as bmc,er or 'all'; got '{text}'.")
    for name in names:
        METHODS.get(name)
    return list(dict.fromkeys(names))


def choose_methods(
    text: str, streams: Iterable[Stream], config: Config, overrides: Overrides
) -> tuple[list[str], list[str]]:
    """Return the methods that a list names, or those of ``all`` that can learn the streams.

    Returns
    -------
    tuple
        Their names, and a line about each that ``all`` left out.

    Raises
    ------
    UnknownName, UsageError
        When a name is unknown, a method that is named cannot learn a stream, or ``overrides``
        has values of a method that is not chosen.
    """
    names, left_out = methods_named(text), []
    check_chosen(overrides, names)
    for stream in streams:
        if text == "all":
            names, notes = fitting(names, stream, config, overrides)
            left_out += notes
        else:
            check_fitting(names, stream, config, overrides)
    return names, left_out


def fitting(
    names: Iterable[str], stream: Stream, config: Config, overrides: Overrides
) -> tuple[list[str], list[str]]:
    """Leave out the methods that cannot learn a stream: what ``all`` means for it.

    Returns
    -------
    tuple
        The names of those that can, in their order, and a line about each that was left out.
    """
    reasons = {name: _reason(name, stream, config, overrides) for name in names}
    notes = [f"{reason} It was left out." for reason in reasons.values() if reason is not None]
    return [name for name, reason in reasons.items() if reason is None], notes


def check_fitting(
    names: Iterable[str], stream: Stream, config: Config, overrides: Overrides
) -> None:
    """Check that methods named one by one can learn a stream.

    Raises
    ------
    UsageError
        With the reason of the first that cannot.
    """
    for name in names:
        if (reason := _reason(name, stream, config, overrides)) is not None:
            raise UsageError(f"{reason} Nothing was run.")


def _reason(name: str, stream: Stream, config: Config, overrides: Overrides) -> str | None:
    return METHODS.get(name).unfit(stream, config_for(name, config, overrides))
