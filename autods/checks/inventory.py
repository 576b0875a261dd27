"""The state of each dataset under a data root: files, index, features.

Looks at records, names and sizes only; hashes and contents are checked by `autods verify`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from autods.errors import AutodsError, ManifestError
from autods.fetch.part_files import part_of
from autods.fetch.records import missing_files, read_record

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest


@dataclass(frozen=True)
class Holding:
    """The local state of one dataset.

    Attributes
    ----------
    manifest
        ``None`` if none is known.
    missing
        Files of the manifest that are not here, or not verified; ``None`` without a manifest.
    begun
        Whether some bytes of a missing file are here.
    index
        The index's entry of the record, if the index is there and of this manifest.
    outdated
        Whether an index is there, but of another manifest or format.
    features
        Encoders with finished features.
    stale
        Those of them whose features were made from another manifest: no stream uses them.
    problem
        What is wrong with the manifest or the record, if one of them cannot be read.
    """

    dataset: str
    manifest: Manifest | None
    missing: tuple[str, ...] | None = None
    begun: bool = False
    index: dict[str, Any] = field(default_factory=dict)
    outdated: bool = False
    features: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    problem: str | None = None

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
    found = []
    for name in names:
        try:
            manifest = catalogue.dataset(name) if name in known else None
            found.append(_look(name, manifest, root, encoders))
        except ManifestError as error:
            found.append(replace(_look(name, None, root, encoders), problem=str(error)))
    return found


def fetched(catalogue: Catalogue, root: DataRoot) -> list[str]:
    """List the datasets with a manifest whose files are all under the root.

    One whose manifest or record cannot be read is among them: the step that is asked for says
    what is wrong with it, and goes on with the others.
    """
    found = []
    for name in root.datasets():
        try:
            if name in catalogue.datasets() and not missing_files(catalogue.dataset(name), root):
                found.append(name)
        except AutodsError:
            found.append(name)
    return found


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
        text = root.feature_record(encoder, manifest.name).read_text(encoding="utf-8")
        record = json.loads(text)
    except (OSError, ValueError):
        return True  # `autods verify` says what is wrong with it
    imported = record.get("hashed") != "image"
    return bool(imported or record.get("fingerprint") == manifest.fingerprint())


def _is_of(entry: dict[str, Any], manifest: Manifest) -> bool:
    from autods.index.build import FORMAT

    return bool(entry.get("format") == FORMAT and entry.get("manifest") == manifest.fingerprint())
