"""Where half a download stands, and how a whole one gets into its place or out of the way."""

from __future__ import annotations

from pathlib import Path

from autods.core.files import put_in_place
from autods.fetch.digests import digest, remove
from autods.fetch.sources.base import seen_path


def part_of(target: Path) -> Path:
    """Return where the beginning of a file is kept until it is whole and verified."""
    return target.with_name(target.name + ".part")


def place(part: Path, target: Path) -> None:
    """Move a verified part into place once it is on the disk."""
    seen_path(part).unlink(missing_ok=True)
    put_in_place(part, target)


def set_aside(path: Path, target: Path) -> Path:
    """Move a wrong file to ``<target>.bad`` (``.bad2`` ...); one of each content is enough.

    Of a link only the link goes; the path returned is what it led to.
    """
    if path.is_symlink():  # a folder used in place stays where it is, as it is
        origin = path.resolve()
        path.unlink()
        return origin
    form = "tree:" if path.is_dir() else "sha256:"
    number, bad = 1, target.with_name(target.name + ".bad")
    while bad.exists():
        if digest(bad, form) == digest(path, form):
            remove(path)
            return bad
        number += 1
        bad = target.with_name(f"{target.name}.bad{number}")
    put_in_place(path, bad)
    return bad


def discard(part: Path) -> None:
    """Delete a part and what was known about it."""
    seen_path(part).unlink(missing_ok=True)
    remove(part)
