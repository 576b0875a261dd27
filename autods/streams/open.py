"""Put a stream together from stored features: names, cuts, order, protocol, provenance."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.version import __version__
from autods.errors import UsageError
from autods.features.class_names import load_text
from autods.features.sets import StoredFeatures, describe_features, open_features
from autods.features.shards import CODES
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import PROTOCOLS, StreamItem, StreamSpec
from autods.streams.checks import (
    check_current,
    check_filled,
    check_one_encoder,
    check_present,
    check_protocol,
)
from autods.streams.resolve import (
    defined,
    generate,
    needs_encoder,
    refuse_for_synthetic,
    resolve,
)
from autods.streams.stream import (
    SCENARIOS,
    FeatureSet,
    StoredFeatureSet,
    Stream,
    Task,
    l2_normalize,
)
from autods.streams.tasks import Order, Part, arrange, cut

if TYPE_CHECKING:
    from autods.streams.images import ImageSet

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

    part: Part
    source: Source

    @property
    def classes(self) -> Rows:
        """The dataset's own class numbers, in the order of the task."""
        return self.part.classes


def assemble(
    name_or_spec: str | StreamSpec,
    root: DataRoot | None,
    encoder: str | None,
    *,
    scenario: str | None,
    protocol: str | None,
    order: Order,
    normalize: str | None,
    catalogue: Catalogue | None,
    classes_per_task: int | None,
    max_tasks: int | None,
) -> Stream:
    """Open a stream; see `autods.streams.stream.Stream.open`."""
    for option, value in (("classes_per_task", classes_per_task), ("max_tasks", max_tasks)):
        if value is not None and value < 1:
            raise UsageError(f"{option}: expected a positive number, got {value}")
    for kind, given, known in (
        ("scenario", scenario, SCENARIOS),
        ("protocol", protocol, PROTOCOLS),
        ("normalisation", normalize, NORMALISATIONS),
    ):
        if given is not None and given not in known:
            raise unknown(kind, given, known)
    catalogue = catalogue or Catalogue()
    spec = defined(name_or_spec, catalogue)
    if spec is not None and spec.synthetic is not None:
        refuse_for_synthetic(spec, encoder, protocol, classes_per_task)
        return generate(spec, scenario, order, normalize, max_tasks)
    root = root or DataRoot.open()
    encoder = encoder or (spec.encoder if spec else None)
    if encoder is None:
        raise needs_encoder(str(spec.name if spec else name_or_spec), root)
    spec = spec or resolve(name_or_spec, root, encoder, catalogue)
    protocol = protocol or spec.protocol or "clean"
    normalize = normalize or spec.normalize or "l2"
    check_present(spec, root, encoder)
    sources = open_sources(spec, root, encoder, protocol)
    features = [source.stored for source in sources]
    check_current(features, catalogue)
    check_one_encoder(features)
    check_protocol(features, protocol)
    plans = _plans(spec, sources, order, classes_per_task)[: max_tasks or spec.max_tasks]
    tasks = _numbered(plans, root, normalize)
    check_filled(tasks)
    return Stream(
        name=spec.name,
        scenario=scenario or spec.scenario or "class-il",
        tasks=tasks,
        normalize=normalize,
        provenance=_provenance(
            spec, tasks, sources, protocol=protocol, order=order, normalize=normalize
        ),
    )


def _plans(
    spec: StreamSpec, sources: list[Source], order: Order, classes_per_task: int | None
) -> list[_Plan]:
    """Cut the datasets of a stream into tasks, in the order wanted."""
    parts = [
        part
        for place, (item, source) in enumerate(zip(spec.datasets, sources, strict=True))
        for part in cut(
            item,
            source.name,
            source.stored.info.class_names[source.label_set],
            spec.classes_per_task or classes_per_task,
            place,
        )
    ]
    return [_Plan(part, sources[part.source]) for part in arrange(parts, spec, order)]


def open_sources(spec: StreamSpec, root: DataRoot, encoder: str, protocol: str) -> list[Source]:
    """Open the features of every item; items of one dataset and label set share them."""
    opened: dict[tuple[str, str | None], Source] = {}
    for item in spec.datasets:
        key = item.dataset, item.task
        if key not in opened:
            opened[key] = open_source(item, root, encoder, protocol)
    return [opened[item.dataset, item.task] for item in spec.datasets]


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


def _numbered(plans: list[_Plan], root: DataRoot, normalize: str) -> list[Task]:
    """Give every class its global number: the one place where this is done."""
    tasks: list[Task] = []
    offset = 0
    for index, plan in enumerate(plans):
        names = plan.source.stored.info.class_names[plan.source.label_set]
        number = np.full(len(names), -1, np.int64)  # own class number -> global, -1: not here
        number[plan.classes] = offset + np.arange(len(plan.classes))
        sets = {split: _feature_set(plan.source, split, number, normalize) for split in CODES}
        task = Task(
            name=plan.part.name,
            dataset=plan.source.stored.dataset,
            index=index,
            class_names=[names[c] for c in plan.classes],
            class_offset=offset,
            text_source=partial(
                _texts,
                root,
                plan.source.stored.encoder,
                plan.source.stored.dataset,
                plan.source.label_set,
                plan.classes,
            ),
            image_source=partial(_images, root, plan, number),
            label_set=plan.source.label_set,
            item=plan.part.item,
            **sets,
        )
        tasks.append(task)
        offset += len(plan.classes)
    return tasks


def _texts(
    root: DataRoot, encoder: str, dataset: str, label_set: str, classes: Rows, templates: str
) -> npt.NDArray[np.float32]:
    """Load the embedded names of some classes of a dataset, float32 [c, d]."""
    return load_text(root, encoder, dataset, label_set, templates)[0][classes]


def _rows(source: Source, split: str, number: npt.NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Return the rows of a split that belong to a task, and their global labels."""
    rows = source.rows[split]
    labels = number[source.labels[rows]]
    return rows[labels >= 0], labels[labels >= 0]


def _images(
    root: DataRoot, plan: _Plan, number: npt.NDArray[np.int64], split: str, **options: Any
) -> ImageSet:
    """Open the images of one split of a task; see `autods.streams.stream.Task.images`."""
    from autods.streams.images import images_of_features

    source = plan.source
    names = source.stored.info.class_names[source.label_set]
    return images_of_features(
        root,
        source.stored,
        *_rows(source, split, number),
        [names[c] for c in plan.classes],
        class_offset=int(number[plan.classes[0]]),
        **options,
    )


def _feature_set(
    source: Source, split: str, number: npt.NDArray[np.int64], normalize: str
) -> FeatureSet:
    rows, labels = _rows(source, split, number)
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
    wanted = spec.order if order == "paper" else order
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
        "order_seed": wanted if isinstance(wanted, int) else None,
        "counts": dict(zip(CODES, map(sum, zip(*map(_counts, tasks), strict=True)), strict=True)),
        "duplicates_removed": removed,
        "version": __version__,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }


def _counts(task: Task) -> list[int]:
    return [len(task.train), len(task.dev), len(task.test)]
