"""The command that draws features in two dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli import complete, next_steps
from autods.cli.common import (
    Manifests,
    Root,
    check_report,
    command_line,
    one_encoder,
    open_catalogue,
    open_root,
    say_written,
)
from autods.core.console import print_next
from autods.core.output import tell
from autods.core.registry import unknown_dataset

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue


def draw_map(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A dataset, or a stream, with features.",
            autocompletion=complete.streams,
        ),
    ],
    encoder: Annotated[
        str | None, typer.Option(help="Whose features; needed if there are several.")
    ] = None,
    method: Annotated[str, typer.Option(help="pca, or umap (an extra).")] = "pca",
    by: Annotated[
        str | None,
        typer.Option(help="Colours: class or dataset; default dataset for a stream."),
    ] = None,
    points: Annotated[int, typer.Option(min=3, max=20_000, help="Images drawn.")] = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Which images are drawn.")] = 0,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File, .html or .png; can be repeated; default both, as NAME-map."),
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
) -> None:
    """Draw features in two dimensions, coloured by class or dataset, as a page and a picture."""
    from autods.checks.feature_map import map_features
    from autods.checks.map_page import write_map
    from autods.features.encoder_names import remark_on
    from autods.features.sets import open_features
    from autods.pages.contact_sheet import ENDINGS

    files = out or [Path(f"{name}-map{end}") for end in (".html", ".png")]
    for file in files:
        check_report(file, "--out", ENDINGS)
    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    names = _names(name, catalogue, data_root)
    chosen = one_encoder(name, names, encoder, data_root, "drawn")
    here = [one for one in names if (chosen, one) in data_root.feature_sets()]
    sets = [open_features(data_root, chosen, one) for one in here or names]
    found = map_features(sets, name, method=method, by=by, points=points, seed=seed)
    say_written(write_map(file, data_root, sets, found, command_line()) for file in files)
    if absent := len(names) - len(sets):
        tell(f"{absent} of {len(names)} datasets have no features by {chosen}.")
    if remark := remark_on(chosen):
        tell(remark)
    if names == [name]:
        step = next_steps.command("autods probe", name, "--encoder", chosen, root=root)
    else:
        step = next_steps.run(names, chosen, root, stream=name)
    print_next(step)


def _names(name: str, catalogue: Catalogue, root: DataRoot) -> list[str]:
    """Return the datasets of a stream, or the one that is named."""
    stored = {dataset for _, dataset in root.feature_sets()}
    if name in stored or name in catalogue.datasets():
        return [name]
    if name in catalogue.streams():
        return list(dict.fromkeys(item.dataset for item in catalogue.stream(name).datasets))
    raise unknown_dataset(
        "dataset or stream", name, {*catalogue.datasets(), *catalogue.streams(), *stored}
    )
