"""The commands that bring archives: fetch, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli import complete, next_steps
from autods.cli.common import (
    Access,
    All,
    Exclude,
    Json,
    Manifests,
    MaxSize,
    Names,
    Quiet,
    Root,
    Stream,
    chosen,
    open_catalogue,
    open_root,
)
from autods.cli.plan import tell_plan
from autods.core.console import print_json, print_next, print_table, wrapped
from autods.core.output import tell
from autods.errors import AutodsError, ManifestError, UsageError, step_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.fetch.report import Report
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest

Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        help="URL or folder tried first; files are at <mirror>/<dataset>/<file>; can be repeated.",
    ),
]
Accepted = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-licence",
        metavar="NAME",
        help="Datasets whose licence you have read and accept, or 'all'; commas, or repeated.",
    ),
]


def fetch(
    names: Names = None,
    everything: All = False,
    stream: Stream = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    mirror: Mirrors = None,
    jobs: Annotated[int, typer.Option(min=1, help="Datasets fetched at the same time.")] = 4,
    per_host: Annotated[int, typer.Option(min=1, help="How many of these from one host.")] = 2,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3,
            help="Tries of datasets whose host is down or over its quota, with pauses of 10 and "
            "60 minutes; default 3 with --all and --stream, else 1.",
        ),
    ] = None,
    accept_licence: Accepted = None,
    kaggle_version: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N", help="Version of a Kaggle dataset to ask for; can be repeated."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be fetched; uses no network.")
    ] = False,
    ask_sizes: Annotated[
        bool,
        typer.Option("--ask-sizes", help="With --dry-run: ask servers for sizes that no list has."),
    ] = False,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|URL|hf:..",
            help="Published features instead: stream-clip, a features manifest, hf:OWNER/REPO.",
        ),
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Download the archives of datasets and verify them; resumes what was interrupted."""
    if features is not None:
        if everything or stream or exclude or max_size or access:
            raise UsageError(
                "expected names and globs at most with --features, got another choice of datasets "
                "(--all, --stream, --exclude, --max-size or --access); nothing was done. Without "
                "names all published feature sets are fetched."
            )
        from autods.cli.features import fetch_features

        fetch_features(
            features,
            names or (),
            mirror or (),
            open_root(root),
            manifests,
            {"jobs": jobs, "per_host": per_host, "rounds": rounds or 1},
            dry_run=dry_run,
            json=json,
            quiet=quiet,
        )
        return
    from autods.fetch.versions import at_version, wanted_versions
    from autods.manifest.select import Selection, listed

    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    asked = chosen(
        Selection(names or (), everything, stream, exclude or (), max_size, access), catalogue
    )
    accepted = listed(accept_licence or ())
    for name in accepted:
        if name not in [*asked, "all"]:
            catalogue.path(name)
            raise UsageError(
                f"--accept-licence {name}: expected 'all' or a dataset of this command; "
                "nothing was fetched."
            )
    versions = wanted_versions(kaggle_version or (), asked)
    found, unread = _read(asked, catalogue)
    found = [at_version(manifest, versions.get(manifest.name)) for manifest in found]
    if ask_sizes and not dry_run:
        raise UsageError("--ask-sizes: expected together with --dry-run; nothing was fetched.")
    if dry_run:
        tell_plan(found, unread, data_root, mirror or (), json, ask=ask_sizes, quiet=quiet)
        return

    from autods.core.progress import console_board
    from autods.fetch.many import PAUSES, fetch_many

    with console_board(len(asked), quiet=quiet) as board:
        report = fetch_many(
            found,
            data_root,
            board,
            mirror or (),
            jobs=jobs,
            per_host=per_host,
            pauses=PAUSES[: (rounds or (3 if everything or stream else 1)) - 1],
            accept=accepted,
            unread=unread,
        )
    catalogue.remember(data_root, asked)
    if json:
        print_json(report.as_json())
    elif len(asked) > 1:
        _print_report(report)
    else:
        (row,) = report.in_order()
        if not row.here:
            _tell_mirrors(report, mirror or ())
            raise AutodsError(row.told())
    _tell_mirrors(report, mirror or ())
    here = [row.dataset for row in report.in_order() if row.here]
    if here and not json:
        print_next(next_steps.extract(here, root), quiet=quiet)
    if report.missing:
        raise typer.Exit(1)


def import_files(
    name: Annotated[
        str, typer.Argument(help="Name of the dataset.", autocompletion=complete.datasets)
    ],
    files: Annotated[list[Path], typer.Argument(help="Its files, under any names.")],
    root: Root = None,
    manifests: Manifests = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Take files that came by hand as archives of a dataset, once their checksums agree."""
    from autods.core.progress import console_progress
    from autods.fetch import by_hand, missing_files

    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    manifest = catalogue.dataset(name)
    done = by_hand.import_files(manifest, data_root, files, console_progress(quiet=quiet))
    catalogue.remember(data_root, [name])
    missing = missing_files(manifest, data_root)
    if json:
        rows = [{"file": file, "action": action} for file, action in done]
        print_json({"dataset": name, "files": rows, "missing": missing})
        return
    for file, action in done:
        print(f"{action} {name}/{file}")
    if missing:
        tell(f"Not here yet: {', '.join(missing)}.")
    step = next_steps.command("autods fetch", name, root=root)
    print_next(step if missing else next_steps.extract([name], root), quiet=quiet)


def _read(
    names: Sequence[str], catalogue: Catalogue
) -> tuple[list[Manifest], dict[str, AutodsError]]:
    """Read manifests; of several datasets, one that is wrong does not stop the others."""
    found: list[Manifest] = []
    wrong: dict[str, AutodsError] = {}
    for name in names:
        try:
            found.append(catalogue.dataset(name))
        except ManifestError as error:
            if len(names) == 1:
                raise
            wrong[name] = error
    return found, wrong


def _tell_mirrors(report: Report, mirrors: Sequence[str]) -> None:
    """Name the files that the user's mirrors did not give, and what became of them."""
    import sys

    if mirrors and (lacking := report.elsewhere(mirrors)):
        shown = ", ".join(
            f"{file} ({'from ' + host if host else 'not here'})" for file, host in lacking
        )
        tell(f"Not from the mirror: {shown}.", sys.stderr)


def _print_report(report: Report) -> None:
    """Print a row per dataset, each next step once, and the summary."""
    import shutil

    steps = {step: number for number, step in enumerate(report.steps(), start=1)}
    rows = [
        {
            "dataset": row.dataset,
            "state": row.state,
            "files": f"{sum(file.here for file in row.files)} of {len(row.files) or '?'}",
            "bytes fetched": row.fetched,
            "next step": f"({steps[row.next_step]})" if row.next_step else "",
        }
        for row in report.in_order()
    ]
    print(f"Fetched to {report.root.path}")
    print_table("", rows)
    width = shutil.get_terminal_size().columns
    for step, names in report.steps().items():
        text = f"{', '.join(names)}: {step_for(names[0] if len(names) == 1 else '', step)}"
        print("\n".join(wrapped(f"({steps[step]}) ", text, width)))
    tell(report.summary())
