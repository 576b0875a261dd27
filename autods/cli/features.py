"""The commands that bring features made elsewhere: import-features, fetch --features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli.common import Json, Root, open_root
from autods.core.console import print_json
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.core.root import DataRoot
    from autods.interop.published import PublishedOutcome
    from autods.interop.published.spec import FeatureArchive


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("import-features")(import_features)


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
    from autods.fetch.mirrors import check_mirrors
    from autods.interop.published import load_archive

    archive = load_archive(name)
    check_mirrors(mirrors)
    if dry_run:
        _tell_plan(archive, mirrors, root, json)
        return
    from autods.core.progress import console_progress
    from autods.fetch.many import PAUSES
    from autods.interop.published.download import fetch_archive

    fetched = fetch_archive(archive, root, console_progress(), mirrors, PAUSES[: rounds - 1])
    if not json:
        print(f"{fetched.path}: {fetched.size:,} bytes, sha256 {fetched.sha256}")
    import_archive(fetched.path, root, archive=archive, json=json)
    if not json:
        print(f"The features do not need {fetched.path} any more; delete it to free its space.")


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
        print_json(
            {
                "encoder": outcome.encoder,
                "imported": outcome.imported,
                "kept": outcome.kept,
                "refused": {name: str(error) for name, error in outcome.refused.items()},
                "without": outcome.without,
                "extractors": outcome.extractors,
            }
        )
    else:
        _tell(outcome)
    if outcome.refused:
        total = len(outcome.imported) + len(outcome.kept) + len(outcome.refused)
        raise AutodsError(
            f"{len(outcome.refused)} of {total} datasets were refused: "
            f"{', '.join(outcome.refused)}; nothing of them was imported"
        )


def _tell(outcome: PublishedOutcome) -> None:
    for name in outcome.imported:
        print(f"imported {name}")
    for name in outcome.kept:
        print(f"kept     {name}")
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
        return
    for name in outcome.imported:
        print(f"imported {name}")
    for name in outcome.kept:
        print(f"kept     {name}")


def _tell_plan(archive: FeatureArchive, mirrors: Sequence[str], root: DataRoot, json: bool) -> None:
    """Print where the archive would come from, without network."""
    from autods.fetch.digests import size_of
    from autods.fetch.mirrors import described, users_mirrors
    from autods.fetch.part_files import part_of

    entry = archive.file.entry()
    target = root.feature_archive(archive.name, entry.name)
    asked = [*users_mirrors(mirrors, archive.name, entry), *entry.mirrors]
    places = [described(mirror) for mirror in asked]
    plan = {
        "features": archive.name,
        "file": entry.name,
        "size": archive.file.size,
        "here": size_of(target) if target.exists() else size_of(part_of(target)),
        "fetched": target.exists(),
        "mirrors": places,
    }
    if json:
        print_json(plan)
        return
    size = "unknown" if archive.file.size is None else f"{archive.file.size:,} bytes"
    print(f"{archive.name}: {entry.name}, size {size}, from {', '.join(places)}")
    state = "fetched" if plan["fetched"] else "of it here"
    print(f"To {target}: {plan['here']:,} bytes {state}; then it is imported.")
