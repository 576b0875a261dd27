"""Check the data root (write access, free space, file locks) and the temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autods.checks.finding import Check
from autods.core.refusals import refusal
from autods.errors import AutodsError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.schema import Manifest

LITTLE = 1_000_000_000  # bytes; with less, even small datasets stop half-way
LOCK_SECONDS = 5.0


def check_root(root: DataRoot, manifests: Sequence[Manifest]) -> Iterator[Check]:
    """Yield the findings; a missing folder is not created."""
    existing = root.path
    while not existing.exists():
        existing = existing.parent
    state = "" if existing == root.path else f" does not exist yet; it will be made in {existing}"
    try:
        with tempfile.TemporaryDirectory(dir=existing, prefix=".autods-doctor-") as folder:
            (Path(folder) / "file").write_bytes(b"autods")
            yield Check("root", "ok", f"{root.path}{state or ' can be written'}")
            yield _locks(Path(folder) / "file")
    except OSError as error:
        why, cure = refusal(error)
        text = f"{root.path} cannot be written: {why}"
        yield Check("root", "fail", text, f"{cure} with --root or AUTODS_ROOT.")
        return
    yield _space(root, manifests)


def check_temporary() -> Check:
    """Look for a folder in which processes can make the sockets by which they find each other."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"autods")
    except OSError as error:
        why, cure = refusal(error)
        return Check("temporary", "fail", why, f"{cure}.")
    return Check("temporary", "ok", f"{tempfile.gettempdir()} can be written")


def _locks(path: Path) -> Check:
    """Take a lock, and see that it keeps another one out."""
    from filelock import FileLock, Timeout

    cure = (
        "Choose a --root on a file system with locks (on NFS, the lock service of the server); "
        "until then start one autods at a time on this root."
    )
    lock = path.with_name(path.name + ".lock")
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            try:
                FileLock(lock, timeout=0).acquire().lock.release()
            except Timeout:
                return Check("locks", "ok", "files can be locked there")
            return Check("locks", "fail", "a second lock on the same file was granted", cure)
    except (OSError, NotImplementedError, Timeout) as error:
        return Check("locks", "fail", f"no file can be locked there: {error}", cure)


def _space(root: DataRoot, manifests: Sequence[Manifest]) -> Check:
    """Compare the free space with the sizes of the files still to fetch, and of their copies."""
    from rich.filesize import decimal

    from autods.fetch.plan import plan_dataset
    from autods.fetch.space import (
        copies_to_come,
        estimated_remaining,
        free_bytes,
        known_remaining,
        space_needed,
    )

    plans = []
    for manifest in manifests:
        with suppress(AutodsError):  # its record cannot be read; `autods status` tells
            plans.append(plan_dataset(manifest, root))
    free, known, estimated = free_bytes(root), known_remaining(plans), estimated_remaining(plans)
    copies = copies_to_come(plans)
    files = [file for plan in plans for file in plan.files if not file.verified]
    unknown = sum(file.remaining is None for file in files)
    text = f"{decimal(free)} free"
    if files:
        of = f"{len(files)} file{'s' if len(files) > 1 else ''}"
        text += f"; still to come: {of}, {decimal(known)} known"
        text += f", {decimal(estimated)} estimated" if estimated else ""
        text += f", {unknown} of unknown size" if unknown else ""
    text += f"; copies made by 'autods index': about {decimal(copies)}" if copies else ""
    if free < space_needed(plans) or (files and free < LITTLE):
        cure = "Free space, choose a larger disk with --root, or fetch fewer datasets."
        return Check("disk", "warn", text, cure)
    return Check("disk", "ok", text)
