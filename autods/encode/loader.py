"""Batches of decoded images, read in place and decoded by worker processes.

Which images make a batch is decided by the caller; a batch comes back in the order it
was asked for, whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from autods.containers import MemberReader
from autods.encode.images import Unreadable, content_hash, decode
from autods.errors import AutodsError, DamagedMember, EncoderError

Place = tuple[str, str, int, int]  # container, member, offset, size: columns of the sample index


@dataclass(frozen=True, eq=False)
class Decoded:
    """One batch of b images, of which m could be decoded.

    Attributes
    ----------
    pixels
        float32 [m, 3, h, w], preprocessed.
    kept
        int64 [m], positions in the batch, ascending.
    content_hash
        uint64 [m], of the image files.
    unreadable
        Position in the batch and reason, for the other b - m images.
    """

    pixels: npt.NDArray[np.float32]
    kept: npt.NDArray[np.int64]
    content_hash: npt.NDArray[np.uint64]
    unreadable: list[tuple[int, str]]


class _Batches(Dataset[Decoded | AutodsError]):
    """Decodes the batch it is asked for. Holds no list of samples: workers start light."""

    def __init__(self, reader: MemberReader, transform: Callable[[Image.Image], object]) -> None:
        self.reader = reader
        self.transform = transform

    def __getitem__(self, places: list[Place]) -> Decoded | AutodsError:
        try:
            return decode_batch(self.reader, self.transform, places)
        except AutodsError as error:
            return error  # raised in a worker it would reach the user as a traceback


def decode_batch(
    reader: MemberReader, transform: Callable[[Image.Image], object], places: list[Place]
) -> Decoded:
    """Read and decode the images at ``places``; unreadable ones are told apart, not raised."""
    pixels, kept, hashes, unreadable = [], [], [], []
    for position, place in enumerate(places):
        try:
            data = reader.read(*place)
            pixels.append(decode(data, transform))
        except DamagedMember:
            unreadable.append((position, "its compressed data in the archive is damaged"))
        except Unreadable as reason:
            unreadable.append((position, str(reason)))
        except (MemoryError, RuntimeError) as error:  # torch: "can't allocate memory"
            cause = str(error) or "out of memory"
            raise EncoderError(
                f"{place[0]}/{place[1]}: its preprocessing failed: {cause}; the "
                "image was not judged, finished shards are kept. Run the same command again with "
                "more free memory or fewer --workers."
            ) from None
        else:
            kept.append(position)
            hashes.append(content_hash(data))
    return Decoded(
        np.stack(pixels) if pixels else np.empty((0, 3, 0, 0), np.float32),
        np.array(kept, np.int64),
        np.array(hashes, np.uint64),
        unreadable,
    )


def decoded_batches(
    reader: MemberReader,
    transform: Callable[[Image.Image], object],
    batches: Iterable[list[Place]],
    workers: int,
) -> Generator[Decoded, None, None]:
    """Yield every batch, decoded, in order.

    Parameters
    ----------
    workers
        Number of worker processes; 0 decodes in this process.

    Raises
    ------
    AutodsError
        As the reader raises it, here and not in a worker.
    EncoderError
        When a worker process dies.
    """
    loader: DataLoader[Any] = DataLoader(
        _Batches(reader, transform),
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        collate_fn=_as_is,
        multiprocessing_context=_context() if workers else None,
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # or it would draw from the caller's
    )
    iterator = iter(loader)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if "worker" not in f"{error}":
                raise
            raise EncoderError(
                "a process that decodes images ended without a word, most likely for want of "
                "memory; finished shards are kept. Run the same command again with fewer "
                "--workers; --workers 0 needs none."
            ) from None
        if isinstance(batch, AutodsError):
            raise batch
        yield batch


def _as_is(batch: Any) -> Any:
    """Leave arrays as they are: tensors would travel through shared memory, often too small."""
    return batch


def _end_with_parent(_: int) -> None:
    """Make a worker end when the run that started it is killed.

    torch's own watch looks at the parent process, which here is the fork server.
    """
    if parent := multiprocessing.parent_process():

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _context() -> BaseContext:
    """Return how workers are started: by a fork server where there is one.

    Workers that are forked off a process with threads can hang, and they inherit its
    locks: after a kill -9 they would hold them on. A fork server has neither.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # What workers need is imported once, by the server, and not by every worker.
    context.set_forkserver_preload([__name__, "autods.encode.encoders"])
    return context
