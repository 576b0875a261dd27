"""The space that a plan of fetching needs, and what the disk has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from autods.core.output import counted
from autods.core.refusals import refusal
from autods.core.root import DataRoot
from autods.errors import DiskFull, FetchError
from autods.fetch.plan import PlannedDataset


def free_bytes(root: DataRoot) -> int:
    """Return the free space of the disk that holds the datasets, in bytes."""
    return shutil.disk_usage(_standing(root)).free


def _standing(root: DataRoot) -> Path:
    """Return the folder of the datasets, or the one above that is there already."""
    place = root.dataset("any").parent
    while not place.exists():
        place = place.parent
    return place


def check_space(plans: Sequence[PlannedDataset], root: DataRoot) -> None:
    """Raise `DiskFull` if a fetch is known not to fit; unknown and estimated sizes do not count.

    Raises `FetchError` if nothing can be written: read-only disks say that nothing is free.
    """
    from rich.filesize import decimal

    needed, free = known_remaining(plans), free_bytes(root)
    if needed <= free:
        return
    try:
        with TemporaryDirectory(dir=_standing(root)):
            pass
    except OSError as error:
        why, cure = refusal(error)
        raise FetchError(
            f"cannot write below {_standing(root)}: {why}. Nothing was fetched.",
            f"{cure} (--root), then run the same command again.",
        ) from None
    unknown = sum(
        any(file.basis in ("estimate", "unknown") and not file.verified for file in plan.files)
        for plan in plans
    )
    more = f", and {counted(unknown, 'dataset')} of unknown size" if unknown else ""
    raise DiskFull(
        f"not enough space under {root.path}: {decimal(needed)} are still to come{more}; "
        f"{decimal(free)} are free. Nothing was fetched.",
        "Free space, choose a larger disk with --root, or name fewer datasets; the largest: "
        f"{largest(plans)}.",
    )


def known_remaining(plans: Sequence[PlannedDataset]) -> int:
    """Return the bytes still to come of all files whose size is known, not only estimated."""
    files = [file for plan in plans for file in plan.files]
    return sum(file.remaining or 0 for file in files if file.basis != "estimate")


def estimated_remaining(plans: Sequence[PlannedDataset]) -> int:
    """Return the bytes still to come of all files whose size is estimated."""
    files = [file for plan in plans for file in plan.files]
    return sum(file.remaining or 0 for file in files if file.basis == "estimate")


def copies_to_come(plans: Sequence[PlannedDataset]) -> int:
    """Return the bytes of the copies that indexing will make, as far as they are known."""
    return sum(file.copy or 0 for plan in plans for file in plan.files)


def space_needed(plans: Sequence[PlannedDataset]) -> int:
    """Return the bytes that archives still to come and copies will take, as far as told."""
    return known_remaining(plans) + estimated_remaining(plans) + copies_to_come(plans)


def largest(plans: Sequence[PlannedDataset], count: int = 5) -> str:
    """Return the datasets that need most space, with archives still to come and copies."""
    from rich.filesize import decimal

    first = sorted(plans, key=lambda plan: space_needed([plan]), reverse=True)[:count]
    return ", ".join(f"{plan.dataset} {decimal(space_needed([plan]))}" for plan in first)
