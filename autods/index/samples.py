"""The sample index of a dataset: one Parquet file with the location of each image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from autods.containers import Container, Member, MemberReader
from autods.containers.reader import Address
from autods.core.files import atomic, hash_file, locked, write_json
from autods.core.json_texts import parse_json
from autods.core.progress import Progress, Silent
from autods.core.root import DataRoot
from autods.core.seals import CHANGED
from autods.core.splits import SPLITS
from autods.core.version import __version__
from autods.errors import AutodsError, ContainerError, IndexMissing
from autods.fetch.records import read_record, unverified_files
from autods.index.build import FORMAT, KEY, opened, read_samples, sample_table
from autods.index.sources import changed_copies, is_whole
from autods.layouts.accounting import Account, account, differences
from autods.manifest.schema import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

ADDRESS = ("container", "member", "offset", "size", "crc32")
BATCH = 10_000  # rows made into Python objects at once


@dataclass(frozen=True)
class SampleIndex:
    """The samples of one dataset in the order of their ids; arrays are of length n.

    Columns of ``table``: ``sample`` int64, ``path``, ``container``, ``member`` string,
    ``offset``, ``size``, ``crc32`` int64, ``split_<protocol>`` string, ``label_<task>`` int32
    (-1 = none).
    """

    dataset: str
    fingerprint: str  # of the manifest it was made by
    default_task: str  # the task that splits were stratified by
    classes: dict[str, list[str]]  # task to its class names; the position is the class number
    protocols: list[str]  # those that divide the samples, `clean` first
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def labels(self, task: str | None = None) -> npt.NDArray[np.int32]:
        """Return class numbers of a task (default: the default one), int32 [n]."""
        column = self.table[f"label_{task or self.default_task}"]
        return np.asarray(column.to_numpy(), dtype=np.int32)

    def splits(self, protocol: str = "clean") -> npt.NDArray[np.object_]:
        """Return ``train``, ``dev``, ``test`` or ``""`` (not used) for every sample, [n]."""
        return np.asarray(self.table[f"split_{protocol}"].to_numpy(), dtype=object)

    def split_numbers(self, protocol: str = "clean") -> npt.NDArray[np.int8]:
        """Return the position in `SPLITS` for every sample, -1 where it is not used, int8 [n]."""
        import pyarrow as pa
        from pyarrow import compute

        values = pa.array(SPLITS, pa.string())
        found = compute.index_in(self.table[f"split_{protocol}"], value_set=values)
        return np.asarray(compute.fill_null(found, -1).to_numpy(), dtype=np.int8)

    def rows(self, split: str, protocol: str = "clean") -> npt.NDArray[np.int64]:
        """Return the ids of the samples of one split, int64, increasing."""
        return np.flatnonzero(self.splits(protocol) == split).astype(np.int64)

    def locate(self, sample: int) -> Address:
        """Return the arguments of `MemberReader.read` for one sample."""
        container, member, *numbers = self._address_columns
        offset, size, crc32 = (int(column[sample]) for column in numbers)
        return container[sample], member[sample], offset, size, crc32

    @cached_property
    def _address_columns(self) -> tuple[Any, ...]:
        return tuple(self.table[name].to_numpy() for name in ADDRESS)


@dataclass(frozen=True)
class IndexSummary:
    """The result of `index_dataset`."""

    dataset: str
    action: Literal["indexed", "kept"]  # kept: it was up to date
    samples: int
    classes: dict[str, int]  # task to number of classes
    counts: dict[str, dict[str, int]]  # protocol, split (or `unused`): samples
    members: dict[str, Account]  # file of the manifest: what its entries are


def index_dataset(manifest: Manifest, root: DataRoot, progress: Progress) -> IndexSummary:
    """Write the sample index of a fetched dataset, or keep it if it is up to date.

    Samples are sorted by ``<file>/<member>`` and numbered in this order, so ids, splits
    and bytes of the index are the same on every machine. Whether they are as many as the
    manifest expects is left to `autods.index.counts`.

    Raises
    ------
    ContainerError, UnsafePath
        When an archive is not the one that was fetched and verified for this manifest, or
        is damaged or dangerous.
    LayoutError
        When an archive is not laid out as the manifest says.
    """
    with locked(root.record(manifest.name)):
        _check_fetched(manifest, root, progress)
        record = read_record(root, manifest.name)
        action: Literal["indexed", "kept"] = "kept"
        if not _is_current(manifest, root, record.get("index", {})):
            action = "indexed"
            record["index"] = _build(manifest, root, progress)
            write_json(root.record(manifest.name), record)
    entry = record["index"]
    return IndexSummary(
        manifest.name,
        action,
        entry["samples"],
        entry["classes"],
        entry["counts"],
        entry["members"],
    )


def load_samples(
    root: DataRoot, name: str, manifest: Manifest | None = None, *, addresses: bool = True
) -> SampleIndex:
    """Read the sample index of a dataset.

    Without ``addresses`` it takes half of the memory, and `SampleIndex.locate` cannot be used.
    `IndexMissing` if there is none of this format, or of ``manifest`` if that is given, or if it
    is not the one that was recorded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root.samples(name)
    cure = f"nothing was changed. Run 'autods index {name}'."
    if not path.is_file():
        raise IndexMissing(f"{path}: dataset '{name}' is not indexed yet; {cure}")
    written = read_record(root, name).get("index", {}).get("sha256")
    if written not in (None, hash_file(path, "sha256")):
        raise IndexMissing(f"{path}: {CHANGED}; {cure}")
    try:
        columns = [c for c in pq.read_schema(path).names if addresses or c not in ADDRESS]
        table = pq.read_table(path, columns=columns)
        meta = parse_json(table.schema.metadata[KEY.encode()])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise IndexMissing(
            f"{path}: expected a sample index, got {error}; {cure} Delete the file first."
        ) from None
    if meta.get("version") != FORMAT:
        raise IndexMissing(f"{path}: expected format {FORMAT}, got {meta.get('version')}; {cure}")
    if manifest is not None and meta["manifest"] != manifest.fingerprint():
        raise IndexMissing(
            f"{path}: expected the index of manifest {manifest.fingerprint()[:12]}, got that of "
            f"{meta['manifest'][:12]}: the manifest has changed since; {cure}"
        )
    protocols = [c.removeprefix("split_") for c in table.column_names if c.startswith("split_")]
    classes = {task: list(names) for task, names in meta["classes"].items()}
    return SampleIndex(name, meta["manifest"], meta["default_task"], classes, protocols, table)


def verify_index(manifest: Manifest, root: DataRoot) -> list[str]:
    """Check a dataset's index against its archives; return the problems as sentences."""
    try:
        with locked(root.record(manifest.name)):
            index = load_samples(root, manifest.name, manifest)
            recorded = read_record(root, manifest.name).get("index", {})
            if problems := list(changed_copies(root, manifest.name, recorded, always=True)):
                return problems  # they would be made again when they are opened
            with opened(manifest, root, Silent()) as containers:
                members = {
                    file: {member.name: member for member in container.members()}
                    for file, container in containers.items()
                }
                accounts = _accounts(manifest, containers, index.table, recorded)
    except AutodsError as error:
        return [str(error)]
    for sample in range(len(index)):
        file, name, offset, size, crc32 = index.locate(sample)
        if members.get(file, {}).get(name) != Member(name, offset, size, crc32):
            problems.append(f"{file}/{name}: does not lie where the index says")
    return [*problems, *differences(recorded.get("members", {}), accounts)]


def _accounts(
    manifest: Manifest,
    containers: Mapping[str, Container],
    table: pa.Table,
    recorded: Mapping[str, Any] | None = None,
) -> dict[str, Account]:
    """Account for all entries, given the table of samples.

    The tables that were read are those of the ``recorded`` entry, else what was read just now.
    """
    used: dict[str, set[str]] = {}
    for batch in table.select(["container", "member"]).to_batches(BATCH):
        for file, member in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            used.setdefault(file, set()).add(member)
    if recorded is None:
        read = {file: container.was_read for file, container in containers.items()}
    else:
        known = recorded.get("members", {})
        read = {file: set(of_file.get("tables", ())) for file, of_file in known.items()}
    files = [entry.name for entry in manifest.files]
    return account(manifest.layout, files, containers, used, read)


def _build(manifest: Manifest, root: DataRoot, progress: Progress) -> dict[str, Any]:
    """Write samples.parquet; return the entry for record.json."""
    import pyarrow.parquet as pq

    with opened(manifest, root, progress) as containers:
        table = sample_table(manifest, read_samples(manifest, containers, progress), containers)
        members = _accounts(manifest, containers, table)
    target = root.samples(manifest.name)
    with atomic(target) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    classes = json.loads(table.schema.metadata[KEY.encode()])["classes"]
    return {
        "format": FORMAT,
        "autods": __version__,
        "manifest": manifest.fingerprint(),
        "sha256": hash_file(target, "sha256"),
        "samples": table.num_rows,
        "members": members,
        "containers": _containers(manifest, root, table),
        "classes": {task: len(names) for task, names in classes.items()},
        "counts": {protocol: _counts(table, protocol) for protocol in manifest.splits},
        "seeds": {protocol: rule.seed for protocol, rule in manifest.splits.items()},
    }


def _counts(table: pa.Table, protocol: str) -> dict[str, int]:
    splits = np.asarray(table[f"split_{protocol}"].to_numpy(), dtype=object)
    counts = {split: int(np.sum(splits == split)) for split in SPLITS}
    return {**counts, "unused": len(splits) - sum(counts.values())}


def _containers(manifest: Manifest, root: DataRoot, table: pa.Table) -> list[str]:
    """List the files and folders that hold the samples, relative to the dataset's folder."""
    members = (
        member
        for batch in table.select(["container", "member", "offset"]).to_batches(BATCH)
        for member in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    paths = MemberReader(root, manifest.name).paths(members)
    return sorted(p.relative_to(root.dataset(manifest.name)).as_posix() for p in paths)


def _is_current(manifest: Manifest, root: DataRoot, entry: dict[str, Any]) -> bool:
    target = root.samples(manifest.name)
    return (
        entry.get("format") == FORMAT
        and "members" in entry  # an earlier version did not account for them
        and entry.get("manifest") == manifest.fingerprint()
        and all(is_whole(root, manifest.name, path) for path in entry["containers"])
        and target.is_file()
        and entry["sha256"] == hash_file(target, "sha256")
    )


def _check_fetched(manifest: Manifest, root: DataRoot, progress: Progress) -> None:
    """Refuse archives that are not what was verified by the checksums of this manifest."""
    if missing := unverified_files(manifest, root, progress.note):
        folder = root.dataset(manifest.name) / "archives"
        raise ContainerError.at(
            str(folder),
            "the files of the manifest, fetched and verified",
            f"all but {', '.join(missing)}",
            step=f"Run 'autods fetch {manifest.name}' first (it keeps or checks what is there).",
        )
