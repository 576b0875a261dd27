"""Hugging Face ``datasets``: the splits of a task of a stream as a ``DatasetDict``.

Whole datasets are written to disk by ``autods export NAME --to hf``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from autods.core.registry import unknown
from autods.core.splits import SPLITS
from autods.interop.arrays import feature_set
from autods.interop.export_formats import column_types, fixed_rows, quiet_datasets
from autods.streams.stream import Stream, Task

NUMBERINGS = ("stream", "task")


def dataset_dict(
    stream: Stream,
    task: int,
    *,
    numbering: str = "stream",
    images: bool = False,
    cache_dir: str | None = None,
) -> Any:
    """Return one task of a stream as a `datasets.DatasetDict` without its empty splits.

    Columns: ``features``, float16 of fixed length d as the stream gives them; ``label``, a
    ``ClassLabel``; ``task``, the task's position in the stream; and ``image`` if asked for.
    Rows are in the stream's order. Features and labels are held in memory; ``images`` needs an
    index and copies published image files into an Arrow file in ``cache_dir``.

    ``numbering`` is ``stream`` (global labels; if two classes of the stream have the same name,
    names are written ``task/class``) or ``task`` (labels from 0 on, with the task's class names).
    """
    from datasets import DatasetDict

    if numbering not in NUMBERINGS:
        raise unknown("numbering", numbering, NUMBERINGS)
    chosen = stream.tasks[task]
    names = chosen.class_names if numbering == "task" else label_names(stream)
    start = chosen.class_offset if numbering == "task" else 0
    made = {s: _dataset(chosen, s, names, start) for s in SPLITS if len(feature_set(chosen, s))}
    if images:
        made = {s: _with_images(part, chosen, s, cache_dir) for s, part in made.items()}
    return DatasetDict(made)


def label_names(stream: Stream) -> list[str]:
    """Return the names of all classes, by label: their own, or ``task/class`` if two are alike."""
    own = [name for task in stream.tasks for name in task.class_names]
    if len(set(own)) == len(own):
        return own
    return [f"{task.name}/{name}" for task in stream.tasks for name in task.class_names]


def _dataset(task: Task, split: str, names: list[str], start: int) -> Any:
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Features, NamedSplit, Value

    data = feature_set(task, split)
    columns = column_types(str(data.features.dtype), data.dim, names)
    types = Features({**columns, "task": Value("int64")})
    schema = types.arrow_schema
    table = pa.Table.from_arrays(
        [
            fixed_rows(np.ascontiguousarray(data.features), schema.field("features").type),
            pa.array(data.labels - start),
            pa.array(np.full(len(data), task.index)),
        ],
        schema=schema,
    )
    info = DatasetInfo(features=types, description=f"task '{task.name}', {split}")
    return Dataset(table, info=info, split=NamedSplit(split))


def _with_images(data: Any, task: Task, split: str, cache_dir: str | None) -> Any:
    from datasets import Dataset, Features, Image, concatenate_datasets

    files = task.images(split)
    with quiet_datasets():
        images = Dataset.from_generator(
            _files,
            features=Features({"image": Image()}),
            cache_dir=cache_dir,
            gen_kwargs={"files": files},
            split=data.split,
        )
    return concatenate_datasets([data, images], axis=1)


def _files(files: Any) -> Iterator[dict[str, Any]]:
    """Yield each image file as ``datasets`` keeps it; it decodes when a row is read."""
    for i in range(len(files)):
        yield {"image": {"bytes": files.read(i), "path": files.path(i)}}
