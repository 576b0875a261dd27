"""Audit of an indexed dataset: duplicates within and across splits, imbalance, unreadable images.

Duplicates are sought among the samples of the index, not elsewhere in the archives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.checks.audit_scan import Scan, Scanner
from autods.core.files import hash_file, locked, read_json, write_json
from autods.core.progress import Progress
from autods.core.refusals import refusal
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.core.version import __version__
from autods.index.samples import SampleIndex, load_samples
from autods.manifest.schema import Manifest

FORMAT = 1  # of audit.json; a change means that datasets are audited again
EXAMPLES = 5
LISTED = 1000  # unreadable images named in audit.json
ACROSS = (("train", "test"), ("dev", "test"), ("dev", "train"))

Rows = npt.NDArray[np.int64]


def audit_dataset(
    root: DataRoot,
    name: str,
    manifest: Manifest | None,
    scanner: Scanner,
    progress: Progress,
    *,
    again: bool = False,
) -> dict[str, Any]:
    """Return the content of ``audit.json``: that of the same index, or of a new audit.

    Findings without decoding are no substitute for those with it; with ``again``, none are.
    With a ``manifest`` the index must be of it, else `IndexMissing`. `ContainerError` if an
    archive is missing or cut off.
    """
    with locked(root.audit(name)):
        index = load_samples(root, name, manifest, addresses=False)
        source = hash_file(root.samples(name), "sha256")
        found = read_audit(root, name)
        same = found is not None and found["index_sha256"] == source
        if found is not None and same and not again and (found["decoded"] or not scanner.decode):
            progress.note(f"{name}: keeping the audit of this index")
            return found
        scan = scanner.scan(root, name, progress)
        findings = {
            "format": FORMAT,
            "autods": __version__,
            "dataset": name,
            "index_sha256": source,
            "decoded": scanner.decode,
            **_findings(index, scan, scanner.decode),
        }
        try:
            write_json(root.audit(name), findings)
        except OSError as error:  # a root that can only be read: what was found is still told
            why = refusal(error).why
            progress.note(f"{name}: the audit is not kept: {why} ({root.audit(name)})")
    return findings


def read_audit(root: DataRoot, name: str) -> dict[str, Any] | None:
    """Return the findings of an earlier audit, or ``None``."""
    try:
        findings = read_json(root.audit(name))
    except (OSError, ValueError):
        return None
    if not isinstance(findings, dict) or findings.get("format") != FORMAT:
        return None
    return findings


def _findings(index: SampleIndex, scan: Scan, decoded: bool) -> dict[str, Any]:
    labels = index.labels()
    names = index.classes[index.default_task]
    column = index.table["path"]

    def path(row: int) -> str:  # never converts the whole column to Python objects
        return str(column[int(row)].as_py())

    protocols = {}
    for protocol in index.protocols:
        codes = index.split_numbers(protocol)
        protocols[protocol] = {
            "images": {split: int((codes == i).sum()) for i, split in enumerate(SPLITS)},
            "duplicates": _duplicates(codes, labels, scan, names, path),
            "classes": _balance(codes, labels, names),
        }
    reasons = Counter(reason for _, reason in scan.unreadable)
    return {
        "images": len(index),
        "task": index.default_task,
        "classes": len(names),
        "protocols": protocols,
        "unreadable": {
            "images": len(scan.unreadable) if decoded else None,
            "reasons": dict(reasons.most_common(EXAMPLES)),
            "paths": [[path(row), reason] for row, reason in scan.unreadable[:LISTED]],
        },
        "modes": dict(scan.modes.most_common()),
        "smallest": scan.smallest,
        "largest": scan.largest,
    }


@dataclass(frozen=True, eq=False)
class _Copies:
    """The m images whose content occurs more than once, sorted by content, then by row."""

    rows: Rows  # of the index, int64 [m]
    group: Rows  # number of the content, int64 [m], ascending
    codes: npt.NDArray[np.int8]  # splits, [m]

    def groups_in(self, code: int) -> Rows:
        """Return the contents that occur in a split, int64, ascending."""
        groups: Rows = np.unique(self.group[self.codes == code])
        return groups

    def rows_of(self, group: int, code: int | None = None) -> Rows:
        """Return the rows with one content, of one split if given."""
        chosen = self.group == group
        rows: Rows = self.rows[chosen if code is None else chosen & (self.codes == code)]
        return rows


def _find_copies(codes: npt.NDArray[np.int8], scan: Scan) -> _Copies:
    used = np.flatnonzero((codes >= 0) & scan.stored)
    rows = used[np.argsort(scan.hashes[used], kind="stable")]
    hashes = scan.hashes[rows]
    begins = np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(rows)]
    group = np.cumsum(begins) - 1
    repeated = np.bincount(group)[group] > 1 if len(rows) else np.zeros(0, np.bool_)
    rows, group = rows[repeated], group[repeated]
    return _Copies(rows, group, codes[rows])


def _duplicates(
    codes: npt.NDArray[np.int8],
    labels: npt.NDArray[np.int32],
    scan: Scan,
    names: Sequence[str],
    path: Callable[[int], str],
) -> dict[str, Any]:
    """Count images of equal content within splits, across splits and under other classes."""
    copies = _find_copies(codes, scan)
    groups = np.unique(copies.group)
    within, across, examples = {}, {}, {}
    for code, split in enumerate(SPLITS):
        here = copies.group[copies.codes == code]
        twice, counts = np.unique(here, return_counts=True)
        within[split] = int(len(here) - len(twice))
        examples[f"within {split}"] = [
            [path(row) for row in copies.rows_of(group, code)[:2]]
            for group in _first(twice[counts > 1], copies)
        ]
    for one, other in ACROSS:
        a, b = SPLITS.index(one), SPLITS.index(other)
        shared = np.intersect1d(copies.groups_in(a), copies.groups_in(b))
        across[f"{one} in {other}"] = int(np.isin(copies.group[copies.codes == a], shared).sum())
        examples[f"{one} in {other}"] = [
            [path(copies.rows_of(group, code)[0]) for code in (a, b)]
            for group in _first(shared, copies)
        ]
    contradicting, count = _conflicts(copies, labels)
    examples["conflicts"] = [
        [f"{path(row)} ({names[label]})" for row, label in _two_classes(rows, labels)]
        for rows in (copies.rows_of(group) for group in _first(contradicting, copies))
    ]
    return {
        "contents": len(groups),
        "copies": len(copies.rows) - len(groups),
        "within": within,
        "across": across,
        "conflicts": {"contents": len(contradicting), "images": count},
        "examples": {finding: found for finding, found in examples.items() if found},
    }


def _conflicts(copies: _Copies, labels: npt.NDArray[np.int32]) -> tuple[Rows, int]:
    """Return the contents that occur in several classes, and the number of their images."""
    labelled = labels[copies.rows] >= 0
    group, given = copies.group[labelled], labels[copies.rows[labelled]]
    first = np.searchsorted(group, group)  # of each image: where its content begins
    contradicting = np.unique(group[given != given[first]])
    return contradicting, int(np.isin(group, contradicting).sum())


def _two_classes(rows: Rows, labels: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return the first row of each of two classes, with the class."""
    first: dict[int, int] = {}
    for row in rows.tolist():
        if labels[row] >= 0:
            first.setdefault(int(labels[row]), row)
    return [(row, label) for label, row in first.items()][:2]


def _first(groups: Rows, copies: _Copies) -> list[int]:
    """Return the contents in the order of their first images in the index."""
    begins = copies.rows[np.searchsorted(copies.group, groups)]
    first: list[int] = groups[np.argsort(begins)][:EXAMPLES].tolist()
    return first


def _balance(
    codes: npt.NDArray[np.int8], labels: npt.NDArray[np.int32], names: Sequence[str]
) -> dict[str, Any]:
    """Return the smallest, median and largest class of each split that has images."""
    balance = {}
    for code, split in enumerate(SPLITS):
        chosen = labels[(codes == code) & (labels >= 0)]
        if not len(chosen):
            continue
        counts = np.bincount(chosen, minlength=len(names))  # [C]
        occurring = np.flatnonzero(counts)
        small, large = int(occurring[np.argmin(counts[occurring])]), int(np.argmax(counts))
        missing = np.flatnonzero(counts == 0).tolist()
        balance[split] = {
            "smallest": {"class": names[small], "images": int(counts[small])},
            "median": float(np.median(counts[occurring])),
            "largest": {"class": names[large], "images": int(counts[large])},
            "missing": [names[i] for i in missing],
        }
    return balance
