"""The command that shows images: a contact sheet of a dataset or of a stream."""

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
    open_catalogue,
    open_root,
    say_written,
)
from autods.core.console import print_next
from autods.core.registry import unknown_dataset

if TYPE_CHECKING:
    from autods.pages.contact_sheet import ContactSheet

DRAWN = 12  # rows that a terminal shows


def preview(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A fetched dataset, or a stream.", autocompletion=complete.streams
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(help="File, .html or .png; can be repeated; default both, as NAME-preview."),
    ] = None,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Draw here, with half blocks.")
    ] = False,
    per_row: Annotated[
        int | None, typer.Option(min=1, max=50, help="Images of each row; default 2 to 8.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which images are drawn.")] = 0,
    root: Root = None,
    manifests: Manifests = None,
) -> None:
    """Show images of every class with names, splits and counts; of a stream, a row a dataset."""
    from autods.pages.contact_sheet import ENDINGS

    files = out or ([] if terminal else [Path(f"{name}-preview{end}") for end in (".html", ".png")])
    for file in files:
        check_report(file, "--out", ENDINGS)
    sheet, looked_at = _sheet(name, root, manifests, per_row, seed)
    if terminal:
        from autods.pages.half_blocks import show_sheet

        show_sheet(sheet, rows=DRAWN)
    say_written(sheet.write(file, command_line()) for file in files)
    print_next(next_steps.command("autods audit", *looked_at, root=root))


def _sheet(
    name: str, root: Path | None, manifests: list[Path] | None, per_row: int | None, seed: int
) -> tuple[ContactSheet, list[str]]:
    """Return the sheet of a dataset or a stream, and the words that name it for a command."""
    from autods.checks.preview import preview_dataset, preview_datasets

    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    if data_root.samples(name).is_file() or name in catalogue.datasets():
        manifest = catalogue.dataset(name) if name in catalogue.datasets() else None
        if manifest and not data_root.samples(name).is_file() and data_root.dataset(name).is_dir():
            from autods import verbs

            verbs.index(name, data_root, catalogue=catalogue)
        return preview_dataset(data_root, name, manifest, per_row=per_row, seed=seed), [name]
    if name not in catalogue.streams():
        raise unknown_dataset(
            "dataset or stream", name, {*catalogue.datasets(), *catalogue.streams()}
        )
    listed = list(dict.fromkeys(item.dataset for item in catalogue.stream(name).datasets))
    sheet = preview_datasets(data_root, name, listed, per_row=per_row or 8, seed=seed)
    return sheet, ["--stream", name]
