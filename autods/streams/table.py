"""What a stream consists of, as a table: from features, else from indexes or manifests.

Nothing has to be fetched or extracted for it; unknown values are ``None``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.errors import IndexMissing, UsageError
from autods.features.sets import list_features
from autods.index.samples import load_samples
from autods.manifest.schema import Manifest, StreamItem, StreamSpec
from autods.streams.resolve import Request, not_here
from autods.streams.source import open_source
from autods.streams.stream import Stream
from autods.streams.synthetic import generate
from autods.streams.tasks import LabelSet, Piece, plan_tasks, shown_name

NOTES = {
    "index": "counts from indexes are before protocol clean drops copies (that needs features)",
    "manifest": "counts from manifests are the expected ones; train there includes dev",
    "nothing": "samples of some are not known: run `autods fetch` and `autods index`",
}


@dataclass(frozen=True)
class Row:
    """One task as the table shows it; ``None`` is unknown."""

    task: str
    dataset: str
    label_set: str | None
    classes: int | None
    train: int | None
    dev: int | None
    test: int | None
    offset: int | None  # global number of the first class
    counted: str  # ``features``, ``index``, ``manifest`` or ``nothing``
    class_names: list[str] | None


@dataclass(frozen=True)
class Table:
    """A stream's rows, and the definition that gives exactly these tasks."""

    spec: StreamSpec
    rows: list[Row]

    def notes(self) -> list[str]:
        """Return what a reader should know of where the counts are from."""
        told = [text for level, text in NOTES.items() if level in {r.counted for r in self.rows}]
        without = dict.fromkeys(row.dataset for row in self.rows if row.counted != "features")
        if self.spec.encoder is not None and without:
            told.insert(0, f"no features by '{self.spec.encoder}' of {', '.join(without)}")
        return told


@dataclass(frozen=True)
class _Facts:
    """What is known of one label set of a dataset.

    ``counts`` has the samples of each class by split, int64 [C]; ``totals`` those of all.
    """

    level: str
    label_set: str | None
    default: str | None
    names: list[str] | None = None
    count: int | None = None
    counts: dict[str, npt.NDArray[np.int64]] | None = None
    totals: tuple[int | None, int | None, int | None] = (None, None, None)

    def split_counts(self, piece: Piece, whole: bool) -> tuple[int | None, ...]:
        if self.counts is not None:
            return tuple(int(self.counts[split][piece.classes].sum()) for split in SPLITS)
        return self.totals if whole else (None, None, None)


def tabulate(request: Request) -> Table:
    """Return what a stream consists of; without an encoder, no features are looked at.

    Raises `UsageError` when classes are named of a dataset whose class names are not known yet.
    """
    spec = request.spec
    if spec.synthetic is not None:
        return _of_stream(generate(request))
    facts = [_facts(item, request) for item in spec.datasets]
    label_sets = [_label_set(*pair) for pair in zip(spec.datasets, facts, strict=True)]
    pieces = plan_tasks(
        spec.datasets, label_sets, request.order, request.classes_per_task, request.max_tasks
    )
    exact = {
        "order": "paper",
        "classes_per_task": None,
        "max_tasks": None,
        "encoder": request.encoder,
        "protocol": request.protocol,
        "datasets": [piece.item for piece in pieces],
    }
    return Table(spec.model_copy(update=exact), _rows(pieces, facts))


def _facts(item: StreamItem, request: Request) -> _Facts:
    """Return the best that is known of an item: by its features, its index, its manifest."""
    root, encoder, protocol = request.root, request.encoder, request.protocol
    if encoder is not None and item.dataset in list_features(root, encoder):
        return _by_features(item, root, encoder, protocol)
    if item.dataset not in request.catalogue.datasets():
        raise not_here(item.dataset, root, encoder, request.catalogue)
    manifest = request.catalogue.dataset(item.dataset)
    if item.task is not None and item.task not in manifest.tasks:
        raise unknown(f"task of dataset '{item.dataset}'", item.task, manifest.tasks)
    try:
        return _by_index(item, manifest, root, protocol)
    except IndexMissing:
        return _by_manifest(item, manifest, protocol)


def _by_features(item: StreamItem, root: DataRoot, encoder: str, protocol: str) -> _Facts:
    source = open_source(item, root, encoder, protocol)
    names, default = list(source.class_names), source.stored.info.default_task
    counts = {s: np.bincount(source.labels[source.rows[s]], minlength=len(names)) for s in SPLITS}
    return _Facts("features", source.label_set, default, names, len(names), counts=counts)


def _by_index(item: StreamItem, manifest: Manifest, root: DataRoot, protocol: str) -> _Facts:
    index = load_samples(root, item.dataset, manifest, addresses=False)
    label_set = item.task or index.default_task
    names = index.classes[label_set]
    if protocol not in index.protocols:
        return _Facts("nothing", label_set, index.default_task, names, len(names))
    labels, splits = index.labels(label_set), index.split_numbers(protocol)
    counts = {
        split: np.bincount(labels[(splits == k) & (labels >= 0)], minlength=len(names))
        for k, split in enumerate(SPLITS)
    }
    return _Facts("index", label_set, index.default_task, names, len(names), counts=counts)


def _by_manifest(item: StreamItem, manifest: Manifest, protocol: str) -> _Facts:
    label_set, expected = item.task or manifest.default_task, manifest.expected
    is_default = label_set == manifest.default_task
    names = manifest.tasks[label_set].names()
    count = len(names) if names is not None else expected.classes if is_default else None
    train, test = expected.train, expected.test
    if protocol == "paper":
        train, test = expected.published_train, expected.published_test
    counted = is_default and (train is not None or test is not None)
    return _Facts(
        "manifest" if counted else "nothing",
        label_set,
        manifest.default_task,
        names,
        count,
        totals=(train, None, test) if counted else (None, None, None),
    )


def _label_set(item: StreamItem, facts: _Facts) -> LabelSet:
    shown = shown_name(item, facts.default)
    if facts.names is None and item.classes is not None:
        raise UsageError(
            f"the class names of '{shown}' are not known before its archives are here; nothing "
            f"was shown. Run `autods fetch {item.dataset}` and `autods index {item.dataset}`."
        )
    return LabelSet(shown, facts.names if facts.names is not None else facts.count or 0)


def _rows(pieces: list[Piece], facts: list[_Facts]) -> list[Row]:
    rows: list[Row] = []
    offset: int | None = 0
    for piece in pieces:
        known = facts[piece.source]
        classes = None if known.count is None else len(piece.classes)
        train, dev, test = known.split_counts(piece, whole=classes == known.count)
        counted = "nothing" if train is dev is test is None else known.level
        names = [known.names[c] for c in piece.classes] if known.names is not None else None
        rows.append(
            Row(piece.name, piece.item.dataset, known.label_set, classes, train, dev, test,
                offset, counted, names)
        )  # fmt: skip
        offset = None if offset is None or classes is None else offset + classes
    return rows


def _of_stream(stream: Stream) -> Table:
    rows = [
        Row(task.name, task.dataset, task.label_set or None, len(task.class_names),
            len(task.train), len(task.dev), len(task.test), task.class_offset, "features",
            task.class_names)
        for task in stream.tasks
    ]  # fmt: skip
    return Table(stream.spec(), rows)


def as_json(table: Table) -> dict[str, Any]:
    """Return a table for programs: name, tasks with class names, and what is to be known."""
    return {
        "stream": table.spec.name,
        "protocol": table.spec.protocol,
        "tasks": [asdict(row) for row in table.rows],
        "notes": table.notes(),
    }
