"""What is exported: the rows of one dataset under a protocol, in blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autods.errors import UsageError
from autods.features.shards import CODES

if TYPE_CHECKING:
    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.streams.source import Source

FORMAT = 1  # raise when the same request gives other files than before
BLOCK = 8192  # rows held in memory at once


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows: features [b, d], labels int64 [b], sample ids int64 [b]."""

    features: npt.NDArray[np.floating[Any]]
    labels: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ExportSource:
    """The rows of one dataset, and what is said of them."""

    source: Source
    kind: str
    protocol: str
    dtype: str

    @property
    def task(self) -> str:
        """The label set."""
        return self.source.label_set

    @property
    def label(self) -> str:
        """Name of the exported folder or file."""
        name = self.source.stored.dataset
        if self.task == self.source.stored.info.default_task:
            return name
        return f"{name}-{re.sub(r'[^a-z0-9_]+', '-', self.task.lower())}"

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return self.source.stored.dim

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; the position is the label."""
        return list(self.source.stored.info.class_names[self.task])

    @property
    def counts(self) -> dict[str, int]:
        """Split to number of rows."""
        return {split: len(rows) for split, rows in self.source.rows.items()}

    @property
    def splits(self) -> list[str]:
        """The splits that have rows, train first."""
        return [split for split in CODES if self.counts[split]]

    @cached_property
    def description(self) -> dict[str, Any]:
        """What determines the export, as plain JSON; it is stored with it."""
        from autods.features.sets import describe_features

        info = self.source.stored.info
        found = {
            "export": FORMAT,
            "kind": self.kind,
            "dataset": self.source.stored.dataset,
            "task": self.task,
            "protocol": self.protocol,
            "dtype": self.dtype,
            "normalisation": "none",
            "encoder_name": self.source.stored.encoder,
            "encoder": info.encoder,
            "features": describe_features(self.source.stored),
            "class_names": self.class_names,
            "counts": self.counts,
            "duplicates_removed": self.source.removed,
        }
        plain: dict[str, Any] = json.loads(json.dumps(found))
        return plain

    def labels(self, split: str) -> npt.NDArray[np.int64]:
        """Return the labels of a split, int64 [n]."""
        return self.source.labels[self.source.rows[split]].astype(np.int64)

    def sample(self, split: str) -> npt.NDArray[np.int64]:
        """Return the sample ids of a split, int64 [n]."""
        return self._sample[self.source.rows[split]]

    def blocks(self, split: str) -> Iterator[Block]:
        """Yield the rows of a split, `BLOCK` at a time."""
        rows = self.source.rows[split]
        for start in range(0, len(rows), BLOCK):
            chosen = rows[start : start + BLOCK]
            yield Block(
                self.source.stored.take(chosen).astype(self.dtype),
                self.source.labels[chosen].astype(np.int64),
                self._sample[chosen],
            )

    @cached_property
    def _sample(self) -> npt.NDArray[np.int64]:
        return np.concatenate([shard.sample for shard in self.source.stored.shards])


def open_export(
    name: str,
    root: DataRoot,
    encoder: str,
    *,
    kind: str,
    task: str | None,
    protocol: str,
    dtype: str,
    catalogue: Catalogue | None,
) -> ExportSource:
    """Open what is to be exported; see `autods.interop.export.export_features`."""
    from autods.core.registry import unknown_encoder
    from autods.features.sets import list_encoders
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import StreamItem
    from autods.streams.checks import check_current, check_protocol
    from autods.streams.source import open_source

    if (encoders := list_encoders(root)) and encoder not in encoders:
        raise unknown_encoder(encoder, encoders, f"under {root.path}")
    source = open_source(StreamItem(dataset=name, task=task), root, encoder, protocol)
    check_current([source.stored], catalogue or Catalogue(root=root))
    check_protocol([source.stored], protocol)
    for split in ("train", "test"):
        if not len(source.rows[split]):
            raise UsageError(
                f"'{source.name}' has no sample in its {split} split; nothing was exported. "
                "Correct the splits in its manifest; images of another label set than the "
                "default one are extracted with --all-tasks."
            )
    return ExportSource(source, kind, protocol, dtype)
