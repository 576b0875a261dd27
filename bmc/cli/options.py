"""Command-line options derived from typed dataclasses, so that the two cannot differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from bmc.cli.select import StreamChoice
from bmc.config import Config

Command = Callable[..., None]


def with_config_options(command: Command) -> Command:
    """Replace a command's ``config`` parameter by one option per field of `Config`."""
    return _with_options(command, "config", Config, "Hyper-parameters")


def with_stream_options(command: Command) -> Command:
    """Replace a command's ``choice`` parameter by one option per field of `StreamChoice`."""
    return _with_options(command, "choice", StreamChoice, "Stream")


def _with_options(command: Command, name: str, kind: Any, panel: str) -> Command:
    """Replace the parameter ``name`` of a command by one option per field of ``kind``."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != name]
    names = [f.name for f in fields(kind)]

    @wraps(command)
    def wrapper(**values: Any) -> None:
        made = kind(**{field: values.pop(field) for field in names})
        command(**values, **{name: made})

    own_hints = get_type_hints(command, include_extras=True)
    hints = get_type_hints(kind)
    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_hints[p.name]) for p in own
    ] + [_parameter(f, hints[f.name], panel) for f in fields(kind)]
    # typer reads the options from this attribute, which function types do not declare
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _parameter(field: Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    """Return the parameter that typer makes an option of; ``metadata`` are its arguments."""
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.default is MISSING else field.default,
        annotation=Annotated[hint, typer.Option(**field.metadata, rich_help_panel=panel)],
    )
