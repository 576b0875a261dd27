"""The options of ``bmc-stream`` that say where experts train, and the engine they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from autods.errors import UsageError

if TYPE_CHECKING:
    import torch

    from bmc.engines import Engine

EngineOption = Annotated[
    str, typer.Option(help="Where experts train: local, or a ray cluster; same results.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="host:port of a Ray cluster, or auto; default: this machine alone."),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="ray: experts that train at once; default: all cores.")
]


@contextmanager
def engine_of(
    name: str,
    methods: Sequence[str],
    device: torch.device,
    address: str | None,
    workers: int | None,
) -> Iterator[Engine]:
    """Give the engine for these methods; errors as of `bmc.engines.open_engine`.

    Raises
    ------
    UsageError
        When none of the methods has experts that another engine could train.
    """
    from bmc.engines import open_engine
    from bmc.methods import METHODS

    if name != "local" and not any(METHODS.get(method).has_experts for method in methods):
        raise UsageError(
            f"--engine {name} trains experts, and --method {','.join(methods)} has none; nothing "
            "was run. Leave --engine out."
        )

    def note(text: str) -> None:
        typer.echo(text, err=True)

    with open_engine(name, address, workers, device.type, note) as engine:
        yield engine
