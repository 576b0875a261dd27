"""Extraction: the images of one dataset through one encoder, into feature shards.

The unit of work is a shard. Finished shards are kept, so a command that was killed is simply
run again; the result depends on index, encoder and sizes alone. This module plans, watches
and seals a run; an `Engine` makes the shards.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import PIL
import torchvision

from autods.core.cores import usable_cores
from autods.core.files import held, write_json
from autods.core.progress import Progress, Silent
from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.version import __version__
from autods.encode.decode import DECODINGS
from autods.encode.encoders.interface import Encoder
from autods.encode.engines.local import LocalEngine
from autods.encode.jobs import BatchReport, Engine, Jobs, Unreadable
from autods.encode.plan import ShardPlan, check_kept, digest_samples, plan_shards, split_codes
from autods.encode.timings import Processes, Timings
from autods.errors import TooManyUnreadable, UsageError
from autods.features.content import open_shards
from autods.features.sets import seal_features
from autods.features.shards import Shard
from autods.index.samples import load_samples
from autods.index.sources import check_sources
from autods.manifest.schema import Manifest

ONE_IN = 200  # images may be unreadable, and one of fewer; with more the dataset is damaged
SHARD_SIZE = 16_384  # samples: 16 MiB of 512 float16 features
BATCH_SIZE = 64
SMALLEST = 8  # images of a batch that is not asked to be smaller


@dataclass(frozen=True)
class ExtractOutcome:
    """What an extraction did."""

    dataset: str
    encoder: str
    images: int  # in the finished feature set, those of earlier runs included
    unreadable: tuple[Unreadable, ...]
    written: int  # shards made by this run
    kept: int  # shards that were finished before
    seconds: float  # wall time of this run
    timings: Timings
    processes: Processes

    @property
    def bottleneck(self) -> str:
        """Which stage held up the others, in one sentence; empty if nothing was read."""
        if not self.timings.images:
            return ""
        return self.timings.bottleneck(self.processes, usable_cores())

    def record(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        described = {**asdict(self), "seconds": round(self.seconds, 3)}
        timings = self.timings.record(self.processes)
        return {**described, "stages": timings, "bottleneck": self.bottleneck}


def extract_dataset(
    manifest: Manifest,
    root: DataRoot,
    encoder: Encoder,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    shard_size: int = SHARD_SIZE,
    all_tasks: bool = False,
    decoding: str = "reference",
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> ExtractOutcome:
    """Extract the features of an indexed dataset; what is finished is kept.

    Parameters
    ----------
    batch_size
        Images encoded at once, at most; no more than the next power of two if no shard has
        as many, for batches never cross shards, and short ones are filled up. It can change
        the last bit of a feature, so it is recorded, and a run that goes on keeps the
        recorded one.
    workers
        Processes that read and decode; 0: this process. They import the calling program
        again, so a script that asks for some must start below ``if __name__ == "__main__"``.
    shard_size
        Samples of one shard.
    all_tasks
        Also extract images that only tasks other than the default one have.
    decoding
        ``reference``; or ``draft`` (JPEG at reduced scale) or ``gpu`` (JPEG by nvJPEG), which
        give other features and are recorded.
    engine
        What makes the shards; default: this process, with ``encoder`` and ``workers``. With
        another one, ``encoder`` only describes the features.

    Raises
    ------
    IndexMissing
        When the dataset was not indexed.
    TooManyUnreadable
        As soon as more than 0.5 % of its images, and more than one, are known to be
        unreadable. Finished shards stay, the feature set is not sealed.
    FeatureMismatch
        When features of another encoder, manifest, index, decoding or shard size exist.
    ContainerError
        When an archive or a converted copy is not what was fetched and indexed.
    Busy
        When another process extracts the same.
    """
    began = time.monotonic()
    progress = progress or Silent()
    _check_request(batch_size, shard_size, workers, decoding)
    engine = engine or LocalEngine(encoder, workers)
    folder = root.features(encoder.name, manifest.name)
    with held(folder, f"{manifest.name} by {encoder.name}", progress.note):
        samples = load_samples(root, manifest.name, manifest)
        plans = plan_shards(samples, root, encoder.name, shard_size, all_tasks)
        there = [plan.path for plan in plans if plan.path.exists()]
        found = dict(zip(there, open_shards(there), strict=True))
        todo = [plan for plan in plans if plan.path not in found]
        size = _batch_size(plans, found, batch_size)
        if todo and found and size != (asked := _batch_size(plans, {}, batch_size)):
            progress.note(
                f"{manifest.name}: batches of {size} images, as in the shards that are there, "
                f"not of {asked}"
            )
        provenance = {**encoder.provenance, **of_run(size, decoding)}
        if todo:
            check_sources(root, manifest.name, progress.note)
        digest = digest_samples(samples)
        check_kept(folder, plans, found, provenance, samples.fingerprint, digest)
        _drop_unfinished(folder)
        codes = split_codes(samples)
        # The column that takes most of the memory is not needed any more.
        samples = replace(samples, table=samples.table.drop_columns(["path"]))
        jobs = Jobs(root, samples, todo, provenance, digest, codes)
        tally = _Tally(jobs, encoder.name, engine.processes(jobs.images), found, progress)
        if todo:
            tally.watch(engine)
            _drop_unfinished(folder)  # of workers that were lost on the way
        stored = seal_features(root, encoder.name, manifest.name)
    outcome = ExtractOutcome(
        dataset=manifest.name,
        encoder=encoder.name,
        images=sum(map(len, stored.shards)),
        unreadable=tuple(_unreadable(stored.shards)),
        written=len(todo),
        kept=len(found),
        seconds=time.monotonic() - began,
        timings=tally.timings,
        processes=tally.processes,
    )
    _tell(outcome, progress)
    return outcome


def write_record(root: DataRoot, outcomes: Sequence[ExtractOutcome]) -> None:
    """Write what a run over several datasets did, and where its time went.

    A run that made nothing also ends well under a root that can only be read.
    """
    datasets = {outcome.dataset: outcome.record() for outcome in outcomes}
    try:
        write_json(root.extract_record(), {"autods": __version__, "datasets": datasets})
    except OSError:
        if any(outcome.written for outcome in outcomes):
            raise


class _Tally:
    """Watches one run: shows what was done, sums the time of stages, counts unreadable images."""

    def __init__(
        self,
        jobs: Jobs,
        encoder: str,
        processes: Processes,
        found: Mapping[Path, Shard],
        progress: Progress,
    ) -> None:
        self.jobs, self.encoder, self.processes = jobs, encoder, processes
        self.progress = progress
        self.timings = Timings()  # of finished shards
        self._shown = Timings()  # of everything told so far
        self._kept = len(found)
        self._unreadable = list(_unreadable(found.values()))
        self._total = jobs.images + sum(s.info.stop - s.info.start for s in found.values())

    def watch(self, engine: Engine) -> None:
        """Let the engine make all shards."""
        dataset = self.jobs.samples.dataset
        if self._kept:
            count = self._kept + len(self.jobs)
            self.progress.note(f"{dataset}: {self._kept} of {count} shards are there")
        title = f"{dataset}: features by {self.encoder}"
        self.progress.start(title, self.jobs.images, "images")
        try:
            with closing(engine(self.jobs, self.batch)) as made:
                for report in made:
                    self.timings += report.timings
        finally:
            self.progress.finish()

    def batch(self, report: BatchReport) -> None:
        """Add the report on one batch."""
        self._unreadable += report.skipped
        _check_unreadable(self.jobs.samples.dataset, self._unreadable, self._total)
        self._shown += report.timings
        self.progress.detail(self._shown.line(self.processes))
        self.progress.advance(report.images)


def _check_request(batch_size: int, shard_size: int, workers: int, decoding: str) -> None:
    if batch_size < 1 or shard_size < 1 or workers < 0:
        raise UsageError(
            "expected a batch size and a shard size from 1 on and workers from 0 on, got "
            f"{batch_size}, {shard_size} and {workers}; nothing was done."
        )
    if decoding not in DECODINGS:
        raise unknown("decoding", decoding, DECODINGS)


def _drop_unfinished(folder: Path) -> None:
    """Remove what killed processes left of shards; the lock on the folder is ours."""
    with suppress(OSError):  # a root that can only be read
        for path in folder.glob("*.h5.*"):
            path.unlink(missing_ok=True)


def _batch_size(plans: Sequence[ShardPlan], found: Mapping[Path, Shard], asked: int) -> int:
    """Return the batch size of the shards that are there, for all must be made alike, or a fit one.

    A few images need no large batch that is filled up with zeros. It depends on the plan
    alone, so that engines and resumed runs agree. `SMALLEST` keeps away from sizes for which
    other kernels are chosen: ViT-B-32 on a CPU gives the bits of batches of 64 in those of 4
    to 32 too, whatever the number of threads, and others in those of 1 and 2.
    """
    recorded = {shard.info.encoder.get("batch_size") for shard in found.values()}
    if len(recorded) == 1 and (size := recorded.pop()) is not None:
        return int(size)
    largest = max((len(plan.rows) for plan in plans), default=1)
    return min(asked, max(SMALLEST, 1 << (largest - 1).bit_length()))


def of_run(batch_size: int, decoding: str) -> dict[str, Any]:
    """Return what a run adds to the encoder's provenance: how images become batches of numbers."""
    return {
        "batch_size": batch_size,
        "decoding": decoding,
        "pillow": PIL.__version__,  # its decoders and its resizing round in their own ways
        "torchvision": str(torchvision.__version__),
    }


def _unreadable(shards: Iterable[Shard]) -> Iterator[Unreadable]:
    for shard in shards:
        yield from ((int(row), str(path), str(why)) for row, path, why in shard.info.unreadable)


def _check_unreadable(dataset: str, unreadable: Sequence[Unreadable], total: int) -> None:
    most = max(1, total // ONE_IN)
    if len(unreadable) <= most:
        return
    first = "; ".join(f"{path} ({why})" for _, path, why in unreadable[:5])
    raise TooManyUnreadable(
        f"dataset '{dataset}': expected at most {most:,} of {total:,} images to be unreadable "
        f"({1 / ONE_IN:.1%}, or one), got {len(unreadable):,} when the run stopped: {first}. "
        "Finished shards are kept, the feature set is not complete and no stream will use it. If "
        f"`autods verify {dataset}` finds the archives damaged, fetch them again. If the published "
        "images are broken, leave them out for good: list what stands behind the name of the file "
        "under `exclude:` in the layout of the manifest (where a layout has no such key, take them "
        "out of the source and make the manifest anew), move begun features away, and run the same "
        "command again."
    )


def _tell(outcome: ExtractOutcome, progress: Progress) -> None:
    """Say where the time went, and what came of it."""
    name, read = outcome.dataset, outcome.timings.images
    if rates := outcome.timings.rates(outcome.processes):
        alone = ", ".join(f"{stage} {rate:,.0f}" for stage, rate in rates.items())
        progress.note(f"{name}: each stage alone: {alone} images/s; {outcome.bottleneck}")
    skipped = f", {len(outcome.unreadable):,} unreadable" if outcome.unreadable else ""
    what = f"{name}: {outcome.images:,} images by {outcome.encoder}{skipped}"
    if read:
        progress.note(f"{what}; {read / outcome.seconds:,.1f} images/s, {outcome.seconds:.1f} s")
    else:
        progress.note(f"{what}; the features were there already")
