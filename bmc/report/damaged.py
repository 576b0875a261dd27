"""Finished runs that cannot be read: damaged, or written by another version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autods.errors import UsageError
from bmc.report.finished import Run, read_run
from bmc.runs.samples import SCENARIOS


def check_run(folder: Path) -> Run:
    """Read all of a finished run; `UsageError` says what is wrong with it and what to do."""
    run = read_run(folder)
    for scenario in SCENARIOS:
        run.samples(scenario)
    run.answers()
    return run


def readable(folders: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Sort out runs that cannot be read; return the others, and why by the folder of each."""
    kept: list[Path] = []
    damaged: dict[Path, str] = {}
    for folder in folders:
        try:
            check_run(folder)
        except UsageError as error:
            damaged[folder] = str(error)
        else:
            kept.append(folder)
    return kept, damaged
