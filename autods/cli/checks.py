"""The commands that check: verify, doctor."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from autods.cli import next_steps
from autods.cli.common import (
    Access,
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
from autods.core.console import print_json, print_next, print_table
from autods.core.output import counted, tell
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
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Check archives, index, counts and features of what is here; exit 1 on any problem."""
    from autods.checks.dataset import bytes_to_hash, check_dataset
    from autods.checks.inventory import take_inventory
    from autods.core.hashed import hashing
    from autods.core.progress import console_board
    from autods.manifest.select import Selection

    data_root = open_root(root)
    catalogue = open_catalogue(manifests, data_root)
    selection = Selection(names or (), False, stream, exclude or (), max_size, access)
    wanted, absent = _to_verify(selection, encoder, catalogue, data_root)
    checked = []
    sizes = [bytes_to_hash(name, data_root, encoder) for name in wanted]
    with console_board(len(wanted), quiet=quiet, in_turn="dataset", weights=sizes) as board:
        progress = board.of("")
        for name, size in zip(wanted, sizes, strict=True):
            with hashing(progress, f"verifying {name}", size):
                checked.append(check_dataset(name, catalogue, data_root, encoder))
            board.ended()
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
            tell(sentence)
    if problems:
        raise AutodsError(f"{counted(len(problems), 'problem')} found; nothing was changed.")
    if not json:
        looked = "No problem found" if checked else "Nothing to verify yet"
        tell(f"{looked} under {data_root.path}.")
        holdings = take_inventory(catalogue, data_root, [found.dataset for found in checked])
        print_next(next_steps.after(holdings, root), quiet=quiet)


def _to_verify(
    selection: Selection, encoder: str | None, catalogue: Catalogue, root: DataRoot
) -> tuple[list[str], list[str]]:
    """Return the datasets of which something is here, and those of a stream of which nothing is.

    A dataset that is named and of which nothing is here is refused.
    """
    from autods.core.registry import unknown_encoder

    stored = root.feature_sets(finished=False)
    if encoder is not None and encoder not in (encoders := {one for one, _ in stored}):
        raise unknown_encoder(encoder, encoders, f"under {root.path}")
    here = {*root.datasets(), *(name for _, name in stored)}
    wanted = chosen(selection, catalogue, lambda: here)
    absent = [name for name in wanted if name not in here]
    if absent and selection.stream is None:
        raise UsageError(
            f"nothing of '{absent[0]}' is here yet; run `autods fetch {absent[0]}` first."
        )
    return sorted(name for name in wanted if name in here), absent


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
        if all(check.state != "fail" for check in checks):
            print_next(next_steps.command("autods fetch", *(wanted or ["NAME"]), root=root))
    failed = sum(check.state == "fail" for check in checks)
    if failed:
        raise AutodsError(f"{counted(failed, 'check')} failed; each names its cure.")
