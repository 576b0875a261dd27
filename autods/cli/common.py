"""What the groups of commands of ``autods`` share: options, and how datasets are chosen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli import complete
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Names of datasets.", autocompletion=complete.datasets),
]
Root = Annotated[
    Path | None, typer.Option(help="Data root; default AUTODS_ROOT, else the user's data folder.")
]
Manifests = Annotated[
    list[Path] | None, typer.Option(help="Further folder of manifests; can be repeated.")
]
All = Annotated[bool, typer.Option("--all", help="Every dataset that has a manifest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[str, typer.Option(help="An open_clip model.")]
Pretrained = Annotated[
    str | None, typer.Option(help="Tag of published weights, or a checkpoint file.")
]
RandomWeights = Annotated[
    int | None, typer.Option(help="Seed of random weights, to try the pipeline out.")
]
Precision = Annotated[str, typer.Option(help="fp32, fp16 or bf16.")]


def open_root(path: Path | None) -> DataRoot:
    """Return the data root at ``--root``, or the default one."""
    from autods.core.root import DataRoot

    return DataRoot.open(path)


def open_catalogue(folders: list[Path] | None) -> Catalogue:
    """Return the shipped manifests and those of ``--manifests``."""
    from autods.manifest.catalogue import Catalogue

    return Catalogue(folders or ())


def chosen(
    names: list[str] | None, everything: bool, catalogue: Catalogue, command: str
) -> list[str]:
    """Return the datasets of a command that wants names or ``--all``, never both."""
    if bool(names) == everything:
        got = ", got both; nothing was done." if everything else f": autods {command} NAME..."
        raise UsageError(f"expected names of datasets or --all{got}")
    for name in names or []:
        catalogue.path(name)
    return names or catalogue.datasets()


def chosen_here(
    names: list[str] | None, everything: bool, catalogue: Catalogue, root: DataRoot
) -> list[str]:
    """Return the datasets of a command that works on what is fetched already."""
    from autods.checks.inventory import fetched

    if names or everything:
        return chosen(names, everything, catalogue, "")
    found = fetched(catalogue, root)
    if not found:
        raise UsageError("no dataset is fetched under this root; start with `autods fetch NAME`.")
    return found


def each(
    names: list[str], action: Callable[[str], object], then: Callable[[], None] | None = None
) -> None:
    """Do something with each dataset; one that fails does not stop the others.

    ``then`` runs at the end, before the failures are raised as one error.
    """
    failed: dict[str, AutodsError] = {}
    for name in names:
        try:
            action(name)
        except AutodsError as error:
            failed[name] = error
            if len(names) > 1:
                print(f"error: {name}: {error}", file=sys.stderr)
    if then is not None:
        then()
    if not failed:
        return
    text = f"{len(failed)} of {len(names)} datasets failed: {', '.join(failed)}"
    if len(names) == 1:
        text = f"{names[0]}: {failed[names[0]]}"
    wrong_usage = all(isinstance(error, UsageError) for error in failed.values())
    raise UsageError(text) if wrong_usage else AutodsError(text)
