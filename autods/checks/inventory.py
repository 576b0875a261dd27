"""The state of each dataset under a data root: files, index, features.

Looks at records, names and sizes only; hashes and contents are checked by `autods verify`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from autods.core.files import read_json
from autods.errors import AutodsError, ManifestError
from autods.fetch.part_files import part_of
from autods.fetch.records import missing_files, read_record

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest


@dataclass(frozen=True)
class Holding:
    """The local state of one dataset."""

    dataset: str
    manifest: Manifest | None  # None: none is known
    missing: tuple[str, ...] | None = None  # not here or not verified
    begun: bool = False  # some bytes of a missing file are here
    # the record's entry, if the index is there and of this manifest
    index: dict[str, Any] = field(default_factory=dict)
    outdated: bool = False  # an index is there, but of another manifest or format
    features: tuple[str, ...] = ()  # encoders with finished features
    stale: tuple[str, ...] = ()  # those made from another manifest: no stream uses them
    problem: str | None = None  # of a manifest or record that cannot be read

    @property
    def fetched(self) -> bool | None:
        """Whether all files are here; ``None`` without a manifest."""
        return None if self.missing is None else not self.missing

    @property
    def state(self) -> str:
        """How far the dataset has come: ``-``, partial, fetched, indexed or features.

        ``unknown`` if files are here without a manifest that names them.
        """
        if set(self.features) - set(self.stale):
            return "features"
        if self.index:
            return "indexed"
        if self.manifest is None or self.missing is None:
            return "partial" if self.problem else "unknown"
        if not self.missing:
            return "fetched"
        return "partial" if self.begun or len(self.missing) < len(self.manifest.files) else "-"


def take_inventory(
    catalogue: Catalogue, root: DataRoot, names: Iterable[str] | None = None
) -> list[Holding]:
    """Return the state of the named datasets, in this order, present or not.

    Without names: every dataset with local files, sorted.
    """
    encoders: dict[str, list[str]] = {}
    for encoder, name in root.feature_sets():
        encoders.setdefault(name, []).append(encoder)
    known = set(catalogue.datasets())
    if names is None:
        names = sorted({*root.datasets(), *encoders})
    holdings = []
    for name in names:
        try:
            manifest = catalogue.dataset(name) if name in known else None
            holdings.append(_look(name, manifest, root, encoders))
        except ManifestError as error:
            holdings.append(replace(_look(name, None, root, encoders), problem=str(error)))
    return holdings


def fetched(catalogue: Catalogue, root: DataRoot) -> list[str]:
    """List the datasets with a manifest whose files are all under the root.

    One whose manifest or record cannot be read is among them: the step that is asked for says
    what is wrong with it, and goes on with the others.
    """
    complete = []
    for name in root.datasets():
        try:
            if name in catalogue.datasets() and not missing_files(catalogue.dataset(name), root):
                complete.append(name)
        except AutodsError:
            complete.append(name)
    return complete


def _look(
    name: str, manifest: Manifest | None, root: DataRoot, encoders: dict[str, list[str]]
) -> Holding:
    features = tuple(encoders.get(name, ()))
    try:
        entry = read_record(root, name).get("index", {})
        missing = None if manifest is None else tuple(missing_files(manifest, root))
    except AutodsError as error:
        return Holding(name, manifest, features=features, problem=str(error))
    there = bool(entry) and root.samples(name).is_file()
    current = there and (manifest is None or _is_of(entry, manifest))
    return Holding(
        name,
        manifest,
        missing,
        begun=any(part_of(root.archive(name, file)).exists() for file in missing or ()),
        index=entry if current else {},
        outdated=there and not current,
        features=features,
        stale=tuple(one for one in features if manifest and not _made_from(manifest, root, one)),
    )


def _made_from(manifest: Manifest, root: DataRoot, encoder: str) -> bool:
    """Tell whether features belong to this manifest; imported ones belong to none."""
    try:
        record = read_json(root.feature_record(encoder, manifest.name))
    except (OSError, ValueError):
        return True  # `autods verify` says what is wrong with it
    imported = record.get("hashed") != "image"
    return bool(imported or record.get("fingerprint") == manifest.fingerprint())


def _is_of(entry: dict[str, Any], manifest: Manifest) -> bool:
    from autods.index.build import FORMAT

    return bool(entry.get("format") == FORMAT and entry.get("manifest") == manifest.fingerprint())
