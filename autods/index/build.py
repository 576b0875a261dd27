"""From opened archives to the table of samples: read, merge, number, split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autods.containers import Container, open_container
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.errors import LayoutError
from autods.index.labels import (
    TaskLabels,
    assign_splits,
    group_numbers,
    needed_files,
    number_labels,
    strata,
)
from autods.layouts.base import RawSample
from autods.manifest.schema import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 6  # of samples.parquet; a change means that datasets are indexed again
KEY = "autods"  # of the table's metadata
STEP = 1000  # images between two reports of progress


@contextmanager
def opened(
    manifest: Manifest, root: DataRoot, progress: Progress
) -> Iterator[dict[str, Container]]:
    """Open every file that indexing reads; close all of them at the end."""
    nested, arrays = manifest.layout.nested_files(), manifest.layout.arrays()
    checksums = {entry.name: entry.checksum for entry in manifest.files}
    with ExitStack() as stack:
        containers = {}
        for file in needed_files(manifest):
            container = open_container(
                root,
                manifest.name,
                file,
                checksums[file],
                nested=nested.get(file, ()),
                arrays=arrays.get(file, ()),
                progress=progress,
            )
            containers[file] = stack.enter_context(closing(container))
        yield containers


def read_samples(
    manifest: Manifest, containers: Mapping[str, Container], progress: Progress
) -> list[RawSample]:
    """Run the layout; return every image once, sorted by ``<file>/<member>``.

    An image that a layout yields again, for example from the list of another task, is one
    sample with the labels of both; `LayoutError` if they contradict each other.
    """
    merged: dict[str, dict[str, RawSample]] = {}  # file, member: no new text for each sample
    count = 0
    progress.start(f"indexing {manifest.name}", None, "images")
    try:
        for count, sample in enumerate(manifest.layout.read(containers), start=1):
            of_file = merged.setdefault(sample.file, {})
            first = of_file.get(sample.member)
            of_file[sample.member] = sample if first is None else _merge(first, sample)
            if count % STEP == 0:
                progress.advance(STEP)
        progress.advance(count % STEP)
    finally:
        progress.finish()
    samples = [sample for of_file in merged.values() for sample in of_file.values()]
    samples.sort(key=lambda sample: f"{sample.file}/{sample.member}")
    return samples


def sample_table(
    manifest: Manifest, samples: list[RawSample], containers: Mapping[str, Container]
) -> pa.Table:
    """Build the table of a sample index, see `autods.index.samples.SampleIndex`."""
    import pyarrow as pa
    from pyarrow import compute

    tasks = {
        task: number_labels(task, spec, samples, containers)
        for task, spec in manifest.tasks.items()
    }
    members = [containers[sample.file].find(sample.member) for sample in samples]
    files = pa.array([sample.file for sample in samples], pa.string())
    names = pa.array([sample.member for sample in samples], pa.string())
    columns: dict[str, pa.Array] = {
        "sample": pa.array(np.arange(len(samples), dtype=np.int64)),
        "path": compute.binary_join_element_wise(files, names, "/"),
        "container": files,
        "member": names,
        "offset": pa.array([member.offset for member in members], pa.int64()),
        "size": pa.array([member.size for member in members], pa.int64()),
        "crc32": pa.array([member.crc32 for member in members], pa.int64()),
    }
    official = [sample.split for sample in samples]
    (numbers, owners), groups = strata(manifest.default_task, tasks), group_numbers(samples)
    for protocol, rule in sorted(manifest.splits.items()):
        splits = assign_splits(protocol, rule, official, numbers, owners, groups)
        columns[f"split_{protocol}"] = pa.array(splits, pa.string())
    for task, labels in tasks.items():
        columns[f"label_{task}"] = pa.array(labels.numbers)
    return pa.table(columns).replace_schema_metadata({KEY: _metadata(manifest, tasks)})


def _metadata(manifest: Manifest, tasks: Mapping[str, TaskLabels]) -> str:
    return json.dumps(
        {
            "version": FORMAT,
            "dataset": manifest.name,
            "manifest": manifest.fingerprint(),
            "default_task": manifest.default_task,
            "classes": {task: labels.classes for task, labels in tasks.items()},
        }
    )


def _merge(first: RawSample, second: RawSample) -> RawSample:
    pairs: Iterable[tuple[str, str | None, str | None]] = [
        *((f"task '{t}'", first.labels.get(t), key) for t, key in second.labels.items()),
        ("official split", first.split, second.split),
        ("group", first.group, second.group),
    ]
    for what, one, two in pairs:
        if one is not None and two is not None and one != two:
            where, got = f"{first.file}/{first.member}: {what}", f"'{one}' and '{two}'"
            step = (
                "What lists the images names this one twice: correct that file, or, if it is as "
                "published, 'layout' in the manifest."
            )
            raise LayoutError.at(where, "one value", got, step=step)
    return replace(
        first,
        labels={**first.labels, **second.labels},
        split=first.split if second.split is None else second.split,
        group=first.group if second.group is None else second.group,
    )
