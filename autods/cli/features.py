"""The commands that bring features made elsewhere: import-features, fetch --features."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tarfile import is_tarfile
from typing import TYPE_CHECKING, Annotated, cast

import typer

from autods.cli import next_steps
from autods.cli.common import Json, Quiet, Root, open_catalogue, open_root
from autods.cli.plan import tell_plan
from autods.core.console import print_json, print_next, print_table
from autods.core.output import tell
from autods.core.root import DataRoot
from autods.errors import AutodsError, DatasetsFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autods.fetch.report import Report
    from autods.interop.imports.common import ImportOutcome
    from autods.interop.published import PublishedOutcome
    from autods.interop.published.spec import FeatureArchive
    from autods.interop.shared.locate import Located

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
        typer.Option(help="Of a published archive: import only these; commas, or repeated."),
    ] = None,
    root: Root = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Turn features made elsewhere into feature sets that streams can use."""
    from autods.interop.imports import reader_of
    from autods.interop.published import is_published
    from autods.manifest.select import listed

    some = [source, *(source.glob("*") if source.is_dir() else [])]
    if any(map(reader_of, some)) or (source.is_dir() and not is_published(source)):
        if extractor or dataset:
            raise UsageError(
                f"{source}: --extractor and --dataset are for published archives, this is "
                "not one; nothing was imported."
            )
        _import_files(source, open_root(root), encoder, pad_to, json, quiet)
    elif not source.exists():
        raise UsageError(
            f"{source}: expected files of features or a published archive, there is nothing; "
            "nothing was imported."
        )
    elif source.is_file() and ".tar" not in source.suffixes and not is_tarfile(source):
        raise UsageError(
            f"{source}: expected NAME.npz, NAME.parquet or NAME.safetensors, a folder with "
            "features.npy and labels.csv, or a published archive (tar), got another kind of file; "
            "nothing was imported. Save the features in one of these formats."
        )
    elif pad_to is not None:
        raise UsageError("--pad-to is not for published archives; nothing was imported.")
    else:
        names = listed(dataset or ())
        import_archive(source, open_root(root), encoder, extractor, names, json=json, quiet=quiet)


def fetch_features(
    where: str,
    names: Sequence[str],
    mirrors: Sequence[str],
    root: DataRoot,
    manifests: list[Path] | None,
    speed: Mapping[str, int],
    *,
    dry_run: bool,
    json: bool,
    quiet: bool = False,
) -> None:
    """Download published features, check them, and install or import them.

    ``speed`` has ``jobs``, ``per_host`` and ``rounds`` of the command.
    """
    from autods.interop.shared.locate import Located, locate

    located = locate(where, manifests or ())
    if isinstance(located, Located):
        _fetch_sets(
            located, names, mirrors, root, manifests, speed, dry_run=dry_run, json=json, quiet=quiet
        )
        return
    if names:
        raise UsageError(
            "expected names of datasets or --features, got both; nothing was done. An archive is "
            "imported as a whole."
        )
    _fetch_archive(located, mirrors, root, speed["rounds"], dry_run=dry_run, json=json, quiet=quiet)


def _fetch_sets(
    located: Located,
    names: Sequence[str],
    mirrors: Sequence[str],
    root: DataRoot,
    manifests: list[Path] | None,
    speed: Mapping[str, int],
    *,
    dry_run: bool,
    json: bool,
    quiet: bool = False,
) -> None:
    """Fetch and install feature sets of a published folder."""
    from autods.core.progress import console_board
    from autods.fetch.many import PAUSES
    from autods.interop.shared.install import fetch_sets, of_mirrors, plan_sets
    from autods.manifest.select import expand

    shared, known = located.shared, located.shared.names()
    wanted = expand(names, known, known) if names else known
    plan = plan_sets(located, root, wanted, open_catalogue(manifests, root))
    if dry_run:
        came = of_mirrors(shared, mirrors)
        tell_plan(plan.releases, plan.refused, plan.arrivals, came, json, quiet=quiet)
        return
    pauses = PAUSES[: speed["rounds"] - 1]
    options = {"jobs": speed["jobs"], "per_host": speed["per_host"], "pauses": pauses}
    with console_board(len(wanted), quiet=quiet) as board:
        report = fetch_sets(located, plan, root, board, mirrors, **options)
    if json:
        print_json({**report.as_json(), "encoder": shared.encoder, "features": shared.name})
    else:
        _tell_sets(report, shared.encoder, root, quiet)
    if report.missing:
        raise AutodsError(
            f"{len(report.missing)} of {len(wanted)} feature sets are not here: "
            f"{', '.join(report.missing)}; run the same command again to go on."
        )


def _tell_sets(report: Report, encoder: str, root: DataRoot, quiet: bool) -> None:
    rows = [
        {"dataset": row.dataset, "state": row.state, "bytes fetched": row.fetched}
        for row in report.in_order()
    ]
    print_table(f"Features by {encoder} under {root.path}", rows)
    for row in report.in_order():
        if not row.here:
            tell(f"{row.dataset}: {row.told()}")
    _tell_next([row.dataset for row in report.in_order() if row.here], encoder, root, quiet)


def _fetch_archive(
    archive: FeatureArchive,
    mirrors: Sequence[str],
    root: DataRoot,
    rounds: int,
    *,
    dry_run: bool,
    json: bool,
    quiet: bool = False,
) -> None:
    """Download an archive of features that others published, and import it."""
    published, name = root.published(), archive.name
    if dry_run:
        tell_plan([archive], {}, published, mirrors, json, quiet=quiet)
        return
    from autods.core.progress import console_board
    from autods.fetch.many import PAUSES, fetch_many

    with console_board(1, quiet=quiet) as board:
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
    import_archive(path, root, archive=archive, json=json, quiet=quiet)
    if not json:
        tell(f"The features do not need {path} any more; delete it to free its space.")


def import_archive(
    source: Path,
    root: DataRoot,
    encoder: str | None = None,
    extractor: str | None = None,
    names: Sequence[str] = (),
    *,
    archive: FeatureArchive | None = None,
    json: bool = False,
    quiet: bool = False,
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
        progress=console_progress(quiet=quiet),
        failed=lambda name, error: tell(f"error: {name}: {error}", sys.stderr),
    )
    if json:
        refused = {name: str(error) for name, error in outcome.refused.items()}
        print_json({**vars(outcome), "refused": refused})
    else:
        _tell(outcome, root, quiet)
    if outcome.refused:
        total = len(outcome.imported) + len(outcome.kept) + len(outcome.refused)
        raise AutodsError(
            f"{len(outcome.refused)} of {total} datasets were refused: "
            f"{', '.join(outcome.refused)}; nothing of them was imported"
        )


def _tell(outcome: PublishedOutcome, root: DataRoot, quiet: bool) -> None:
    _tell_names(outcome.imported, outcome.kept)
    for name, others in outcome.without.items():
        tell(f"left out {name}: the archive has it by {', '.join(others)} only")
    found = ", ".join(f"{one} ({number})" for one, number in outcome.extractors.items())
    tell(f"Extractors in the archive, with numbers of datasets: {found}")
    print(f"Encoder: {outcome.encoder}")
    _tell_next([*outcome.imported, *outcome.kept], outcome.encoder, root, quiet)


def _import_files(
    place: Path, root: DataRoot, encoder: str | None, pad_to: int | None, json: bool, quiet: bool
) -> None:
    from autods.core.progress import console_progress
    from autods.interop.imports.from_files import import_files

    if encoder is None:
        raise UsageError(
            f"{place}: expected --encoder NAME, the encoder that made these features; nothing was "
            "imported."
        )
    refused: dict[str, str] = {}
    try:
        outcome = import_files(
            place, root, encoder, pad_to=pad_to, progress=console_progress(quiet=quiet),
            failed=lambda name, error: tell(f"error: {name}: {error}", sys.stderr),
        )  # fmt: skip
    except DatasetsFailed as error:
        outcome = cast("ImportOutcome", error.outcomes)
        refused = {name: str(one) for name, one in error.failures.items()}
    for note in outcome.notes:
        tell(f"note: {note}", sys.stderr)
    if json:
        names = {"imported": outcome.imported, "kept": outcome.kept, "refused": refused}
        print_json({"encoder": encoder, **names})
    else:
        _tell_names(outcome.imported, outcome.kept)
        _tell_next([*outcome.imported, *outcome.kept], encoder, root, quiet)
    if refused:
        total = len(outcome.imported) + len(outcome.kept) + len(refused)
        raise AutodsError(
            f"{len(refused)} of {total} files were refused: {', '.join(refused)}; the others are "
            "imported. Mend what is said above of each, then run the same command again."
        )


def _tell_next(names: Sequence[str], encoder: str, root: DataRoot, quiet: bool) -> None:
    given = root.path if root.path != DataRoot.open().path else None
    if names:
        print_next(next_steps.run(names, encoder, given), quiet=quiet)


def _tell_names(imported: Sequence[str], kept: Sequence[str]) -> None:
    for name in imported:
        print(f"imported {name}")
    for name in kept:
        print(f"kept     {name}")
