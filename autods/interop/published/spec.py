"""Feature archives that can be fetched by name, and what is known of them: YAML files.

They lie in ``features/`` beside the manifests of datasets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from autods.core.registry import unknown
from autods.core.strict import Strict
from autods.errors import ManifestError
from autods.manifest.catalogue import load
from autods.manifest.files import manifest_folders
from autods.manifest.sources import FileEntry, Mirror

STREAM = "stream-clip"  # the published archive of the Stream datasets


class ArchiveFile(Strict):
    """The file of a feature archive.

    Attributes
    ----------
    checksum
        ``sha256:<64 hex>``; ``null`` where none is published.
    """

    name: str
    checksum: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None
    size: int | None = None  # bytes
    mirrors: list[Mirror] = Field(min_length=1)

    def entry(self) -> FileEntry:
        """Return the file as transports know it; without a checksum, one that nothing has."""
        if self.checksum is not None:
            return FileEntry.model_validate(self.model_dump())
        return FileEntry.model_construct(
            name=self.name, checksum="sha256:unknown", size=self.size, mirrors=self.mirrors
        )


class Extractor(Strict):
    """One extractor of an archive: the name its features get here, and what made them."""

    encoder: str
    source: str


class FeatureArchive(Strict):
    """A published archive of features.

    Attributes
    ----------
    extractor
        The one that is imported where nothing else is asked for.
    extractors
        What is known of the extractors, by their folders.
    renamed
        Folder of a dataset to its name here, where the two differ.
    default_tasks
        Dataset to its default label set, where it has several.
    """

    name: str
    title: str
    homepage: str | None
    citation: str | None
    licence: str | None
    file: ArchiveFile
    extractor: str
    extractors: dict[str, Extractor]
    renamed: dict[str, str] = Field(default={})
    default_tasks: dict[str, str] = Field(default={})

    def known(self, extractor: str) -> Extractor:
        """Return what is known of an extractor; one that is not listed has its folder's name."""
        named = f"{extractor}.published-stream"
        return self.extractors.get(extractor) or Extractor(encoder=named, source="not known")


def load_archive(name: str, folders: Iterable[Path] = ()) -> FeatureArchive:
    """Load the description of a feature archive by its name.

    Parameters
    ----------
    folders
        Further folders of manifests; one found later wins.

    Raises
    ------
    UnknownName
        When there is none of this name.
    ManifestError
        When the file does not follow the schema.
    """
    found = {
        path.stem: path
        for folder in manifest_folders(folders)
        for path in sorted(folder.glob("features/*.yaml"))
    }
    if name not in found:
        raise unknown("feature archive", name, found)
    archive = load(found[name], FeatureArchive)
    if archive.name != name:
        raise ManifestError(
            f"{found[name]}: name: expected '{name}' as the file is called, got '{archive.name}'; "
            "it was not used. Rename one of the two."
        )
    return archive
