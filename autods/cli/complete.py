"""What the shell offers for a name that is being typed: read from files' names, at once."""

from __future__ import annotations

from collections.abc import Iterable

from autods.manifest.files import dataset_files, manifest_folders, stream_files


def datasets(incomplete: str) -> list[str]:
    """Return the datasets whose names begin with what was typed."""
    found = {path.stem for folder in manifest_folders() for path in dataset_files(folder)}
    return sorted(name for name in found if name.startswith(incomplete))


def streams(incomplete: str) -> list[str]:
    """Return what may be typed for a stream: one by name, or datasets separated by commas."""
    found = {path.stem for folder in manifest_folders() for path in stream_files(folder)}
    return last_of_list(incomplete, {*found, *datasets(""), "synthetic"})


def last_of_list(incomplete: str, known: Iterable[str]) -> list[str]:
    """Return the ways to complete the last name of a list that is separated by commas."""
    before, comma, last = incomplete.rpartition(",")
    given = set(before.split(","))
    return sorted(f"{before}{comma}{n}" for n in known if n.startswith(last) and n not in given)
