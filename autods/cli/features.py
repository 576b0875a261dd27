"""The commands that bring features made elsewhere: import-features, fetch --features."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli.common import Json, Root, open_root
from autods.cli.plan import tell_plan
from autods.core.console import print_json
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.core.root import DataRoot
    from autods.interop.published import PublishedOutcome
    from autods.interop.published.spec import FeatureArchive

BY_HAND = (
    "Run the same command again later, or download the file in a browser ({homepage}) and run "
    "'autods import-features FILE'."
)


def import_features(
    source: Annotated[
        Path,
        typer.Argument(
            help="NAME.npz, .parquet or .safetensors, a folder of them, one with features.npy and "
            "labels.csv, or the published archive (tar or unpacked folder)."
        ),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(help="Name to give the encoder; a published archive has its own."),
    ] = None,
    pad_to: Annotated[
        int | None,
        typer.Option(help="Of such files: fill narrower features up with zeros to this width."),
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(help="Of a published archive: whose features to import; default clip."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Of a published archive: import only this one; can be repeated."),
    ] = None,
    root: Root = None,
    json: Json = False,
) -> None:
    """Turn features made elsewhere into feature sets that streams can use."""
    from autods.interop.imports import reader_of
    from autods.interop.published import is_published

    some = [source, *(source.glob("*") if source.is_dir() else [])]
    if any(map(reader_of, some)) or (source.is_dir() and not is_published(source)):
        if extractor or dataset:
            raise UsageError(
                f"{source}: --extractor and --dataset are for published archives, this is "
                "not one; nothing was imported."
            )
        _import_files(source, open_root(root), encoder, pad_to, json)
    elif not source.exists():
        raise UsageError(
            f"{source}: expected files of features or a published archive, there is nothing; "
            "nothing was imported."
        )
    elif pad_to is not None:
        raise UsageError("--pad-to is not for published archives; nothing was imported.")
    else:
        import_archive(source, open_root(root), encoder, extractor, dataset or (), json=json)


def fetch_features(
    name: str, mirrors: Sequence[str], root: DataRoot, rounds: int, *, dry_run: bool, json: bool
) -> None:
    """Download a published archive of features and import it."""
    from autods.interop.published import load_archive

    archive, published = load_archive(name), root.published()
    if dry_run:
        tell_plan([archive], {}, published, mirrors, json)
        return
    from autods.core.progress import console_board
    from autods.fetch.many import PAUSES, fetch_many

    with console_board(1) as board:
        report = fetch_many([archive], published, board, mirrors, pauses=PAUSES[: rounds - 1])
    (row,) = report.in_order()
    if not row.here:
        by_hand = BY_HAND.format(homepage=archive.homepage)
        raise AutodsError(replace(row, next_step=by_hand).told())
    (file,) = row.files
    path = published.archive(name, file.name)
    if not json:
        is_published = file.checksum == archive.files[0].checksum
        recorded = "" if is_published else ", now recorded: none is published"
        print(f"{path}: {file.size:,} bytes, {file.checksum}{recorded}")
    import_archive(path, root, archive=archive, json=json)
    if not json:
        print(f"The features do not need {path} any more; delete it to free its space.")


def import_archive(
    source: Path,
    root: DataRoot,
    encoder: str | None = None,
    extractor: str | None = None,
    names: Sequence[str] = (),
    *,
    archive: FeatureArchive | None = None,
    json: bool = False,
) -> None:
    """Import a published archive; print what was done, exit 1 where a dataset is refused."""
    from autods.core.progress import console_progress
    from autods.interop.published import import_published

    outcome = import_published(
        source,
        root,
        archive=archive,
        extractor=extractor,
        encoder=encoder,
        names=names,
        progress=console_progress(),
        failed=lambda name, error: print(f"error: {name}: {error}", file=sys.stderr),
    )
    if json:
        refused = {name: str(error) for name, error in outcome.refused.items()}
        print_json({**vars(outcome), "refused": refused})
    else:
        _tell(outcome)
    if outcome.refused:
        total = len(outcome.imported) + len(outcome.kept) + len(outcome.refused)
        raise AutodsError(
            f"{len(outcome.refused)} of {total} datasets were refused: "
            f"{', '.join(outcome.refused)}; nothing of them was imported"
        )


def _tell(outcome: PublishedOutcome) -> None:
    _tell_names(outcome.imported, outcome.kept)
    for name, others in outcome.without.items():
        print(f"left out {name}: the archive has it by {', '.join(others)} only")
    found = ", ".join(f"{one} ({number})" for one, number in outcome.extractors.items())
    print(f"Extractors in the archive, with numbers of datasets: {found}")
    print(f"Encoder: {outcome.encoder}")


def _import_files(
    place: Path, root: DataRoot, encoder: str | None, pad_to: int | None, json: bool
) -> None:
    from autods.core.progress import console_progress
    from autods.interop.imports.from_files import import_files

    if encoder is None:
        raise UsageError(
            f"{place}: expected --encoder NAME, the encoder that made these features; nothing was "
            "imported."
        )
    outcome = import_files(place, root, encoder, pad_to=pad_to, progress=console_progress())
    for note in outcome.notes:
        print(f"note: {note}", file=sys.stderr)
    if json:
        print_json({"encoder": encoder, "imported": outcome.imported, "kept": outcome.kept})
    else:
        _tell_names(outcome.imported, outcome.kept)


def _tell_names(imported: Sequence[str], kept: Sequence[str]) -> None:
    for name in imported:
        print(f"imported {name}")
    for name in kept:
        print(f"kept     {name}")
