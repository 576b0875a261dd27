"""What the commands of studies share: their options, and what they print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli.common import check_folder
from autods.core.console import print_json, print_next, print_table
from autods.core.output import tell
from bmc.cli import complete, next_steps
from bmc.cli.command import write_config
from bmc.cli.options import Command, with_options
from bmc.studies.options import StudyOptions

if TYPE_CHECKING:
    from pathlib import Path

    from bmc.studies.engine import Study

FORMATS = {"csv": "CSV", "json": "JSON", "tex": "LaTeX"}

MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME,..",
        help="Methods: repeated, comma-separated, or 'all'; see `bmc-stream methods`.",
        autocompletion=complete.methods,
    ),
]
OrderOption = Annotated[
    str, typer.Option(help="Orders of the tasks: 'paper', or seeds: 0,1,2 or 0..4.")
]
SeedsOption = Annotated[
    int, typer.Option(min=1, help="Number of run seeds in each order: --seed, --seed + 1, ...")
]
GridOption = Annotated[
    list[str],
    typer.Option(
        metavar="FIELD=VALUE,VALUE",
        help="Values of a shared field, or of METHOD.FIELD; several grids give their product.",
    ),
]


def with_study_options(command: Command) -> Command:
    """Replace a command's ``options`` parameter by one option per field of `StudyOptions`."""
    return with_options(command, "options", StudyOptions, "Study")


def carry_out(study: Study, options: StudyOptions) -> Path:
    """Execute a study and print what it found, or list what would be run; return its folder.

    Raises
    ------
    RunsFailed
        When runs failed; what the others found is printed before. Others as of
        `bmc.studies.engine.conduct`.
    """
    from autods.core.progress import console_progress
    from bmc.studies.engine import conduct

    folder = study.folder(options)
    check_folder(folder)
    for note in study.notes:
        tell(note, sys.stderr)
    if options.list:
        _print_plan(study, options)
        return folder
    executed, findings = conduct(
        study,
        options,
        console_progress(quiet=options.quiet),
        lambda path: write_config(path / f"{study.command}.yaml"),
    )
    for note in executed.notes:
        tell(note, sys.stderr)
    if findings and options.json:
        print_json(findings.data)
    elif findings:
        findings.show(f"{study.command}.{next(iter(findings.files), 'json')}")
        formats = ", ".join(FORMATS[suffix] for suffix in (*findings.files, "json"))
        print(f"{formats}: {folder.resolve()}/{study.command}.*")
        print(f"Report: {folder.resolve()}/report.html")
        if study.command != "tune":  # which has a next step of its own
            print_next(next_steps.figures([folder]), quiet=options.quiet)
    executed.check(
        "are finished and in the report", but_diverged=study.may_diverge and findings is not None
    )
    return folder


def _print_plan(study: Study, options: StudyOptions) -> None:
    """Print what would be run, and how far each run in the folder is."""
    rows = [
        {
            "run": job.name,
            "method": job.run.method,
            "changes": ", ".join(f"{name}={value}" for name, value in job.run.changes) or "none",
            "state": job.status,
        }
        for job in study.jobs(options)
    ]
    if options.json:
        print_json(rows)
        return
    print_table(f"{len(rows)} runs in {study.folder(options)}", rows)
