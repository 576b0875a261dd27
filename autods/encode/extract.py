"""Extraction: the images of one dataset through one encoder, into feature shards.

The unit of work is a shard. Shards that are there are kept, so the command that was
killed is simply run again; what a run yields depends on index, encoder and sizes alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autods.containers import MemberReader
from autods.encode.encoders import Encoder
from autods.encode.loader import Decoded, Place, decoded_batches
from autods.encode.plan import ShardPlan, check_kept, digest_samples, plan_shards, split_codes
from autods.errors import EncoderError, TooManyUnreadable, UsageError
from autods.feature_sets import seal_features
from autods.files import locked
from autods.manifest import Manifest
from autods.progress import Progress, Silent
from autods.root import DataRoot
from autods.samples import SampleIndex, load_samples
from autods.store import Shard, ShardData, ShardInfo, read_shard, write_shard

ONE_IN = 200  # images may be unreadable; with more the dataset is not what it should be
SHARD_SIZE = 16_384  # samples: 16 MiB of 512 float16 features
BATCH_SIZE = 64

Unreadable = tuple[int, str, str]  # sample, path, reason


@dataclass(frozen=True)
class ExtractOutcome:
    """What an extraction did.

    Attributes
    ----------
    images
        Images in the finished feature set, those of earlier runs included.
    unreadable
        Sample, path and reason of every image that was skipped.
    written, kept
        Shards made by this run, and shards found finished.
    seconds
        Wall time of this run.
    """

    dataset: str
    encoder: str
    images: int
    unreadable: tuple[Unreadable, ...]
    written: int
    kept: int
    seconds: float


def extract_dataset(
    manifest: Manifest,
    root: DataRoot,
    encoder: Encoder,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    shard_size: int = SHARD_SIZE,
    all_tasks: bool = False,
    progress: Progress | None = None,
) -> ExtractOutcome:
    """Extract the features of an indexed dataset; what is finished is kept.

    Parameters
    ----------
    batch_size
        Images encoded at once. Batches never cross shards. It can change the last bit of
        a feature, so it is recorded, and a run that goes on keeps the recorded one.
    workers
        Processes that read and decode; 0: this process. They import the calling program
        again, so a script that asks for some must start below ``if __name__ == "__main__"``.
    shard_size
        Samples of one shard.
    all_tasks
        Also extract images that only tasks other than the default one have.

    Raises
    ------
    IndexMissing
        When the dataset was not indexed.
    TooManyUnreadable
        As soon as more than 0.5 % of its images are known to be unreadable. Finished
        shards stay, the feature set is not sealed.
    FeatureMismatch
        When features of another encoder, manifest, index or shard size are there.
    Busy
        When another process extracts the same.
    """
    began = time.monotonic()
    progress = progress or Silent()
    if batch_size < 1 or shard_size < 1 or workers < 0:
        raise UsageError(
            "expected a batch size and a shard size from 1 on and workers from 0 on, got "
            f"{batch_size}, {shard_size} and {workers}; nothing was done."
        )
    with locked(root.features(encoder.name, manifest.name)):
        samples = load_samples(root, manifest.name, manifest)
        plans = plan_shards(samples, root, encoder.name, shard_size, all_tasks)
        found = {plan.path: read_shard(plan.path) for plan in plans if plan.path.exists()}
        run = _Run(root, samples, encoder, _kept_batch_size(found, batch_size, progress), workers)
        folder = root.features(encoder.name, manifest.name)
        check_kept(folder, plans, found, run.provenance, samples.fingerprint, run.samples_sha256)
        todo = [plan for plan in plans if plan.path not in found]
        run.extract(todo, found, progress)
        stored = seal_features(root, encoder.name, manifest.name)
    outcome = ExtractOutcome(
        dataset=manifest.name,
        encoder=encoder.name,
        images=sum(map(len, stored.shards)),
        unreadable=tuple(_unreadable(stored.shards)),
        written=len(todo),
        kept=len(found),
        seconds=time.monotonic() - began,
    )
    progress.note(_summary(outcome, sum(len(plan.rows) for plan in todo)))
    return outcome


@dataclass(frozen=True, eq=False)
class _Run:
    """What all shards of one extraction have in common."""

    root: DataRoot
    samples: SampleIndex
    encoder: Encoder
    batch_size: int
    workers: int

    @cached_property
    def samples_sha256(self) -> str:
        return digest_samples(self.samples)

    @cached_property
    def codes(self) -> dict[str, npt.NDArray[np.uint8]]:
        return split_codes(self.samples)

    @property
    def provenance(self) -> dict[str, Any]:
        return {**self.encoder.provenance, "batch_size": self.batch_size}

    def extract(
        self, todo: Sequence[ShardPlan], found: dict[Path, Shard], progress: Progress
    ) -> None:
        """Make the shards that are not there, one after another."""
        if not todo:
            return
        dataset = self.samples.dataset
        if found:
            progress.note(f"{dataset}: {len(found)} of {len(found) + len(todo)} shards are there")
        unreadable = list(_unreadable(found.values()))
        total = sum(len(plan.rows) for plan in todo) + sum(
            shard.info.stop - shard.info.start for shard in found.values()
        )
        jobs = (self.places(rows) for plan in todo for rows in self.batches(plan))
        reader = MemberReader(self.root, dataset)
        decoded = decoded_batches(reader, self.encoder.transform, jobs, self.workers)
        title = f"{dataset}: features by {self.encoder.name}"
        progress.start(title, sum(len(plan.rows) for plan in todo), "images")
        try:
            for plan in todo:
                self.make_shard(plan, decoded, unreadable, total, progress)
        finally:
            decoded.close()
            reader.close()
            progress.finish()

    def batches(self, plan: ShardPlan) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the rows of each batch of a shard."""
        for start in range(0, len(plan.rows), self.batch_size):
            yield plan.rows[start : start + self.batch_size]

    def places(self, rows: npt.NDArray[np.int64]) -> list[Place]:
        return [self.samples.locate(int(row)) for row in rows]

    def skip(self, row: int, why: str) -> Unreadable:
        return row, self.samples.table["path"][row].as_py(), why

    def make_shard(
        self,
        plan: ShardPlan,
        decoded: Iterator[Decoded],
        unreadable: list[Unreadable],
        total: int,
        progress: Progress,
    ) -> None:
        """Encode the batches of one shard and write it; adds to ``unreadable``."""
        features, kept, hashes = [], [], []
        skipped: list[Unreadable] = []
        # The plan comes first: zip must not take the next shard's batch and drop it.
        for rows, batch in zip(self.batches(plan), decoded, strict=False):
            skipped += [self.skip(int(rows[at]), why) for at, why in batch.unreadable]
            _check_unreadable(self.samples.dataset, unreadable + skipped, total)
            if len(batch.kept):
                features.append(self.encode(batch))
                kept.append(rows[batch.kept])
                hashes.append(batch.content_hash)
            progress.advance(len(rows))
        rows = np.concatenate([np.empty(0, np.int64), *kept])  # may be empty
        data = ShardData(
            features=np.concatenate([np.empty((0, self.encoder.dim), np.float16), *features]),
            labels={task: self.samples.labels(task)[rows] for task in self.samples.classes},
            sample=rows,
            content_hash=np.concatenate([np.empty(0, np.uint64), *hashes]),
            splits={protocol: codes[rows] for protocol, codes in self.codes.items()},
        )
        write_shard(plan.path, data, self.info(plan, skipped))
        unreadable += skipped

    def encode(self, batch: Decoded) -> npt.NDArray[np.float16]:
        """Return the features [m, d] as they are stored."""
        features = self.encoder.encode(torch.from_numpy(batch.pixels))  # [m, d]
        with np.errstate(over="ignore"):
            stored = features.astype(np.float16)
        if not np.isfinite(stored).all():
            raise EncoderError(
                f"encoder {self.encoder.name} gave features that are not finite in float16 "
                f"(largest value {np.abs(features).max():.3g}); finished shards are kept, this one "
                "was not written. Check the weights, or use --precision fp32."
            )
        return stored

    def info(self, plan: ShardPlan, skipped: list[Unreadable]) -> ShardInfo:
        return ShardInfo(
            dataset=self.samples.dataset,
            split=plan.split,
            default_task=self.samples.default_task,
            class_names=self.samples.classes,
            encoder=self.provenance,
            fingerprint=self.samples.fingerprint,
            samples_sha256=self.samples_sha256,
            start=plan.start,
            stop=plan.stop,
            index=plan.index,
            count=plan.count,
            unreadable=skipped,
        )


def _kept_batch_size(found: Mapping[Path, Shard], asked: int, progress: Progress) -> int:
    """Return the batch size of the shards that are there: all must be made alike."""
    recorded = {shard.info.encoder.get("batch_size") for shard in found.values()}
    if len(recorded) != 1 or (size := recorded.pop()) in (asked, None):
        return asked
    progress.note(f"batches of {size} images, as in the shards that are there, not of {asked}")
    return int(size)


def _unreadable(shards: Iterable[Shard]) -> Iterator[Unreadable]:
    for shard in shards:
        yield from ((int(row), str(path), str(why)) for row, path, why in shard.info.unreadable)


def _check_unreadable(dataset: str, unreadable: Sequence[Unreadable], total: int) -> None:
    if len(unreadable) * ONE_IN <= total:
        return
    first = "; ".join(f"{path} ({why})" for _, path, why in unreadable[:5])
    raise TooManyUnreadable(
        f"dataset '{dataset}': expected at most {1 / ONE_IN:.1%} of {total:,} images to be "
        f"unreadable, got {len(unreadable):,} when the run stopped: {first}. Finished shards are "
        "kept, the feature set is not complete and no stream will use it. If `autods verify "
        f"{dataset}` finds the archives damaged, fetch them again. If the published images are "
        "broken, take them out of the source, make its manifest anew, and fetch again."
    )


def _summary(outcome: ExtractOutcome, read: int) -> str:
    skipped = f", {len(outcome.unreadable):,} unreadable" if outcome.unreadable else ""
    what = f"{outcome.dataset}: {outcome.images:,} images by {outcome.encoder}{skipped}"
    if not read:
        return f"{what}; the features were there already"
    return f"{what}; {read / outcome.seconds:,.1f} images/s, {outcome.seconds:.1f} s"
