"""The unit of work: one shard that any process can make alone, and what it reports.

`autods.encode.engines.local` makes a shard; an `Engine` decides who makes which.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from autods.containers.locations import SHIFT, Location, inner_archives
from autods.containers.reader import Address
from autods.core.root import DataRoot
from autods.encode.plan import ShardPlan
from autods.encode.timings import Processes, Timings
from autods.features.shards import ShardInfo
from autods.index.samples import ADDRESS, SampleIndex

if TYPE_CHECKING:
    import pyarrow as pa

Unreadable = tuple[int, str, str]  # sample, path, reason


@dataclass(frozen=True, eq=False)
class ShardJob:
    """Everything needed to make one shard of n > 0 samples; can be pickled.

    Labels and splits, each [n], are as in `autods.features.shards.ShardData`.
    """

    root: DataRoot  # with the archives; the process that does the job must reach it
    path: Path
    info: ShardInfo  # ``unreadable`` is still empty
    rows: npt.NDArray[np.int64]  # sample ids, int64 [n], ascending
    addresses: pa.Table  # n rows: container, member, offset, size
    labels: Mapping[str, npt.NDArray[np.int32]]
    splits: Mapping[str, npt.NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def batch_size(self) -> int:
        """Images that are encoded at once."""
        return int(self.info.encoder["batch_size"])

    @property
    def decoding(self) -> str:
        """How images are decoded, one of `autods.encode.decode.DECODINGS`."""
        return str(self.info.encoder["decoding"])

    def batches(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the positions [b] within the shard of each batch, in the order of reading."""
        order = reading_order(self.addresses)
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def locate(self, positions: npt.NDArray[np.int64]) -> list[Address]:
        """Return where samples lie: the arguments of `autods.containers.MemberReader.read`."""
        columns = (column.to_pylist() for column in self.addresses.take(positions).columns)
        return list(zip(*columns, strict=True))

    def path_of(self, position: int) -> str:
        """Return ``<file>/<member>`` of one sample."""
        container, member = (self.addresses[name][position].as_py() for name in ADDRESS[:2])
        return f"{container}/{member}"


@dataclass(frozen=True)
class BatchReport:
    """What was done since the last report: one batch, unreadable images included."""

    images: int
    skipped: tuple[Unreadable, ...]
    timings: Timings


@dataclass(frozen=True)
class ShardReport:
    """Report on one shard, once it is on disk; its unreadable images are in order of sample."""

    path: Path
    images: int
    skipped: tuple[Unreadable, ...]
    timings: Timings

    def as_batch(self) -> BatchReport:
        """Return the report on all its images at once, for engines that report whole shards."""
        return BatchReport(self.images + len(self.skipped), self.skipped, self.timings)


Report = Callable[[BatchReport], None]


def ignore(_: BatchReport) -> None:
    """Ignore a report."""


class Engine(Protocol):
    """Who makes shards: this process, processes of several devices, a cluster."""

    def processes(self, images: int) -> Processes:
        """Return how many processes work at once, over all devices, on so many images."""

    def __call__(self, jobs: Jobs, report: Report) -> Generator[ShardReport, None, None]:
        """Make all shards of a dataset; yield a report for each, in any order.

        Every image is in exactly one `BatchReport`. Closing the generator ends all work.
        """

    def close(self) -> None:
        """Release what was kept from one dataset to the next."""


@dataclass(frozen=True, eq=False)
class Jobs:
    """The shards to make of one dataset; each job is built when it is needed."""

    root: DataRoot
    samples: SampleIndex
    plans: Sequence[ShardPlan]
    provenance: Mapping[str, Any]  # of the encoder, with ``batch_size`` and ``decoding``
    samples_sha256: str  # of the index
    codes: Mapping[str, npt.NDArray[np.uint8]]  # protocol to uint8 [N], see `split_codes`

    def __len__(self) -> int:
        return len(self.plans)

    def __iter__(self) -> Iterator[ShardJob]:
        return map(self.job, self.plans)

    @property
    def images(self) -> int:
        """Images of all shards."""
        return sum(len(plan.rows) for plan in self.plans)

    def job(self, plan: ShardPlan) -> ShardJob:
        """Build one job."""
        samples, rows = self.samples, plan.rows
        info = ShardInfo(
            dataset=samples.dataset,
            split=plan.split,
            default_task=samples.default_task,
            class_names=samples.classes,
            encoder=self.provenance,
            fingerprint=samples.fingerprint,
            samples_sha256=self.samples_sha256,
            start=plan.start,
            stop=plan.stop,
            index=plan.index,
            count=plan.count,
        )
        return ShardJob(
            root=self.root,
            path=plan.path,
            info=info,
            rows=rows,
            addresses=samples.table.select(ADDRESS).take(rows),
            labels={task: samples.labels(task)[rows] for task in samples.classes},
            splits={protocol: codes[rows] for protocol, codes in self.codes.items()},
        )


def reading_order(addresses: pa.Table) -> npt.NDArray[np.int64]:
    """Return in which order n samples are read: int64 [n], positions.

    File by file and from front to back within each. Images in files of their own
    are read in the order of the table.
    """
    container = addresses["container"].combine_chunks().dictionary_encode().indices.to_numpy()
    offset = addresses["offset"].to_numpy()  # see `autods.containers.Member`
    byte = np.where(offset >= 0, offset, -2 - offset)
    inner = np.zeros(len(addresses), np.int64)
    within = np.flatnonzero((byte >> SHIFT) >= Location.INNER)
    if len(within):
        members = addresses["member"].take(within).to_pylist()
        inner[within] = np.unique([inner_archives(m)[0] for m in members], return_inverse=True)[1]
    return np.lexsort((byte, inner, container)).astype(np.int64)
