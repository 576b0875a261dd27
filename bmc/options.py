"""Command-line options derived from the typed configuration, so that the two cannot differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from bmc.config import Config


def with_config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's ``config`` parameter by one option per field of `Config`."""
    hints = get_type_hints(Config)
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "config"]
    options = [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default,
            annotation=Annotated[
                hints[f.name],
                typer.Option(help=f.metadata["help"], rich_help_panel="Hyper-parameters"),
            ],
        )
        for f in fields(Config)
    ]

    @wraps(command)
    def wrapper(**values: Any) -> None:
        config = Config(**{f.name: values.pop(f.name) for f in fields(Config)})
        command(**values, config=config)

    own_hints = get_type_hints(command, include_extras=True)
    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_hints[p.name]) for p in own
    ] + options
    # typer reads the options from this attribute, which function types do not declare
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper
