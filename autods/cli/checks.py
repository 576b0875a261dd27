"""The commands that check: verify, audit, doctor."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autods.cli.common import (
    Access,
    Exclude,
    Json,
    Manifests,
    MaxSize,
    Names,
    Root,
    Stream,
    chosen,
    each,
    open_catalogue,
    open_root,
)
from autods.core.console import print_json, print_table
from autods.errors import AutodsError, UsageError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.select import Selection


def verify(
    names: Names = None,
    stream: Stream = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    encoder: Annotated[str | None, typer.Option(help="Check this encoder's features only.")] = None,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Check archives, index, counts and features of what is here; exit 1 on any problem."""
    from autods.checks.dataset import check_dataset
    from autods.core.progress import console_progress
    from autods.manifest.select import Selection

    data_root, progress = open_root(root), console_progress()
    catalogue = open_catalogue(manifests, data_root)
    selection = Selection(names or (), False, stream, exclude or (), max_size, access)
    wanted, absent = _to_verify(selection, encoder, catalogue, data_root)
    checked = []
    for name in wanted:  # archives are hashed, which takes minutes for large ones
        progress.start(f"verifying {name}", None, "parts")
        checked.append(check_dataset(name, catalogue, data_root, encoder))
        progress.advance(sum(state != "-" for state in checked[-1].states.values()))
        progress.finish()
    problems = [problem for found in checked for problem in found.problems]
    if absent:
        problems.append(f"nothing is here of: {', '.join(absent)}; `autods fetch` brings them.")
    if json:
        rows = [
            {**found.row(), "problems": found.problems, "notes": found.notes} for found in checked
        ]
        print_json({"root": str(data_root.path), "datasets": rows, "absent": absent})
    else:
        if checked:
            print_table(f"Under {data_root.path}", [found.row() for found in checked])
        for sentence in [*problems, *(note for found in checked for note in found.notes)]:
            print(sentence)
    if problems:
        raise AutodsError(f"{len(problems)} problem(s) found; nothing was changed.")
    if not json:
        looked = "No problem found" if checked else "Nothing to verify yet"
        print(f"{looked} under {data_root.path}.")


def _to_verify(
    selection: Selection, encoder: str | None, catalogue: Catalogue, root: DataRoot
) -> tuple[list[str], list[str]]:
    """Return the datasets of which something is here, and those of a stream of which nothing is.

    A dataset that is named and of which nothing is here is refused.
    """
    from autods.core.registry import unknown

    stored = root.feature_sets(finished=False)
    if encoder is not None and encoder not in (encoders := {one for one, _ in stored}):
        raise unknown("encoder with features under the root", encoder, encoders)
    here = {*root.datasets(), *(name for _, name in stored)}
    wanted = chosen(selection, catalogue, lambda: here)
    absent = [name for name in wanted if name not in here]
    if absent and selection.stream is None:
        raise UsageError(
            f"nothing of '{absent[0]}' is here yet; run `autods fetch {absent[0]}` first."
        )
    return sorted(name for name in wanted if name in here), absent


def audit(
    names: Names = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only hash the images; do not decode them.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Audit anew what was audited before.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read images; default: all cores.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Markdown file for all findings, with examples.")
    ] = None,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Look for duplicates, imbalance and unreadable images in indexed datasets."""
    from autods.checks.audit import audit_dataset
    from autods.checks.audit_report import LEGEND, flawed, row, write_report
    from autods.checks.audit_scan import Scanner
    from autods.core.cores import usable_cores
    from autods.core.files import atomic
    from autods.core.progress import console_progress

    data_root, progress = open_root(root), console_progress()
    catalogue = open_catalogue(manifests, data_root)
    if report is not None:
        _check_report(report)
    found: list[dict[str, Any]] = []

    def finish() -> None:
        if json:
            print_json(found)
        elif found:
            print_table("Audit ('?': not looked at)", [row(findings) for findings in found])
            print(textwrap.fill(LEGEND, shutil.get_terminal_size().columns))
        if report is not None and found:
            with atomic(report) as temporary:
                temporary.write_text(write_report(found), encoding="utf-8")
            print(f"Report: {report}", file=sys.stderr)
        elif not json and any(flawed(findings) for findings in found):
            print("--report FILE tells which images these are.")

    with Scanner(workers or usable_cores(), decode=not fast) as scanner:

        def one(name: str) -> None:
            manifest = catalogue.dataset(name) if name in catalogue.datasets() else None
            found.append(audit_dataset(data_root, name, manifest, scanner, progress, again=again))

        each(_indexed(names, catalogue, data_root), one, then=finish)


def _check_report(report: Path) -> None:
    """Refuse a place where no file can be written, before hours of work."""
    around = next(folder for folder in report.absolute().parents if folder.exists())
    if report.is_dir() or not around.is_dir() or not os.access(around, os.W_OK):
        got = "a folder" if report.is_dir() else f"{around} cannot be written to"
        raise UsageError(
            f"--report {report}: expected a place for a file, got {got}; nothing was audited. "
            "Name another file."
        )


def _indexed(names: list[str] | None, catalogue: Catalogue, root: DataRoot) -> list[str]:
    from autods.manifest.select import Selection

    here = [name for name in root.datasets() if root.samples(name).is_file()]
    found = chosen(Selection(names or ()), catalogue, lambda: here)
    if not found:
        raise UsageError("no dataset is indexed under this root; start with `autods index`.")
    return found


def doctor(
    names: Names = None,
    stream: Stream = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    access: Access = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave the network out.")] = False,
    root: Root = None,
    manifests: Manifests = None,
    json: Json = False,
) -> None:
    """Check what fetching, indexing and extracting need on this machine; tell the cures."""
    from autods.checks.doctor import examine, show
    from autods.manifest.select import Selection

    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    selection = Selection(names or (), False, stream, exclude or (), max_size, access)
    asked = any((names, stream, exclude, max_size, access))
    wanted = chosen(selection, catalogue) if asked else ()
    checks = examine(catalogue, data_root, wanted, offline=offline)
    if json:
        print_json([asdict(check) for check in checks])
    else:
        print(show(checks, shutil.get_terminal_size().columns))
    failed = sum(check.state == "fail" for check in checks)
    if failed:
        raise AutodsError(f"{failed} check(s) failed; each names its cure.")
