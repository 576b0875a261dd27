"""Open a stream over stored features: tasks, classes, protocol, provenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autods.core.root import DataRoot
from autods.core.version import __version__
from autods.features.class_names import load_text
from autods.features.sets import describe_features
from autods.features.shards import CODES
from autods.manifest.catalogue import Catalogue
from autods.manifest.schema import StreamSpec
from autods.manifest.stream import SyntheticData
from autods.streams.checks import (
    check_current,
    check_filled,
    check_one_encoder,
    check_present,
    check_protocol,
)
from autods.streams.feature_set import FeatureSet, StoredFeatureSet
from autods.streams.resolve import Request, resolve
from autods.streams.source import Rows, Source, open_sources
from autods.streams.stored import FeatureTable
from autods.streams.stream import Stream, Task
from autods.streams.synthetic import generate
from autods.streams.tasks import LabelSet, Piece, plan_tasks

if TYPE_CHECKING:
    from autods.streams.images import ImageSet

ASSEMBLY = 1  # raise when the same request gives other numbers than before


def open_stream(
    stream: str | Path | Sequence[str] | StreamSpec,
    root: DataRoot | Path | str | None = None,
    encoder: str | None = None,
    *,
    scenario: str | None = None,
    protocol: str | None = None,
    order: str | int | Sequence[str] = "paper",
    normalize: str | None = None,
    catalogue: Catalogue | None = None,
    classes_per_task: int | None = None,
    max_tasks: int | None = None,
    synthetic: SyntheticData | None = None,
) -> Stream:
    """Open a stream of tasks; features are read when a task is first used.

    Parameters
    ----------
    stream
        A stream's name, YAML file or definition; or names of datasets (comma-separated, or a
        list) with a manifest or with features under the root; or ``all`` or a glob pattern
        over the latter; or ``synthetic``, which is generated.
    root
        Data root with the features; default: ``AUTODS_ROOT``, else the user's data folder.
    encoder
        Name of the encoder whose features are used, ``<model>.<pretrained>``.
    scenario
        ``class-il`` or ``task-il``. Labels are global in both; ``task-il`` also gives the
        task at test.
    protocol
        ``clean`` drops, per dataset, training and development samples that also occur in
        test, copies of a sample, and samples with two labels; ``paper`` keeps everything,
        split as published.
    order
        ``paper``: as defined; an integer: tasks permuted by that seed (PCG64); or the names
        of all tasks or datasets in the order wanted.
    normalize
        ``l2``: rows of length 1 (computed in float32, kept in float16; zero rows stay
        zero); ``none``: as stored, neighbouring rows without a copy.
    catalogue
        Manifests and streams that can be named; default: the shipped ones, and those of the
        folders that the root remembers.
    classes_per_task
        Cut every dataset into tasks of about so many classes, unless the stream's
        definition says how.
    max_tasks
        Keep only the first tasks of the order.
    synthetic
        Size and seed of a generated stream; see `autods.streams.synthetic.synthetic_stream`.

    Notes
    -----
    ``None`` for encoder, scenario, protocol, normalize or max_tasks means what the stream's
    definition says, else no encoder, ``class-il``, ``clean``, ``l2`` and all tasks.

    Raises
    ------
    UnknownName, UsageError
        When a name or an option does not exist, or would have no effect on this stream.
    ManifestError
        When a file is not the definition of a stream.
    FeaturesMissing, FeatureMismatch, StoreError
        When features are absent, of different encoders, or damaged.
    """
    request = resolve(
        stream,
        root,
        encoder,
        scenario=scenario,
        protocol=protocol,
        order=order,
        normalize=normalize,
        catalogue=catalogue,
        classes_per_task=classes_per_task,
        max_tasks=max_tasks,
        synthetic=synthetic,
    )
    return _open_stored(request) if request.spec.synthetic is None else generate(request)


def _open_stored(request: Request) -> Stream:
    """Open a stream whose features lie under a data root."""
    spec, root, encoder = request.spec, request.root, request.named_encoder()
    check_present(spec, root, encoder)
    sources = open_sources(spec, root, encoder, request.protocol)
    features = [source.stored for source in sources]
    check_current(features, request.catalogue)
    check_one_encoder(features)
    check_protocol(features, request.protocol)
    label_sets = [LabelSet(source.name, source.class_names) for source in sources]
    pieces = plan_tasks(
        spec.datasets, label_sets, request.order, request.classes_per_task, request.max_tasks
    )
    tasks = _numbered(pieces, sources, request)
    check_filled(tasks)
    provenance = _provenance(request, tasks, sources)
    return Stream(spec.name, request.scenario, tasks, request.normalize, provenance)


def _numbered(pieces: list[Piece], sources: list[Source], request: Request) -> list[Task]:
    """Give every class its global number: the one place where this is done."""
    tasks: list[Task] = []
    tables = _tables(sources, request.normalize)
    offset = 0
    for index, piece in enumerate(pieces):
        source = sources[piece.source]
        number = np.full(len(source.class_names), -1, np.int64)  # own -> global, -1: not here
        number[piece.classes] = offset + np.arange(len(piece.classes))
        class_names = [source.class_names[c] for c in piece.classes]
        tasks.append(
            Task(
                name=piece.name,
                dataset=source.stored.dataset,
                index=index,
                class_names=class_names,
                class_offset=offset,
                class_embedding_source=partial(
                    _class_embeddings,
                    request.root,
                    source.stored.encoder,
                    source.stored.dataset,
                    source.label_set,
                    piece.classes,
                ),
                image_source=partial(
                    _images, request.root, source, number, class_names, class_offset=offset
                ),
                label_set=source.label_set,
                item=piece.item,
                **{s: _feature_set(source, s, number, tables[piece.source]) for s in CODES},
            )
        )
        offset += len(piece.classes)
    return tasks


def _tables(sources: list[Source], normalize: str) -> list[FeatureTable]:
    """Return the table of each source; those of the same stored features share one."""
    made: dict[int, FeatureTable] = {}
    return [made.setdefault(id(s.stored), FeatureTable(s.stored, normalize)) for s in sources]


def _class_embeddings(
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
    root: DataRoot,
    source: Source,
    number: npt.NDArray[np.int64],
    class_names: list[str],
    split: str,
    **options: Any,
) -> ImageSet:
    """Open the images of one split of a task; see `autods.streams.stream.Task.images`."""
    from autods.streams.images import images_of_features

    rows, labels = _rows(source, split, number)
    return images_of_features(root, source.stored, rows, labels, class_names, **options)


def _feature_set(
    source: Source, split: str, number: npt.NDArray[np.int64], table: FeatureTable
) -> FeatureSet:
    rows, labels = _rows(source, split, number)
    return StoredFeatureSet(partial(table.load, rows), labels, source.stored.dim, (table, rows))


def _provenance(request: Request, tasks: list[Task], sources: list[Source]) -> dict[str, Any]:
    """Describe where the numbers come from; ``fingerprint`` changes when they do."""
    records = {source.stored.dataset: describe_features(source.stored) for source in sources}
    used = {task.dataset for task in tasks}
    determines = {
        "assembly": ASSEMBLY,
        "protocol": request.protocol,
        "normalize": request.normalize,
        "tasks": [[task.name, task.class_names, *_counts(task)] for task in tasks],
        "features": {name: record for name, record in records.items() if name in used},
    }
    text = json.dumps(determines, sort_keys=True)
    removed = {source.name: source.removed for source in sources if any(source.removed.values())}
    return {
        "stream": request.spec.name,
        "encoder": dict(sources[0].stored.info.encoder),
        "encoder_name": sources[0].stored.encoder,
        "features": {name: record["fingerprint"] for name, record in records.items()},
        "protocol": request.protocol,
        "normalize": request.normalize,
        "order": [task.name for task in tasks],
        "order_seed": request.order if isinstance(request.order, int) else None,
        "counts": dict(zip(CODES, map(sum, zip(*map(_counts, tasks), strict=True)), strict=True)),
        "duplicates_removed": removed,
        "version": __version__,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }


def _counts(task: Task) -> list[int]:
    return [len(task.train), len(task.dev), len(task.test)]
