"""Files that a person has fetched by hand: recognised by checksum, checked, put in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autods.core.files import held
from autods.core.home import expanded
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import ChecksumMismatch, FetchError, UsageError
from autods.fetch import fetch_file, unwritable_explained
from autods.fetch.digests import digest
from autods.fetch.magic import ENOUGH, told_apart
from autods.fetch.sources.base import MirrorFailed
from autods.fetch.sources.git import head_of
from autods.manifest.schema import Manifest, Mirror


def import_files(
    manifest: Manifest, root: DataRoot, files: Sequence[Path], progress: Progress
) -> list[tuple[str, str]]:
    """Copy files that were fetched by hand into the archives of a dataset, and record them.

    A file is recognised by its checksum; its name does not matter. For a ``tree:`` entry a
    folder is given, for a ``git:`` entry a clone that has the pinned commit checked out. The
    result pairs each name in the manifest with ``imported`` or ``kept``, in the order of ``files``.

    Raises `ChecksumMismatch`, and imports nothing at all, if the manifest has no such file.
    """
    given = [expanded(file).absolute() for file in files]
    for path in given:
        if not path.exists():
            raise UsageError(f"{path} does not exist; nothing was imported. Correct the path.")
    known = [(path, _digests(manifest, path, progress)) for path in given]
    matches = [
        (path, entry)
        for path, digests in known
        for entry in manifest.files
        if entry.checksum in digests
    ]
    matched = [path for path, _ in matches]
    if strangers := [(path, digests) for path, digests in known if path not in matched]:
        raise ChecksumMismatch(
            "\n".join(_unknown(manifest, path, digests) for path, digests in strangers)
            + "\nNothing was imported, and the files are untouched.",
            "Name the files in the folder, not the folder."
            if any("a folder" in digests for _, digests in strangers)
            else "Get the file that the manifest describes, or import the others without it.",
        )
    done = []
    lock = held(root.record(manifest.name), manifest.name, progress.note)
    with unwritable_explained(manifest.name, root), lock:
        for path, entry in matches:
            kind = "git" if entry.checksum.startswith("git:") else "file"
            mirror = Mirror.model_validate({"kind": kind, "url": str(path)})
            file = fetch_file(manifest.name, entry, [[mirror]], root, progress)
            done.append((entry.name, "kept" if file.action in ("keep", "adopt") else "imported"))
    return done


def _digests(manifest: Manifest, path: Path, progress: Progress) -> list[str]:
    """Return the checksum of a file or folder in each form that the manifest uses."""
    progress.note(f"checking {path}")
    forms = dict.fromkeys(entry.checksum.partition(":")[0] + ":" for entry in manifest.files)
    return [_commit(path) if form == "git:" else digest(path, form) for form in forms]


def _commit(path: Path) -> str:
    """Return the commit that a clone has checked out, as a checksum."""
    try:
        head = head_of(path) if path.is_dir() else None
    except MirrorFailed as error:
        raise FetchError(f"{path}: {error}; nothing was imported.", error.next_step) from None
    return f"git:{head}" if head else "no git repository"


def _unknown(manifest: Manifest, path: Path, digests: list[str]) -> str:
    """Say what a file is and what was expected; a file of the same name is the likely one."""
    wanted = [entry for entry in manifest.files if entry.name == path.name] or manifest.files
    told = ""
    if path.is_file():
        with path.open("rb") as handle:
            told = told_apart(handle.read(ENOUGH), wanted[0].name)
    told = f" ({told})" if told else ""
    lines = [f"{path}: got {', '.join(digests)}{told}; expected of {manifest.name}:"]
    lines += [f"  {entry.name}: {entry.checksum}" for entry in wanted]
    return "\n".join(lines)
