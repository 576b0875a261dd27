"""Put a stream together from stored features: names, cuts, order, protocol, provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from autods import __version__
from autods.catalogue import Catalogue
from autods.errors import FeaturesMissing, UsageError
from autods.feature_sets import (
    StoredFeatures,
    describe_features,
    list_encoders,
    list_features,
    open_features,
)
from autods.manifest import PROTOCOLS, StreamItem, StreamSpec
from autods.names import unknown
from autods.orders import Order, ordered
from autods.root import DataRoot
from autods.store import CODES
from autods.stream_checks import (
    check_current,
    check_filled,
    check_one_encoder,
    check_present,
    check_protocol,
)
from autods.streams import SCENARIOS, FeatureSet, StoredFeatureSet, Stream, Task, l2_normalize

NORMALISATIONS = ("l2", "none")
ASSEMBLY = 1  # raise when the same request gives other numbers than before

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Source:
    """One dataset under one labelling: rows of each split after the protocol's removals.

    Attributes
    ----------
    label_set
        Name of the labelling.
    labels
        int32 [N], in the dataset's own numbering, -1 for none.
    rows
        Split to int64 [n], ascending rows of ``stored``.
    removed
        Reason to the number of rows that the protocol leaves out.
    """

    stored: StoredFeatures
    label_set: str
    labels: npt.NDArray[np.int32]
    rows: dict[str, Rows]
    removed: dict[str, int]

    @property
    def name(self) -> str:
        """Name of the dataset, and of the labelling where it is not the default one."""
        default = self.label_set == self.stored.info.default_task
        return self.stored.dataset if default else f"{self.stored.dataset}/{self.label_set}"


@dataclass(frozen=True, eq=False)
class _Plan:
    """One task before it has a place in the order: some classes of a source."""

    name: str
    source: Source
    classes: npt.NDArray[np.int64]  # the dataset's own class numbers


def assemble(
    name_or_spec: str | StreamSpec,
    root: DataRoot,
    encoder: str,
    *,
    scenario: str,
    protocol: str,
    order: Order,
    normalize: str,
    catalogue: Catalogue | None,
    classes_per_task: int | None,
    max_tasks: int | None,
) -> Stream:
    """Open a stream; see `autods.streams.Stream.open`."""
    _check_option("scenario", scenario, SCENARIOS)
    _check_option("protocol", protocol, PROTOCOLS)
    _check_option("normalisation", normalize, NORMALISATIONS)
    for option, value in (("classes_per_task", classes_per_task), ("max_tasks", max_tasks)):
        if value is not None and value < 1:
            raise UsageError(f"{option}: expected a positive number, got {value}")
    spec = resolve(name_or_spec, root, encoder, catalogue)
    check_present(spec, root, encoder)
    sources = [open_source(item, root, encoder, protocol) for item in spec.datasets]
    features = [source.stored for source in sources]
    check_current(features, catalogue or Catalogue())
    check_one_encoder(features)
    check_protocol(features, protocol)
    plans = [
        plan
        for item, source in zip(spec.datasets, sources, strict=True)
        for plan in _cut(source, item.classes_per_task or classes_per_task)
    ]
    plans = _ordered(plans, order)[:max_tasks]
    tasks = _numbered(plans, normalize)
    check_filled(tasks)
    return Stream(
        name=spec.name,
        scenario=scenario,
        tasks=tasks,
        normalize=normalize,
        provenance=_provenance(
            spec, tasks, sources, protocol=protocol, order=order, normalize=normalize
        ),
    )


def resolve(
    name_or_spec: str | StreamSpec, root: DataRoot, encoder: str, catalogue: Catalogue | None = None
) -> StreamSpec:
    """Turn what a user names into a stream definition; see `autods.streams.Stream.open`."""
    if isinstance(name_or_spec, StreamSpec):
        return name_or_spec
    name, catalogue = name_or_spec, catalogue or Catalogue()
    stored = list_features(root, encoder)
    encoders = list_encoders(root)
    if not stored and encoders and name not in {*catalogue.streams(), *catalogue.datasets()}:
        raise unknown("encoder with features under the root", encoder, encoders)
    if name == "all" or any(sign in name for sign in "*?["):
        parts = [known for known in stored if fnmatch(known, "*" if name == "all" else name)]
        if not parts:
            raise FeaturesMissing(
                f"no features by encoder '{encoder}' under {root.path} match '{name}'; expected "
                "at least one dataset. Run `autods extract` or `autods import-features` first, "
                "or correct --root or the name of the encoder."
            )
    elif name in catalogue.streams() or name.endswith((".yaml", ".yml")):
        return catalogue.stream(name)
    else:
        parts = [part.strip() for part in name.split(",")]
        known_names = {*catalogue.datasets(), *stored}
        if len(parts) == 1 and parts[0] not in known_names:
            raise unknown("stream", name, {*known_names, *catalogue.streams()})
        for part in parts:
            if part not in known_names:
                raise unknown("dataset", part, known_names)
    return StreamSpec(
        name=name,
        title=f"Datasets {', '.join(parts)}",
        datasets=[StreamItem(dataset=part) for part in parts],
    )


def _check_option(kind: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise unknown(kind, value, known)


def open_source(item: StreamItem, root: DataRoot, encoder: str, protocol: str) -> Source:
    """Open the features of one dataset, and choose the rows that a protocol uses."""
    stored = open_features(root, encoder, item.dataset)
    label_set = item.task or stored.info.default_task
    if label_set not in stored.info.class_names:
        raise unknown(f"task of dataset '{item.dataset}'", label_set, stored.info.class_names)
    labels = stored.labels(label_set)
    member = stored.membership(protocol)
    rows = {s: np.flatnonzero((member == code) & (labels >= 0)) for s, code in CODES.items()}
    removed: dict[str, int] = {}
    if protocol == "clean":
        removed = _remove_duplicates(rows, labels, stored.content_hash)
    return Source(stored, label_set, labels, rows, removed)


def _remove_duplicates(
    rows: dict[str, Rows],
    labels: npt.NDArray[np.int32],
    content_hash: npt.NDArray[np.uint64],
) -> dict[str, int]:
    """Take duplicates out of train and dev, in place; return how many, by reason.

    Test stays as published. A sample of train or dev goes when its content is in test; when
    the same content stands under different labels in train and dev (all copies go: none is
    known to be right); and when it is a further copy (the first stays, train before dev).
    """
    learning = np.concatenate([rows["train"], rows["dev"]])  # [n]
    hashes = content_hash[learning]
    in_test = np.isin(hashes, content_hash[rows["test"]])
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    contradicts = labels[learning] != labels[learning[first[group]]]
    contradictory = np.isin(group, group[contradicts]) & ~in_test
    repeated = (first[group] != np.arange(len(learning))) & ~in_test & ~contradictory
    keep = ~(in_test | contradictory | repeated)
    n_train = len(rows["train"])
    rows["train"] = rows["train"][keep[:n_train]]
    rows["dev"] = rows["dev"][keep[n_train:]]
    return {
        "in_test": int(in_test.sum()),
        "contradictory": int(contradictory.sum()),
        "repeated": int(repeated.sum()),
    }


def _cut(source: Source, classes_per_task: int | None) -> list[_Plan]:
    """Cut a dataset into tasks of nearly equal numbers of classes."""
    count = len(source.stored.info.class_names[source.label_set])
    pieces = max(1, round(count / classes_per_task)) if classes_per_task else 1
    if pieces == 1:
        return [_Plan(source.name, source, np.arange(count))]
    return [
        _Plan(f"{source.name}[{part[0]}:{part[-1] + 1}]", source, part)
        for part in np.array_split(np.arange(count), pieces)
    ]


def _ordered(plans: list[_Plan], order: Order) -> list[_Plan]:
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"task '{twice}' stands twice in the stream; name every dataset once.")
    datasets = [plan.source.name for plan in plans]
    return [plans[i] for i in ordered(names, datasets, order)]


def _numbered(plans: list[_Plan], normalize: str) -> list[Task]:
    """Give every class its global number: the one place where this is done."""
    tasks: list[Task] = []
    offset = 0
    for index, plan in enumerate(plans):
        names = plan.source.stored.info.class_names[plan.source.label_set]
        number = np.full(len(names), -1, np.int64)  # own class number -> global, -1: not here
        number[plan.classes] = offset + np.arange(len(plan.classes))
        sets = {split: _feature_set(plan.source, split, number, normalize) for split in CODES}
        task = Task(
            name=plan.name,
            dataset=plan.source.stored.dataset,
            index=index,
            class_names=[names[c] for c in plan.classes],
            class_offset=offset,
            **sets,
        )
        tasks.append(task)
        offset += len(plan.classes)
    return tasks


def _feature_set(
    source: Source, split: str, number: npt.NDArray[np.int64], normalize: str
) -> FeatureSet:
    rows = source.rows[split]
    labels = number[source.labels[rows]]
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    load = partial(_load, source.stored, rows, normalize)
    return StoredFeatureSet(load, labels, source.stored.dim)


def _load(stored: StoredFeatures, rows: Rows, normalize: str) -> npt.NDArray[np.float16]:
    features = stored.take(rows)
    return l2_normalize(features) if normalize == "l2" else features


def _provenance(
    spec: StreamSpec,
    tasks: list[Task],
    sources: list[Source],
    *,
    protocol: str,
    order: Order,
    normalize: str,
) -> dict[str, Any]:
    """Describe where the numbers come from; ``fingerprint`` changes when they do."""
    records = {source.stored.dataset: describe_features(source.stored) for source in sources}
    used = {task.dataset for task in tasks}
    determines = {
        "assembly": ASSEMBLY,
        "protocol": protocol,
        "normalize": normalize,
        "tasks": [[task.name, task.class_names, *_counts(task)] for task in tasks],
        "features": {name: record for name, record in records.items() if name in used},
    }
    text = json.dumps(determines, sort_keys=True)
    removed = {source.name: source.removed for source in sources if any(source.removed.values())}
    return {
        "stream": spec.name,
        "encoder": dict(sources[0].stored.info.encoder),
        "encoder_name": sources[0].stored.encoder,
        "features": {name: record["fingerprint"] for name, record in records.items()},
        "protocol": protocol,
        "normalize": normalize,
        "order": [task.name for task in tasks],
        "order_seed": order if isinstance(order, int) else None,
        "counts": dict(zip(CODES, map(sum, zip(*map(_counts, tasks), strict=True)), strict=True)),
        "duplicates_removed": removed,
        "version": __version__,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }


def _counts(task: Task) -> list[int]:
    return [len(task.train), len(task.dev), len(task.test)]
