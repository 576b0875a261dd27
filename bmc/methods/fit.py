"""Which methods can learn a stream."""

from __future__ import annotations

from collections.abc import Iterable

from autods.errors import UsageError
from autods.streams.stream import Stream
from bmc.config import Config, Overrides
from bmc.methods import METHODS
from bmc.methods.overrides import check_chosen, config_for


def choose_methods(
    text: str, streams: Iterable[Stream], config: Config, overrides: Overrides
) -> tuple[list[str], list[str]]:
    """Return the methods of a comma-separated list, or those of ``all`` that can learn the streams.

    The second list has a line about each that ``all`` left out. A method that is named but cannot
    learn a stream, and overrides of a method that is not chosen, raise `UsageError`.
    """
    named = [name for part in text.split(",") if (name := part.strip())]
    chosen = METHODS.names() if text == "all" else named
    if not chosen or (len(chosen) > 1 and "all" in chosen):
        raise UsageError(f"--method: expected names such as bmc,er or 'all'; got '{text}'.")
    for name in chosen:
        METHODS.get(name)
    names, left_out = list(dict.fromkeys(chosen)), []
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
    """Return the methods that can learn a stream, and a line about each of the others."""
    reasons = {name: _reason(name, stream, config, overrides) for name in names}
    notes = [f"{reason} It was left out." for reason in reasons.values() if reason is not None]
    return [name for name, reason in reasons.items() if reason is None], notes


def check_fitting(
    names: Iterable[str], stream: Stream, config: Config, overrides: Overrides
) -> None:
    """Raise `UsageError` with the reason of the first method that cannot learn a stream."""
    for name in names:
        if (reason := _reason(name, stream, config, overrides)) is not None:
            raise UsageError(f"{reason} Nothing was run.")


def _reason(name: str, stream: Stream, config: Config, overrides: Overrides) -> str | None:
    return METHODS.get(name).unfit(stream, config_for(name, config, overrides))
