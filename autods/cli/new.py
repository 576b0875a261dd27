"""The command that writes manifests for data of one's own: new."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autods.core.output import tell
from autods.errors import UsageError


def new(
    name: str,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of images, one folder per class.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file with path, label and perhaps split.")
    ] = None,
    hf: Annotated[
        str | None, typer.Option(help="owner/dataset of the Hugging Face Hub, perhaps :config.")
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(help="Folders that are splits: train=A,test=B; none: all are classes."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="What names the class in deep folders: first, last or path."),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Use the images where they are; fetch copies nothing."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the manifest.")] = Path(),
) -> None:
    """Write a manifest for images of a folder, a CSV file, or the Hugging Face Hub.

    `autods fetch` then copies the images into the data root, unless --in-place is given.
    """
    if sum(given is not None for given in (folder, csv, hf)) != 1:
        raise UsageError(
            "expected one of --folder, --csv and --hf; nothing was written. See autods new --help."
        )
    if folder is None and (splits, classes) != (None, None):
        raise UsageError("--splits and --classes go with --folder; nothing was written.")
    if hf is not None and in_place:
        raise UsageError("--in-place goes with --folder or --csv; nothing was written.")
    if folder is not None:
        from autods.manifest.new.folder import manifest_from_folder

        target, remarks = manifest_from_folder(
            name, folder, out, splits=splits, classes=classes, in_place=in_place
        )
    elif csv is not None:
        from autods.manifest.new.csv_file import manifest_from_csv

        target, remarks = manifest_from_csv(name, csv, out, in_place=in_place)
    else:
        from autods.manifest.new.hub import manifest_from_hub

        target, remarks = manifest_from_hub(name, hf or "", out)
    print(target)
    for remark in remarks:
        tell(remark, sys.stderr)
