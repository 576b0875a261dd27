"""Command-line options derived from typed dataclasses, so that the two cannot differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from autods.cli import complete
from autods.errors import UsageError
from bmc.cli.command import note_overrides, sections_for
from bmc.config import ALIASES, Config
from bmc.runs.choice import StreamChoice

if TYPE_CHECKING:
    import torch

    from bmc.engines import Engine

Command = Callable[..., None]
COMPLETION = {"stream": complete.streams}


def with_config_options(command: Command) -> Command:
    """Replace ``config`` and ``overrides`` by one option per field of `Config`, and ``-o``.

    `FLAGS` are beside them, which a method's own options have on the command line.
    """

    @wraps(command)
    def wrapper(option: list[str] | None, **values: Any) -> None:
        from bmc.methods.overrides import flagged, merged, overrides_of

        flags = {name: values.pop(name) for name in FLAGS}
        overrides = merged(sections_for(values["method"]), flagged(flags, values["method"]))
        overrides = merged(overrides, overrides_of(option or []) if option else {})
        note_overrides(overrides)
        command(**values, overrides=overrides)

    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    parameters = [p for p in signature.parameters.values() if p.name != "overrides"]
    added = {"option": OverrideOption, **FLAGS}
    given = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in added]
    # typer reads the options from this attribute, which function types do not declare
    wrapper.__signature__ = signature.replace(parameters=[*parameters, *given])  # type: ignore[attr-defined]
    del hints["overrides"]
    wrapper.__annotations__ = hints | added
    return with_options(wrapper, "config", Config, "Training")


def with_stream_options(command: Command) -> Command:
    """Replace a command's ``choice`` parameter by one option per field of `StreamChoice`."""
    return with_options(command, "choice", StreamChoice, "Stream")


def with_options(command: Command, name: str, kind: Any, panel: str) -> Command:
    """Replace the parameter ``name`` of a command by one option per field of ``kind``."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != name]
    declared = [f for f in fields(kind) if "help" in f.metadata]
    names = [f.name for f in declared]

    @wraps(command)
    def wrapper(**values: Any) -> None:
        made = kind(**{field: values.pop(field) for field in names})
        command(**values, **{name: made})

    own_hints = get_type_hints(command, include_extras=True)
    hints = get_type_hints(kind)
    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_hints[p.name]) for p in own
    ] + [_parameter(f, hints[f.name], panel) for f in declared]
    # typer reads the options from this attribute, which function types do not declare
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _parameter(field: Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    """Return the parameter that typer makes an option of; ``metadata`` are its arguments."""
    short = [f"--{alias}" for alias, name in ALIASES.items() if name == field.name]
    flag = hint is bool and field.metadata.get("flag", False)  # there is no --no-NAME
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.default is MISSING else field.default,
        annotation=Annotated[
            hint,
            typer.Option(
                *([f"--{field.name.replace('_', '-')}", *short] if short or flag else []),
                **{
                    k: v
                    for k, v in field.metadata.items()
                    if k in ("help", "min", "hidden", "metavar")
                },
                rich_help_panel=panel,
                autocompletion=COMPLETION.get(field.name),
            ),
        ],
    )


OverrideOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="METHOD.OPTION=VALUE",
        help="Set an option of one method; may be repeated.",
        rich_help_panel="Training",
    ),
]
# options of methods that have a name of their own here: given to each chosen method that has them
FLAGS: dict[str, Any] = {
    "expert_rows": Annotated[
        int | None,
        typer.Option(
            min=0,
            hidden=True,
            help="Samples of a task from which on it is cut into several experts, 100,000 by "
            "default; 0: never.",
            rich_help_panel="Training",
        ),
    ]
}
EngineOption = Annotated[
    str,
    typer.Option(hidden=True, help="Where experts train: local, or a ray cluster; same results."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        hidden=True, help="host:port of a Ray cluster, or auto; default: this machine alone."
    ),
]
RayWorkersOption = Annotated[
    int | None,
    typer.Option(min=1, hidden=True, help="ray: experts that train at once; default: all cores."),
]

ThreadsOption = Annotated[
    int,
    typer.Option(
        min=1, hidden=True, help="Threads of each process; last bits of results depend on it."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, hidden=True,
        help="local: processes that train experts; default: one for each core. 1: this one.",
    ),
]  # fmt: skip


@contextmanager
def engine_of(
    name: str,
    methods: Sequence[str],
    device: torch.device,
    address: str | None,
    ray_workers: int | None,
    workers: int | None,
    threads: int,
) -> Iterator[Engine]:
    """Give the engine for these methods; errors as of `bmc.engines.open_engine`.

    Raises
    ------
    UsageError
        When none of the methods has experts that another engine could train, or the engine
        has no such workers.
    """
    from bmc.engines import crew_devices, open_engine
    from bmc.methods import METHODS

    if name != "local" and not any(METHODS.get(method).has_experts for method in methods):
        raise UsageError(
            f"--engine {name} trains experts, and --method {','.join(methods)} has none; nothing "
            "was run. Leave --engine out."
        )

    if name != "local" and workers is not None:
        raise UsageError(f"--workers goes with --engine local, not {name}; nothing was run.")

    def note(text: str) -> None:
        typer.echo(text, err=True)

    devices = crew_devices(device, threads, workers)
    with open_engine(name, address, ray_workers, device.type, note, devices) as engine:
        yield engine
