"""Feature archives that are fetched by name: YAML files in ``features/`` beside the manifests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from autods.core.registry import unknown
from autods.core.strict import Strict
from autods.errors import ContainerError, ManifestError
from autods.fetch.magic import ENOUGH, kind_of
from autods.interop.published.archive import whole_tar
from autods.manifest.catalogue import load
from autods.manifest.files import by_name, checked_folders, feature_files
from autods.manifest.sources import FileEntry, Release

STREAM = "stream-clip"  # the published archive of the Stream datasets


class ArchiveFile(FileEntry):
    """The file of a feature archive; its checksum is ``sha256:<64 hex>``, ``null`` if unpublished.

    Without a published checksum (kept as ``sha256:``, which any fits), a tar must be whole to its
    end, and the sha256 of what came is recorded: it tells later whether the file has changed.
    """

    @field_validator("checksum", mode="before")
    @classmethod
    def _known_algorithm(cls, value: Any) -> str:
        if not re.fullmatch("sha256:([0-9a-f]{64})?", checksum := str(value or "sha256:")):
            raise ValueError("expected sha256:<64 hex> or null")
        return checksum

    def fault(self, path: Path) -> str | None:
        """Say why a file cannot be the archive; a compressed one may be it."""
        with path.open("rb") as handle:
            kind = kind_of(handle.read(ENOUGH))
        if kind is None:
            return "it does not begin like an archive"
        try:
            if kind == "tar archive":
                whole_tar(path)
        except ContainerError:
            return "it is a tar without its end"
        return None


class Extractor(Strict):
    """One extractor of an archive: the name its features get here, and what made them."""

    encoder: str
    source: str


class FeatureArchive(Release):
    """A published archive of features: one file, and what is known of its extractors by folder.

    ``extractor`` is the default one. ``renamed`` maps a dataset's folder to its name here,
    ``default_tasks`` a dataset with several label sets to its default one.
    """

    access: Literal["open"] = "open"
    files: Sequence[ArchiveFile] = Field(min_length=1, max_length=1)
    extractor: str
    extractors: dict[str, Extractor]
    renamed: dict[str, str] = Field(default={})
    default_tasks: dict[str, str] = Field(default={})

    def known(self, extractor: str) -> Extractor:
        """Return what is known of an extractor; one that is not listed has its folder's name."""
        named = f"{extractor}.published-stream"
        return self.extractors.get(extractor) or Extractor(encoder=named, source="not known")


def load_archive(name: str, folders: Iterable[Path] = ()) -> FeatureArchive:
    """Load the description of a feature archive by its name; in later ``folders``, one wins."""
    found: dict[str, Path] = {}
    for folder in checked_folders(folders):
        found |= by_name(feature_files(folder))
    if name not in found:
        raise unknown("feature archive", name, found)
    archive = load(found[name], FeatureArchive)
    if archive.name != name:
        raise ManifestError(
            f"{found[name]}: name: expected '{name}' as the file is called, got '{archive.name}'; "
            "it was not used. Rename one of the two."
        )
    return archive
