"""The commands that bring archives: fetch, import."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli import complete
from autods.cli.common import All, Json, Manifests, Names, Root, chosen, open_catalogue, open_root
from autods.core.console import print_json, print_table
from autods.errors import AutodsError, ManifestError, UsageError, step_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.core.root import DataRoot
    from autods.fetch.plan import PlannedDataset
    from autods.fetch.report import Report
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest
    from autods.manifest.sources import Release

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
        help="Dataset whose licence you have read and accept, or 'all'; can be repeated.",
    ),
]

NO_TOKEN = {
    "kaggle": "none found; 'autods doctor' tells how to get one",
    "huggingface": "none found; only gated datasets want one",
}


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(fetch)
    app.command("import")(import_files)


def fetch(
    names: Names = None,
    everything: All = False,
    mirror: Mirrors = None,
    jobs: Annotated[int, typer.Option(min=1, help="Datasets fetched at the same time.")] = 4,
    per_host: Annotated[int, typer.Option(min=1, help="How many of these from one host.")] = 2,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3,
            help="Tries of datasets whose host is down or over its quota, with pauses of 10 and "
            "60 minutes; default 3 with --all, else 1.",
        ),
    ] = None,
    accept_licence: Accepted = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be fetched; uses no network.")
    ] = False,
    features: Annotated[
        str | None,
        typer.Option(help="Fetch and import published features instead: stream-clip."),
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Download the archives of datasets and verify them; resumes what was interrupted."""
    if features is not None:
        if names or everything:
            raise UsageError("expected names of datasets or --features, got both; nothing was done")
        from autods.cli.features import fetch_features

        data_root = open_root(root)
        fetch_features(features, mirror or (), data_root, rounds or 1, dry_run=dry_run, json=json)
        return
    catalogue, data_root = open_catalogue(manifests), open_root(root)
    asked = list(dict.fromkeys(chosen(names, everything, catalogue, "fetch")))
    for name in accept_licence or []:
        if name not in [*asked, "all"]:
            catalogue.path(name)
            raise UsageError(
                f"--accept-licence {name}: expected 'all' or a dataset of this command; "
                "nothing was fetched."
            )
    found, unread = _read(asked, catalogue)
    if dry_run:
        tell_plan(found, unread, data_root, mirror or (), json)
        return

    from autods.core.progress import console_board
    from autods.fetch.many import PAUSES, fetch_many

    with console_board(len(asked)) as board:
        report = fetch_many(
            found,
            data_root,
            board,
            mirror or (),
            jobs=jobs,
            per_host=per_host,
            pauses=PAUSES[: (rounds or (3 if everything else 1)) - 1],
            accept=accept_licence or (),
            unread=unread,
        )
    if json:
        print_json(report.as_json())
    elif len(asked) > 1:
        _print_report(report)
    else:
        (row,) = report.in_order()
        if not row.here:
            raise AutodsError(row.told())
    if report.missing:
        raise typer.Exit(1)


def import_files(
    name: Annotated[
        str, typer.Argument(help="Name of the dataset.", autocompletion=complete.datasets)
    ],
    files: Annotated[list[Path], typer.Argument(help="Its files, under any names.")],
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Take files that came by hand as archives of a dataset, once their checksums agree."""
    from autods.core.progress import console_progress
    from autods.fetch import missing_files
    from autods.fetch.by_hand import import_files as hand_over

    data_root = open_root(root)
    manifest = open_catalogue(manifests).dataset(name)
    done = hand_over(manifest, data_root, files, console_progress())
    missing = missing_files(manifest, data_root)
    if json:
        rows = [{"file": file, "action": action} for file, action in done]
        print_json({"dataset": name, "files": rows, "missing": missing})
        return
    for file, action in done:
        print(f"{action} {name}/{file}")
    if missing:
        print(f"Not here yet: {', '.join(missing)}. 'autods fetch {name}' looks for them.")


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
    width = max(40, shutil.get_terminal_size().columns)
    for step, names in report.steps().items():
        first = f"({steps[step]}) "
        text = f"{', '.join(names)}: {step_for(names[0] if len(names) == 1 else '', step)}"
        print(
            textwrap.fill(
                text,
                width,
                initial_indent=first,
                subsequent_indent=" " * len(first),
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    print(report.summary())


def tell_plan(
    manifests: Sequence[Release],
    unread: dict[str, AutodsError],
    root: DataRoot,
    mirrors: Sequence[str],
    json: bool,
) -> None:
    """Print what a fetch would do; exit 1 where that cannot be told for each dataset."""
    from autods.fetch.mirrors import check_mirrors
    from autods.fetch.plan import free_bytes, known_remaining, plan_dataset, tokens

    check_mirrors(mirrors)
    plans, wrong = [], dict(unread)
    for manifest in manifests:
        try:
            plans.append(plan_dataset(manifest, root, mirrors))
        except AutodsError as error:
            wrong[manifest.name] = error
    if json:
        print_json(
            {
                "root": str(root.path),
                "free": free_bytes(root),
                "remaining": known_remaining(plans),
                "unknown": [plan.dataset for plan in plans if plan.remaining is None],
                "tokens": tokens(plans),
                "datasets": [plan.as_json() for plan in plans],
                "problems": {name: str(problem) for name, problem in wrong.items()},
            }
        )
    else:
        _print_plan(plans, root)
        for name, problem in wrong.items():
            print(f"{name}: {problem}")
    if wrong:
        raise typer.Exit(1)


def _print_plan(plans: Sequence[PlannedDataset], root: DataRoot) -> None:
    from rich.filesize import decimal

    from autods.fetch.plan import free_bytes, known_remaining, tokens

    found = tokens(plans)
    begun = any(plan.here for plan in plans)
    rows = [_plan_row(plan, begun, "kaggle" in found and not found["kaggle"]) for plan in plans]
    print_table("To fetch ('?': unknown)", rows, ["from", "licence"])
    needed, free = known_remaining(plans), free_bytes(root)
    unknown = sum(file.remaining is None for plan in plans for file in plan.files)
    more = f", and {_count(unknown, 'file')} of unknown size" if unknown else ""
    files = sum(len(plan.files) for plan in plans)
    print(f"{_count(len(plans), 'dataset')}, {_count(files, 'file')}.")
    here = decimal(sum(plan.here for plan in plans))
    print(f"Here: {here}. Still to come: {decimal(needed)}{more}.")
    enough = "." if needed <= free else ": not enough, the fetch would be refused."
    print(f"Free under {root.path}: {decimal(free)}{enough}")
    for host, place in found.items():
        print(f"Token for {host}: {place or NO_TOKEN[host]}.")
    for plan in plans:
        if plan.acceptance and plan.kinds:
            print(f"Licence of {plan.dataset}: read {plan.acceptance}; to accept it, add", end=" ")
            print(f"--accept-licence {plan.dataset}.")


def _plan_row(plan: PlannedDataset, begun: bool, no_kaggle: bool) -> dict[str, Any]:
    """Return a row of the plan; where some is here, what is and what is not, else the size."""
    here = _amount([file.here for file in plan.files])
    left = _amount([file.remaining for file in plan.files])
    needs = ["token"] if no_kaggle and any("kaggle" in kind for kind in plan.kinds) else []
    return {
        "dataset": plan.dataset,
        "files": len(plan.files),
        **({"here": here, "to fetch": left} if begun else {"size": left}),
        "from": ", ".join(plan.hosts) or "-",
        "needs": " ".join([*needs, *(["accept"] if plan.acceptance and plan.kinds else [])]),
        "licence": plan.licence,
    }


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _amount(sizes: Sequence[int | None]) -> str:
    """Return the sum of the known sizes, with a mark where one is unknown."""
    from rich.filesize import decimal

    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        return decimal(sum(known))
    return f"{decimal(sum(known))} + ?" if any(known) else "?"
