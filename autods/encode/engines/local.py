"""Make shards: decode ahead, encode, write behind. One process, one encoder, any shards.

While the last batches of a shard are encoded the images of the next one are decoded, and
the shard before is written.
"""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch

from autods.containers.reader import Address, MemberReader
from autods.core.cores import intra_op_threads, usable_cores
from autods.core.processes import choose_workers
from autods.encode.encoders.interface import Encoder
from autods.encode.inputs import Encoded, Inputs
from autods.encode.jobs import (
    BatchReport,
    Jobs,
    Report,
    ShardJob,
    ShardReport,
    Unreadable,
    ignore,
)
from autods.encode.jpegs import check_jpegs
from autods.encode.loader import Decoded, Decoder, decoded_batches
from autods.encode.preprocessing import cut
from autods.encode.timings import Processes, Timings
from autods.errors import FeatureMismatch
from autods.features.shards import ShardData, write_shard

# Of a job's provenance: not the encoder's.
OF_RUN = ("batch_size", "decoding", "pillow", "torchvision")


@dataclass(frozen=True, eq=False)
class LocalEngine:
    """Makes shards in this process, one after another.

    ``workers`` read and decode; 0: this process; ``None``: as many as suit. On the CPU the encoder
    computes with the threads that torch is set to, at most one for each usable core: its products
    are large, so that threads wait little for each other, and decoders give way to it.
    """

    encoder: Encoder
    workers: int | None = None

    def processes(self, images: int) -> Processes:
        """Return how many processes decode, beside this one."""
        return Processes(choose_workers(images) if self.workers is None else self.workers)

    def __call__(self, jobs: Jobs, report: Report) -> Generator[ShardReport, None, None]:
        """Make all shards, in order."""
        workers = self.processes(jobs.images).decoders
        with intra_op_threads(min(torch.get_num_threads(), usable_cores())):
            yield from make_shards(jobs, self.encoder, workers, report)

    def close(self) -> None:
        """Do nothing: this engine keeps nothing."""


def make_shards(
    jobs: Iterable[ShardJob], encoder: Encoder, workers: int = 0, report: Report = ignore
) -> Generator[ShardReport, None, None]:
    """Make shards of one dataset; yield a report on each as soon as it is on disk.

    Jobs, all of one run, are asked for as far ahead as images are decoded; with 0 ``workers`` this
    process decodes. ``report`` is called on every batch, in this thread. Raises `FeatureMismatch`
    when the encoder is not the one that the job is for. After any error the shards that were
    whole are kept, and nothing is left of the others.
    """
    jobs = iter(jobs)
    if (first := next(jobs, None)) is None:
        return
    preprocessing = cut(encoder.transform)
    inputs = Inputs(encoder, preprocessing, first.batch_size)
    if first.decoding == "gpu":
        check_jpegs(preprocessing, inputs.device)
    reader = MemberReader(first.root, first.info.dataset)
    begun: deque[ShardJob] = deque()
    batches = decoded_batches(
        Decoder(reader, preprocessing, first.decoding),
        _requests(chain([first], jobs), encoder, begun),
        first.batch_size,
        workers,
        yielding=inputs.device.type == "cpu",
    )
    try:
        with ThreadPoolExecutor(1) as writer:
            yield from _in_order(batches, begun, inputs, writer, report)
    finally:
        batches.close()
        reader.close()


def _requests(
    jobs: Iterable[ShardJob], encoder: Encoder, begun: deque[ShardJob]
) -> Iterator[list[Address]]:
    """Yield the images of each batch of all shards; note which shards were begun."""
    for job in jobs:
        _check_encoder(job, encoder)
        begun.append(job)
        for positions in job.batches():
            yield job.locate(positions)


def _in_order(
    batches: Iterator[Decoded],
    begun: deque[ShardJob],
    inputs: Inputs,
    writer: ThreadPoolExecutor,
    report: Report,
) -> Iterator[ShardReport]:
    """Encode the batches as they come; hand each whole shard to the writer.

    The last features of a shard are read when the first batch of the next one is queued.
    """
    clock, stage = _Clock(), "start"
    shards: deque[_Shard] = deque()  # begun; one before the last lacks its last features only
    written: Future[ShardReport] | None = None
    for batch in batches:
        clock.lap(stage)
        stage = "wait"
        if not shards or shards[-1].is_whole:
            shards.append(_Shard(begun.popleft(), inputs))
        shard = shards[-1]
        skipped = shard.add(batch)
        for one in shards:
            one.read(inputs.late if one is shard else 0)
        clock.lap("encode")
        decoded = Timings(batch.count, batch.read, batch.decode, jpegs=shard.jpegs)
        told = decoded + clock.taken()
        shard.timings += told
        report(BatchReport(batch.count, skipped, told))
        clock.restart()
        while shards and shards[0].is_read:
            if written:
                made = written.result()
                clock.lap("stall")
                yield made
                clock.restart()
            written = writer.submit(shards.popleft().write)
        if written and written.done():
            yield written.result()
            clock.restart()
            written = None
    for shard in shards:
        clock.restart()
        shard.read()
        clock.lap("encode")
        shard.timings += clock.taken()
        if written:
            yield written.result()
        written = writer.submit(shard.write)
    if written:
        yield written.result()


class _Clock:
    """Seconds since the last look, by stage."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._taken: defaultdict[str, float] = defaultdict(float)

    def lap(self, stage: str) -> None:
        """Count the time since the last look for a stage."""
        before = self._since
        self.restart()
        self._taken[stage] += self._since - before

    def taken(self) -> Timings:
        """Return what was counted, and begin anew."""
        taken, self._taken = self._taken, defaultdict(float)
        return Timings(0, **taken)

    def restart(self) -> None:
        """Leave out the time since the last look."""
        self._since = time.perf_counter()


class _Shard:
    """One shard as its batches come in: n rows by position, of which those seen are filled."""

    def __init__(self, job: ShardJob, inputs: Inputs) -> None:
        self.timings = Timings()
        self.jpegs = 0.0  # seconds in which a GPU decoded files of the last batch
        self._job, self._inputs = job, inputs
        self._batches, self._seen = job.batches(), 0
        self._features = np.empty((len(job), inputs.encoder.dim), np.float16)
        self._hashes = np.empty(len(job), np.uint64)
        self._skipped: list[Unreadable] = []
        # features that may still be computed, and where they belong
        self._queued: deque[tuple[npt.NDArray[np.int64], Encoded]] = deque()

    @property
    def is_whole(self) -> bool:
        """Whether no batch is missing."""
        return self._seen == len(self._job)

    @property
    def is_read(self) -> bool:
        """Whether all features are there."""
        return self.is_whole and not self._queued

    def add(self, batch: Decoded) -> tuple[Unreadable, ...]:
        """Encode the next batch; return what of it is unreadable. Its features are yet to read."""
        positions = next(self._batches)  # [b]
        self._seen += len(positions)
        unreadable = list(batch.unreadable)
        self.jpegs = 0.0
        if len(batch.kept):
            features, whole, failed = self._inputs.features(batch)
            self.jpegs = features.jpegs
            unreadable += [(int(batch.kept[place]), why) for place, why in failed]
            at = positions[batch.kept]
            self._hashes[at] = batch.content_hash
            self._queued.append((at[whole], features))
        skipped = tuple(self._skip(int(positions[at]), why) for at, why in unreadable)
        self._skipped += skipped
        return skipped

    def read(self, late: int = 0) -> None:
        """Read the features of all batches but the last few, so that a device has those to do."""
        while len(self._queued) > late:
            positions, features = self._queued.popleft()
            self._features[positions] = features.result()

    def _skip(self, position: int, why: str) -> Unreadable:
        return int(self._job.rows[position]), self._job.path_of(position), why

    def write(self) -> ShardReport:
        """Write the shard, in the order of sample ids."""
        began = time.perf_counter()
        job, skipped = self._job, sorted(self._skipped)
        data = ShardData(self._features, job.labels, job.rows, self._hashes, job.splits)
        if skipped:
            data = _some(data, ~np.isin(job.rows, [sample for sample, _, _ in skipped]))
        # A name of its own: two processes may make the same shard, and give the same bytes.
        own = job.path.with_name(f"{job.path.name}.{platform.node()}-{os.getpid()}")
        write_shard(own, data, replace(job.info, unreadable=skipped))
        own.replace(job.path)
        timings = replace(self.timings, write=time.perf_counter() - began)
        return ShardReport(job.path, len(data), tuple(skipped), timings)


def _some(data: ShardData, chosen: npt.NDArray[np.bool_]) -> ShardData:
    """Return the chosen rows [n] of a shard."""
    return ShardData(
        features=data.features[chosen],
        labels={task: labels[chosen] for task, labels in data.labels.items()},
        sample=data.sample[chosen],
        content_hash=data.content_hash[chosen],
        splits={protocol: codes[chosen] for protocol, codes in data.splits.items()},
    )


def _check_encoder(job: ShardJob, encoder: Encoder) -> None:
    """Refuse an encoder that is not that of the job, for example with another version of torch."""
    expected = {k: v for k, v in job.info.encoder.items() if k not in OF_RUN}
    got = dict(encoder.provenance)
    different = [k for k in expected.keys() | got.keys() if expected.get(k) != got.get(k)]
    if different:
        key = min(different)
        raise FeatureMismatch(
            f"{job.path}: the encoder that came to make this shard is not that of the run on "
            f"{platform.node()}: expected {key} {expected.get(key)!s:.80}, got "
            f"{got.get(key)!s:.80}; the shard was not made. Install the same versions and weights "
            "everywhere."
        )
