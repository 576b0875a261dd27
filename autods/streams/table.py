"""What a stream consists of, as a table: from features, else from indexes or manifests.

Nothing has to be fetched or extracted for it; what is not known is ``None``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.errors import IndexMissing, UsageError
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import PROTOCOLS, Manifest, StreamItem, StreamSpec
from autods.streams.resolve import defined, refuse_for_synthetic, resolve
from autods.streams.tasks import Order, Part, arrange, cut, shown_name

if TYPE_CHECKING:
    from autods.streams.stream import Stream

SPLITS = ("train", "dev", "test")
NOTES = {
    "index": "counts from indexes are before protocol clean drops copies (that needs features)",
    "manifest": "counts from manifests are the expected ones; train there includes dev",
    "nothing": "samples of some are not known: run `autods fetch` and `autods index`",
}


@dataclass(frozen=True)
class Row:
    """One task as the table shows it; ``None`` is unknown.

    Attributes
    ----------
    label_set
        The dataset's labelling.
    train, dev, test
        Samples of each split.
    offset
        Global number of the first class.
    counted
        Where the counts are from: ``features``, ``index``, ``manifest`` or ``nothing``.
    """

    task: str
    dataset: str
    label_set: str | None
    classes: int | None
    train: int | None
    dev: int | None
    test: int | None
    offset: int | None
    counted: str
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
class _Known:
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

    def split_counts(self, part: Part, whole: bool) -> tuple[int | None, ...]:
        if self.counts is not None:
            return tuple(int(self.counts[split][part.classes].sum()) for split in SPLITS)
        return self.totals if whole else (None, None, None)


def tabulate(
    name_or_spec: str | StreamSpec,
    root: DataRoot,
    catalogue: Catalogue,
    encoder: str | None = None,
    *,
    protocol: str | None = None,
    order: Order = "paper",
    classes_per_task: int | None = None,
    max_tasks: int | None = None,
) -> Table:
    """Return what a stream consists of; arguments as of `autods.streams.stream.Stream.open`.

    Raises
    ------
    UnknownName, UsageError, ManifestError
        When a name, an option or a file is not one of those that exist, or classes are named
        of a dataset whose class names are not known yet.
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    spec = defined(name_or_spec, catalogue)
    encoder = encoder or (spec.encoder if spec else None)
    if spec is not None and spec.synthetic is not None:
        from autods.streams.stream import Stream

        refuse_for_synthetic(spec, encoder, protocol, classes_per_task)
        return _of_stream(Stream.open(spec, order=order, max_tasks=max_tasks))
    if spec is None:
        spec = _named(str(name_or_spec), root, encoder, catalogue)
    chosen = protocol or spec.protocol or "clean"
    known = [_known(item, root, catalogue, encoder, chosen) for item in spec.datasets]
    parts = [
        part
        for place, (item, facts) in enumerate(zip(spec.datasets, known, strict=True))
        for part in _cut(item, facts, spec.classes_per_task or classes_per_task, place)
    ]
    parts = arrange(parts, spec, order)[: max_tasks or spec.max_tasks]
    kept = {"order": "paper", "classes_per_task": None, "max_tasks": None, "encoder": encoder}
    items = [part.item for part in parts]
    exact = spec.model_copy(update={**kept, "protocol": chosen, "datasets": items})
    return Table(exact, _rows(parts, known))


def _named(name: str, root: DataRoot, encoder: str | None, catalogue: Catalogue) -> StreamSpec:
    if encoder is not None:
        return resolve(name, root, encoder, catalogue)
    if name == "all" or any(sign in name for sign in "*?["):
        raise UsageError(
            f"stream '{name}': expected --encoder for what depends on the features that are "
            "there; nothing was shown. Add it, or name streams or datasets."
        )
    return catalogue.stream(name)


def _known(
    item: StreamItem, root: DataRoot, catalogue: Catalogue, encoder: str | None, protocol: str
) -> _Known:
    """Return the best that is known of an item: by its features, its index, its manifest."""
    from autods.features.sets import list_features

    if encoder is not None and item.dataset in list_features(root, encoder):
        return _by_features(item, root, encoder, protocol)
    manifest = catalogue.dataset(item.dataset)
    if item.task is not None and item.task not in manifest.tasks:
        raise unknown(f"task of dataset '{item.dataset}'", item.task, manifest.tasks)
    try:
        return _by_index(item, manifest, root, protocol)
    except IndexMissing:
        return _by_manifest(item, manifest, protocol)


def _by_features(item: StreamItem, root: DataRoot, encoder: str, protocol: str) -> _Known:
    from autods.streams.open import open_source

    source = open_source(item, root, encoder, protocol)
    info = source.stored.info
    names = list(info.class_names[source.label_set])
    counts = {s: np.bincount(source.labels[source.rows[s]], minlength=len(names)) for s in SPLITS}
    return _Known("features", source.label_set, info.default_task, names, len(names), counts=counts)


def _by_index(item: StreamItem, manifest: Manifest, root: DataRoot, protocol: str) -> _Known:
    from autods.index.samples import load_samples

    index = load_samples(root, item.dataset, manifest, addresses=False)
    label_set = item.task or index.default_task
    names = index.classes[label_set]
    if protocol not in index.protocols:
        return _Known("nothing", label_set, index.default_task, names, len(names))
    labels, splits = index.labels(label_set), index.split_numbers(protocol)
    counts = {
        split: np.bincount(labels[(splits == k) & (labels >= 0)], minlength=len(names))
        for k, split in enumerate(SPLITS)
    }
    return _Known("index", label_set, index.default_task, names, len(names), counts=counts)


def _by_manifest(item: StreamItem, manifest: Manifest, protocol: str) -> _Known:
    label_set, expected = item.task or manifest.default_task, manifest.expected
    is_default = label_set == manifest.default_task
    names = manifest.tasks[label_set].names()
    count = len(names) if names is not None else expected.classes if is_default else None
    train, test = expected.train, expected.test
    if protocol == "paper":
        train, test = expected.published_train, expected.published_test
    counted = is_default and (train is not None or test is not None)
    return _Known(
        "manifest" if counted else "nothing",
        label_set,
        manifest.default_task,
        names,
        count,
        totals=(train, None, test) if counted else (None, None, None),
    )


def _cut(item: StreamItem, facts: _Known, classes_per_task: int | None, place: int) -> list[Part]:
    shown = shown_name(item, facts.default)
    if facts.names is None and item.classes is not None:
        raise UsageError(
            f"the class names of '{shown}' are not known before its archives are here; nothing "
            f"was shown. Run `autods fetch {item.dataset}` and `autods index {item.dataset}`."
        )
    names: Sequence[str] | int = facts.names if facts.names is not None else facts.count or 0
    return cut(item, shown, names, classes_per_task, place)


def _rows(parts: list[Part], known: list[_Known]) -> list[Row]:
    rows: list[Row] = []
    offset: int | None = 0
    for part in parts:
        facts = known[part.source]
        classes = None if facts.count is None else len(part.classes)
        train, dev, test = facts.split_counts(part, whole=classes == facts.count)
        known_from = "nothing" if train is dev is test is None else facts.level
        listed = [facts.names[c] for c in part.classes] if facts.names is not None else None
        rows.append(
            Row(part.name, part.item.dataset, facts.label_set, classes, train, dev, test, offset,
                known_from, listed)
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
