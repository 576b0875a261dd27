"""Verify one dataset part by part: archives, index, counts, features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autods.errors import AutodsError

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import Manifest

PARTS = ("archives", "index", "counts", "features")


@dataclass
class Checked:
    """What was checked of a dataset."""

    dataset: str
    # `ok`, `problem`, `-` (not here) or `?` (here, and could not be checked)
    states: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PARTS, "-"))
    problems: list[str] = field(default_factory=list)  # sentences
    notes: list[str] = field(default_factory=list)  # what could not be checked

    def enter(self, part: str, problems: list[str]) -> None:
        """Record the problems of one checked part."""
        self.states[part] = "problem" if problems else "ok"
        self.problems += problems

    def row(self) -> dict[str, Any]:
        """Return the dataset's row of a table."""
        return {"dataset": self.dataset, **self.states}


def check_dataset(name: str, catalogue: Catalogue, root: DataRoot, encoder: str | None) -> Checked:
    """Verify the local files of a dataset; an error of one part does not stop the others.

    Without an ``encoder``, features of all are checked.
    """
    from autods.checks.features import unhashed_features, verify_features

    checked = Checked(name)
    if name in root.datasets():
        if name in catalogue.datasets():
            _check_data(checked, catalogue.dataset(name), root)
        else:
            checked.states["archives"] = checked.states["index"] = "?"
            checked.problems.append(
                f"{name}: not checked: no manifest is known; add --manifests FOLDER."
            )
    encoders = {one for one, of in root.feature_sets(finished=False) if of == name}
    if encoders if encoder is None else encoder in encoders:
        checked.enter("features", verify_features(root, encoder, [name]))
        checked.notes += unhashed_features(root, encoder, name)
    return checked


def bytes_to_hash(name: str, root: DataRoot, encoder: str | None) -> int:
    """Return about how many bytes `check_dataset` hashes: archives, their copies, shards."""
    from autods.fetch.digests import size_of

    shards = root.path.glob(f"features/{encoder or '*'}/{name}/*.h5")
    try:
        return size_of(root.dataset(name)) + sum(path.stat().st_size for path in shards)
    except OSError:  # the check itself reports what cannot be read
        return 0


def _check_data(checked: Checked, manifest: Manifest, root: DataRoot) -> None:
    from autods.fetch import verify_archives
    from autods.index.counts import count_differences
    from autods.index.samples import verify_index

    try:
        checked.enter("archives", verify_archives(manifest, root))
    except AutodsError as error:  # the record cannot be read
        checked.enter("archives", [f"{manifest.name}: {error}"])
        return
    if not root.samples(manifest.name).exists():
        return
    checked.enter("index", verify_index(manifest, root))
    try:
        differences = count_differences(manifest, root)
    except AutodsError:  # the index cannot be used, as `verify_index` has said
        checked.states["counts"] = "?"
    else:
        cure = "correct 'expected' or the layout in the manifest"
        checked.enter("counts", [f"{manifest.name}: {found}; {cure}." for found in differences])
