"""Batches of decoded images, read in place and decoded by worker processes.

The caller decides which images make a batch; batches come back in the order they were
asked for, whatever the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.containers import MemberReader
from autods.containers.reader import Address
from autods.core.sharing import SharedArray
from autods.core.workers import AHEAD, worker_answers
from autods.encode.decode import Unreadable, content_hash, is_plain_jpeg, load_image
from autods.encode.preprocessing import Preprocessing
from autods.errors import DamagedMember, EncoderError, WorkerLost

PRELOADED = (__name__, "autods.encode.encoders.open_clip")  # what workers need

SHOWN = 32  # images that were under way, named in a message

Request = tuple[int, list[Address]]  # number of the slot for the pixels, and the images


@dataclass(frozen=True, eq=False)
class Decoded:
    """One batch of b images, of which m could be decoded. Valid until the next one is asked for."""

    pixels: npt.NDArray[Any]  # [m, ...], as `Preprocessing.pixels` gives them
    kept: npt.NDArray[np.int64]  # int64 [m], positions in the batch, ascending
    content_hash: npt.NDArray[np.uint64]  # uint64 [m], of the image files
    unreadable: list[tuple[int, str]]  # position in the batch, and reason
    files: list[tuple[int, bytes]]  # position among the m, and JPEG file for the GPU
    read: float  # seconds of a worker
    decode: float  # seconds of a worker

    @property
    def count(self) -> int:
        """Number b of images, the unreadable ones included."""
        return len(self.kept) + len(self.unreadable)


@dataclass(frozen=True, eq=False)
class Decoder:
    """Reads and decodes the images of one dataset; small enough to be sent to workers.

    ``decoding`` is one of `autods.encode.decode.DECODINGS`; with ``gpu``, JPEG files are handed on.
    """

    reader: MemberReader
    preprocessing: Preprocessing
    decoding: str = "reference"

    def decode(
        self, addresses: list[Address], pixels: npt.NDArray[Any], at: npt.NDArray[np.int32]
    ) -> _Report:
        """Read and decode the images at ``addresses`` into the first rows of ``pixels`` [b, ...].

        ``at``, int32 [1], says which of them is under way, -1 in the end. Unreadable images are
        reported, not raised.
        """
        report = _Report()
        for position, address in enumerate(addresses):
            at[0] = position
            began = time.perf_counter()
            try:
                data = self.reader.read(*address)
            except DamagedMember:
                report.unreadable.append((position, "its data in the archive is damaged"))
                continue
            read = time.perf_counter()
            try:
                if self.decoding == "gpu" and is_plain_jpeg(data):
                    report.files.append((len(report.kept), data))
                else:
                    pixels[len(report.kept)] = self._pixels(data)
            except Unreadable as reason:
                report.unreadable.append((position, str(reason)))
            except (MemoryError, RuntimeError) as error:  # torch: "can't allocate memory"
                raise _not_judged(address, error) from None
            else:
                report.kept.append(position)
                report.hashes.append(content_hash(data))
            report.read += read - began
            report.decode += time.perf_counter() - read
        at[0] = -1
        return report

    def _pixels(self, data: bytes) -> npt.NDArray[Any]:
        height, width = self.preprocessing.size
        draft = (width, height) if self.decoding == "draft" else None
        with ExitStack() as turns:
            pixels = self.preprocessing.pixels(load_image(data, draft, turns)[0])
        if pixels.shape != self.preprocessing.shape:
            raise RuntimeError(f"expected {self.preprocessing.shape}, got {pixels.shape}")
        return pixels


@dataclass
class _Report:
    """What a worker reports about a batch apart from its pixels; small."""

    kept: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    files: list[tuple[int, bytes]] = field(default_factory=list)
    read: float = 0.0
    decode: float = 0.0

    def with_pixels(self, pixels: npt.NDArray[Any]) -> Decoded:
        kept, hashes = np.array(self.kept, np.int64), np.array(self.hashes, np.uint64)
        filled = pixels[: len(kept)]
        return Decoded(filled, kept, hashes, self.unreadable, self.files, self.read, self.decode)


def _decode(
    decoder: Decoder, slots: SharedArray, marks: SharedArray, request: Request
) -> tuple[int, _Report]:
    """Decode the batch that is asked for; it holds no list of samples, so workers start small."""
    slot, addresses = request
    return slot, decoder.decode(addresses, slots.array[slot], marks.array[slot : slot + 1])


def decoded_batches(
    decoder: Decoder,
    batches: Iterable[list[Address]],
    batch_size: int,
    workers: int,
    *,
    yielding: bool = False,
) -> Generator[Decoded, None, None]:
    """Yield every batch, decoded, in order.

    The batches are asked for as far ahead as workers have room; without workers, this process
    decodes. ``yielding`` lowers the priority of workers: an encoder on the same cores loses more
    time than they take. Raises what the reader raises, here and not in a worker, and
    `EncoderError` when a worker dies, memory runs out or cannot be had.
    """
    # One slot for each batch under way, and one for that which the caller looks at. Batches
    # come in order, so the slot of the next one asked for is always that which is free.
    count = AHEAD * workers + 1
    pre = decoder.preprocessing
    try:
        slots = SharedArray((count, batch_size, *pre.shape), pre.dtype, alone=not workers)
        marks = SharedArray((count,), np.dtype(np.int32), alone=not workers)
    except OSError as error:
        raise EncoderError(
            f"{error.strerror}; decoded images need it. Finished shards are kept. Use fewer "
            "--workers or a smaller --batch-size."
        ) from None
    marks.array[:] = -1
    asked: dict[int, list[Address]] = {}  # what each slot is for

    def requests() -> Iterator[Request]:
        for number, addresses in enumerate(batches):
            asked[number % count] = addresses
            yield number % count, addresses

    decode = partial(_decode, decoder, slots, marks)
    answers = worker_answers(decode, requests(), workers, PRELOADED, yielding)
    while answer := _next(answers, lambda: _under_way(asked, marks)):
        slot, report = answer
        yield report.with_pixels(slots.array[slot])


def _under_way(asked: Mapping[int, list[Address]], marks: SharedArray) -> list[Address]:
    """Return the images that workers were at when one of them died."""
    return [asked[slot][at] for slot, at in enumerate(marks.array) if at >= 0 and slot in asked]


def _next(
    answers: Iterator[tuple[int, _Report]], under_way: Callable[[], list[Address]]
) -> tuple[int, _Report] | None:
    try:
        return next(answers, None)
    except WorkerLost:
        images = ", ".join(f"{address[0]}/{address[1]}" for address in under_way()[:SHOWN])
        raise EncoderError(
            "a process that decodes images ended without a word, most likely for want of "
            f"memory, else because one of these crashed it: {images or 'none was under way'}; "
            "finished shards are kept. Run the same command again with fewer --workers; "
            "--workers 0 needs none. If it happens again, leave the image out in the manifest."
        ) from None


def _not_judged(address: Address, error: Exception) -> EncoderError:
    cause = str(error) or "out of memory"
    return EncoderError(
        f"{address[0]}/{address[1]}: its preprocessing failed: {cause}; the image was not judged, "
        "finished shards are kept. Run the same command again with more free memory or fewer "
        "--workers."
    )
