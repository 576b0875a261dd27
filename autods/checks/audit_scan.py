"""Read each image of an index once: hash, mode, size, small picture; what cannot be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.checks.small_pictures import LEVELS, Levels, small_picture
from autods.containers.reader import Address, MemberReader
from autods.core.progress import Progress
from autods.core.root import DataRoot
from autods.core.workers import Workers
from autods.encode.decode import Unreadable, content_hash, load_image
from autods.errors import AutodsError, DamagedMember, WorkerLost

CHUNK = 256  # images of one job

Job = tuple[DataRoot, str, list[Address], bool, bool]  # arguments of `scan_chunk`


@dataclass(eq=False)
class Scan:
    """The results of reading n images, or a chunk of them."""

    hashes: npt.NDArray[np.uint64]  # [n], `content_hash`; 0 where `stored` is False
    stored: npt.NDArray[np.bool_]  # [n], whether the bytes could be read out of the archive
    small: Levels  # [n, 288], `small_picture`, zeros of what cannot be decoded; [n, 0]: not made
    unreadable: list[tuple[int, str]] = field(default_factory=list)  # position and reason
    modes: Counter[str] = field(default_factory=Counter)  # PIL mode, as stored
    # Width and height in pixels over all decoded images, each on its own.
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None

    @classmethod
    def of(cls, count: int, small: bool = False) -> Scan:
        """Return the scan of ``count`` images of which nothing was read yet."""
        levels = np.zeros((count, LEVELS if small else 0), np.uint8)
        return cls(np.zeros(count, np.uint64), np.zeros(count, np.bool_), levels)

    def see(self, mode: str, size: tuple[int, int]) -> None:
        """Enter one decoded image."""
        self.modes[mode] += 1
        self._widen(size, size)

    def add(self, start: int, part: Scan) -> None:
        """Enter the scan of the images from position ``start`` on."""
        stop = start + len(part.hashes)
        self.hashes[start:stop], self.stored[start:stop] = part.hashes, part.stored
        self.small[start:stop] = part.small
        self.unreadable += [(start + position, reason) for position, reason in part.unreadable]
        self.modes += part.modes
        if part.smallest is not None and part.largest is not None:
            self._widen(part.smallest, part.largest)

    def _widen(self, low: tuple[int, int], high: tuple[int, int]) -> None:
        first, last = self.smallest or low, self.largest or high
        self.smallest = (min(first[0], low[0]), min(first[1], low[1]))
        self.largest = (max(last[0], high[0]), max(last[1], high[1]))


class Scanner:
    """Scans datasets with the same worker processes; to be used in a ``with`` statement.

    Without ``decode``, images are hashed only; with ``small``, the small pictures of decoded ones
    are kept. One worker is this process; more import the calling program again, so a script must
    start them below ``if __name__ == "__main__"``.
    """

    def __init__(self, workers: int, decode: bool, small: bool = False) -> None:
        self.workers = workers
        self.decode = decode
        self._small: dict[str, Levels] | None = {} if decode and small else None
        self._pool: Workers[Job, Scan] = Workers(_scanned, workers, [__name__])

    def __enter__(self) -> Scanner:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def small_pictures(self, root: DataRoot, dataset: str, progress: Progress) -> Levels | None:
        """Return the small pictures of all samples [n, 288]; ``None`` if they are not made.

        A dataset that was not scanned before is scanned. Errors as of `scan`.
        """
        if self._small is None:
            return None
        if dataset not in self._small:
            self.scan(root, dataset, progress, "reading the pixels of")
        return self._small[dataset]

    def scan(
        self, root: DataRoot, dataset: str, progress: Progress, title: str = "auditing"
    ) -> Scan:
        """Read all images of an indexed dataset.

        A damaged member is a finding; `ContainerError` if an archive is missing or cut off,
        `AutodsError` if a worker process dies.
        """
        count, addresses = _addresses(root, dataset)
        scan, start = Scan.of(count, self._small is not None), 0
        progress.start(f"{title} {dataset}", count, "images")
        try:
            for part in self._parts(root, dataset, addresses, count):
                scan.add(start, part)
                start += len(part.hashes)
                progress.advance(len(part.hashes))
        except WorkerLost:
            raise AutodsError(
                f"{dataset}: a process that decodes images ended without a word, most likely for "
                "want of memory; nothing was written. Run the same command again with fewer "
                "--workers."
            ) from None
        finally:
            progress.finish()
        if self._small is not None:
            self._small[dataset] = scan.small
        return scan

    def _parts(
        self, root: DataRoot, dataset: str, addresses: Iterator[list[Address]], count: int
    ) -> Iterator[Scan]:
        """Yield the scans of all chunks, in order."""
        options = (self.decode, self._small is not None)
        if self.workers == 1 or count <= CHUNK:
            yield from (scan_chunk(root, dataset, chunk, *options) for chunk in addresses)
            return
        yield from self._pool.answers((root, dataset, chunk, *options) for chunk in addresses)


def _scanned(job: Job) -> Scan:
    return scan_chunk(*job)


def scan_chunk(
    root: DataRoot, dataset: str, addresses: list[Address], decode: bool, small: bool = False
) -> Scan:
    """Read, hash and decode some images, in this process."""
    reader, scan = MemberReader(root, dataset), Scan.of(len(addresses), small)
    try:
        for position, address in enumerate(addresses):
            try:
                data = reader.read(*address)
            except DamagedMember:
                damaged = "its data in the archive is damaged"
                scan.unreadable.append((position, damaged))
                continue
            scan.hashes[position], scan.stored[position] = content_hash(data), True
            if decode:
                try:
                    image, mode = load_image(data)
                except Unreadable as reason:
                    scan.unreadable.append((position, str(reason)))
                else:
                    scan.see(mode, image.size)
                    if small:
                        scan.small[position] = small_picture(image)
    finally:
        reader.close()
    return scan


def _addresses(root: DataRoot, dataset: str) -> tuple[int, Iterator[list[Address]]]:
    """Return the number of samples, and their addresses in chunks, in the order of the index."""
    import pyarrow.parquet as pq

    from autods.index.samples import ADDRESS

    file: Any = pq.ParquetFile(root.samples(dataset))
    batches = file.iter_batches(batch_size=CHUNK, columns=list(ADDRESS))
    chunks = (list(zip(*(c.to_pylist() for c in batch.columns), strict=True)) for batch in batches)
    return file.metadata.num_rows, chunks
