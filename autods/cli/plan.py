"""What a fetch would do, as a table or as JSON: ``--dry-run``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from autods.cli import next_steps
from autods.core.console import print_json, print_next, print_table
from autods.core.output import counted, tell
from autods.errors import AutodsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autods.core.root import DataRoot
    from autods.fetch.plan import PlannedDataset
    from autods.manifest.sources import Release

NO_TOKEN = {
    "kaggle": "none found; 'autods doctor' tells how to get one",
    "huggingface": "none found; only gated datasets want one",
}


def tell_plan(
    manifests: Sequence[Release],
    unread: dict[str, AutodsError],
    root: DataRoot,
    mirrors: Sequence[str],
    json: bool,
    *,
    ask: bool = False,
    quiet: bool = False,
) -> None:
    """Print what a fetch would do; exit 1 where that cannot be told for each dataset.

    With ``ask`` the servers are asked for the sizes that no manifest states.
    """
    from autods.fetch.mirrors import check_mirrors
    from autods.fetch.plan import measure, plan_dataset, tokens
    from autods.fetch.space import (
        copies_to_come,
        estimated_remaining,
        free_bytes,
        known_remaining,
    )

    check_mirrors(mirrors)
    plans, wrong = [], dict(unread)
    answers = measure(manifests, root, mirrors) if ask else {}
    for manifest in manifests:
        try:
            plans.append(plan_dataset(manifest, root, mirrors, answers.get(manifest.name)))
        except AutodsError as error:
            wrong[manifest.name] = error
    if json:
        print_json(
            {
                "root": str(root.path),
                "free": free_bytes(root),
                "remaining": known_remaining(plans),
                "estimated": estimated_remaining(plans),
                "copies": copies_to_come(plans),
                "unknown": [plan.dataset for plan in plans if plan.remaining is None],
                "tokens": tokens(plans),
                "datasets": [plan.as_json() for plan in plans],
                "problems": {name: str(problem) for name, problem in wrong.items()},
            }
        )
    else:
        _print_plan(plans, root)
        for name, problem in wrong.items():
            tell(f"{name}: {problem}")
    if wrong:
        raise typer.Exit(1)
    if manifests and not json:
        typed = [word for word in sys.argv[1:] if word not in ("--dry-run", "--ask-sizes")]
        print_next(next_steps.command("autods", *typed), quiet=quiet)


def _print_plan(plans: Sequence[PlannedDataset], root: DataRoot) -> None:
    from rich.filesize import decimal

    from autods.fetch.plan import tokens
    from autods.fetch.space import free_bytes, known_remaining, largest, space_needed

    found = tokens(plans)
    begun = any(plan.here for plan in plans)
    rows = [_plan_row(plan, begun, "kaggle" in found and not found["kaggle"]) for plan in plans]
    marks = "'?': unknown" + (", '~': estimated" if any("~" in str(row) for row in rows) else "")
    print_table(f"To fetch ({marks})", rows, ["from", "licence"])
    files = sum(len(plan.files) for plan in plans)
    tell(f"{counted(len(plans), 'dataset')}, {counted(files, 'file')}.")
    here = decimal(sum(plan.here for plan in plans))
    needed, free = known_remaining(plans), free_bytes(root)
    tell(f"Here: {here}. Still to come: {_to_come(plans)}.")
    whole = space_needed(plans)
    enough = "."
    if needed > free:
        enough = ": not enough, the fetch would be refused."
    elif whole > free:
        enough = f": not enough for the {decimal(whole)} of archives and copies."
    tell(f"Free under {root.path}: {decimal(free)}{enough}")
    if whole > free:
        tell(f"Leave some out with --exclude or --max-size; the largest: {largest(plans)}.")
    for host, place in found.items():
        tell(f"Token for {host}: {place or NO_TOKEN[host]}.")
    for plan in plans:
        if plan.acceptance and plan.kinds:
            tell(
                f"Licence of {plan.dataset}: read {plan.acceptance}; to accept it, add "
                f"`--accept-licence {plan.dataset}`."
            )


def _to_come(plans: Sequence[PlannedDataset]) -> str:
    """Return the bytes still to come, by how they are known, and those of copies."""
    from rich.filesize import decimal

    from autods.fetch.space import copies_to_come, estimated_remaining, known_remaining

    known, estimated = known_remaining(plans), estimated_remaining(plans)
    text = decimal(known + estimated)
    if estimated:
        text += f" ({decimal(estimated)} of it estimated)"
    unknown = sum(file.remaining is None for plan in plans for file in plan.files)
    text += f", and {counted(unknown, 'file')} of unknown size" if unknown else ""
    copies = copies_to_come(plans)
    return text + (f"; copies made by 'index': about {decimal(copies)}" if copies else "")


def _plan_row(plan: PlannedDataset, begun: bool, no_kaggle: bool) -> dict[str, Any]:
    """Return a row of the plan; where some is here, what is and what is not, else the size."""
    here = _amount([file.here for file in plan.files])
    left = _amount([file.remaining for file in plan.files])
    if any(file.basis == "estimate" and file.remaining for file in plan.files):
        left = f"~ {left}"
    needs = ["token"] if no_kaggle and any("kaggle" in kind for kind in plan.kinds) else []
    return {
        "dataset": plan.dataset,
        "files": len(plan.files),
        **({"here": here, "to fetch": left} if begun else {"size": left}),
        "from": ", ".join(plan.hosts) or "-",
        "needs": " ".join([*needs, *(["accept"] if plan.acceptance and plan.kinds else [])]),
        "licence": plan.licence,
    }


def _amount(sizes: Sequence[int | None]) -> str:
    """Return the sum of the known sizes, with a mark where one is unknown."""
    from rich.filesize import decimal

    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        return decimal(sum(known))
    return f"{decimal(sum(known))} + ?" if any(known) else "?"
