"""Versions of Kaggle datasets: asked for by the user, and told when another one was served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from autods.errors import UsageError
from autods.manifest.sources import Mirror, Release

ReleaseT = TypeVar("ReleaseT", bound=Release)

OPTION = "--kaggle-version"
PAGE = "https://www.kaggle.com/datasets/{}/versions"


def wanted_versions(values: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return dataset to version, from ``NAME=N``, or ``N`` if only one dataset is fetched.

    Raises `UsageError` for anything else, and for a dataset that is not among ``names``.
    """
    wanted: dict[str, int] = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        if not equals and len(names) == 1:
            name = names[0]
        if not name or not number.isdecimal() or not int(number):
            raise UsageError(
                f"{OPTION} {value}: expected NAME=N, or N with one dataset; nothing was fetched. "
                f"Versions are listed on the dataset's page at Kaggle."
            )
        if name not in names:
            raise UsageError(
                f"{OPTION} {value}: '{name}' is not among the datasets of this command; nothing "
                "was fetched."
            )
        wanted[name] = int(number)
    return wanted


def versions_asked(value: int | Mapping[str, int] | None, names: Sequence[str]) -> dict[str, int]:
    """Return dataset to version: of the one dataset of ``names``, or as given by name.

    Raises `UsageError` as `wanted_versions` does.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return wanted_versions([f"{name}={number}" for name, number in value.items()], names)
    return wanted_versions([str(value)], names)


def at_version(manifest: ReleaseT, version: int | None) -> ReleaseT:
    """Return a manifest whose Kaggle mirrors are asked for one version; its checksums stay.

    Raises `UsageError` if no file of it comes from Kaggle.
    """
    if version is None:
        return manifest
    entries = [
        entry.model_copy(update={"mirrors": [_pinned(mirror, version) for mirror in entry.mirrors]})
        for entry in manifest.files
    ]
    if not any(mirror.kind == "kaggle" for entry in entries for mirror in entry.mirrors):
        raise UsageError(
            f"{OPTION}: {manifest.name} does not come from a Kaggle dataset; nothing was fetched."
        )
    return manifest.model_copy(update={"files": entries})


def of_another_version(mirror: Mirror) -> tuple[str, str]:
    """Return why a Kaggle archive is probably another one than expected, and what to do."""
    name, _, version = mirror.url.partition("@")
    known = ", ".join(map(str, mirror.versions))
    if version:
        words = f"version {version} is not, or not as packed today, what the manifest describes"
    else:
        words = "a newer version is served"
    words += f"; versions known: {known}" if known else f"; its versions: {PAGE.format(name)}"
    step = f"Ask for another version with {OPTION} ({known or PAGE.format(name)})"
    return words, f"{step}, or hand the published file over with 'autods import NAME FILE'."


def _pinned(mirror: Mirror, version: int) -> Mirror:
    if mirror.kind != "kaggle":
        return mirror
    return mirror.model_copy(update={"url": f"{mirror.url.partition('@')[0]}@{version}"})
