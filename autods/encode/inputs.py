"""From decoded batches to what the encoder is given: on its device, and always of one size.

A CUDA device never waits for the host: pixels and features travel through pinned memory, and
features are read while the next batch is encoded.

Features of full batches do not depend on neighbours, on the place within the batch or on
the number of threads; those of short ones do (other kernels are chosen). So a short batch
is filled up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from autods.core.halves import EXPECTED, unfit_rows, worst
from autods.core.refusals import cause_of
from autods.core.transfer import Read, made_aside, queued, streamed
from autods.encode.decode import Unreadable
from autods.encode.encoders.computing import TorchEncoder
from autods.encode.encoders.interface import Encoder
from autods.encode.jpegs import decode_jpegs, pixels_by_pil
from autods.encode.loader import Decoded
from autods.encode.preprocessing import Preprocessing
from autods.errors import EncoderError


class Encoded:
    """Features of a batch, which may still be computed: ``result`` waits for them.

    ``jpegs`` are the seconds in which the device decoded JPEG files for it.
    """

    def __init__(
        self, inputs: Inputs, read: Read, chosen: npt.NDArray[np.intp], jpegs: float
    ) -> None:
        self._inputs, self._read, self._chosen = inputs, read, chosen
        self.jpegs = jpegs

    def result(self) -> npt.NDArray[np.float16]:
        """Return the features float16 [k, d]; raises what `Inputs.features` does."""
        with self._inputs.in_memory():
            return self._inputs.stored(self._read.result().numpy()[self._chosen])


@dataclass(frozen=True, eq=False)
class Inputs:
    """Feeds one encoder with decoded batches."""

    encoder: Encoder
    preprocessing: Preprocessing
    batch_size: int

    @property
    def device(self) -> torch.device:
        """Where the encoder computes; the CPU if it does not say."""
        return torch.device(getattr(self.encoder, "device", "cpu"))

    def features(
        self, batch: Decoded
    ) -> tuple[Encoded, npt.NDArray[np.bool_], list[tuple[int, str]]]:
        """Encode one batch of which m images were decoded.

        Return the features [k, d] of k <= m images; which of the m they are, bool [m]; and
        position among the m and reason of the others, which a GPU found unreadable. Raises
        `EncoderError` when a feature is not finite, or the device has too little memory, at once
        or when the features are asked for.
        """
        with self.in_memory():
            return self._features(batch)

    @contextmanager
    def in_memory(self) -> Iterator[None]:
        """Say what to do when the device has too little memory."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise EncoderError(
                f"encoder {self.encoder.name} found no memory on {self.device}: "
                f"{cause_of(error)}; finished shards are kept. Use a smaller "
                "--batch-size, and move begun features of another batch size away."
            ) from None

    def _features(
        self, batch: Decoded
    ) -> tuple[Encoded, npt.NDArray[np.bool_], list[tuple[int, str]]]:
        count = len(batch.kept)
        whole = np.ones(count, np.bool_)
        failed: list[tuple[int, str]] = []
        began = now = time.perf_counter()
        if batch.files or self.device.type != "cpu":
            numbers, failed = self._on_device(batch)
            now = time.perf_counter() if batch.files else began
            whole[[place for place, _ in failed]] = False
        else:
            self.preprocessing.fill(self._buffer, batch.pixels)
            numbers = torch.from_numpy(self._buffer)
        chosen = np.flatnonzero(whole)
        return Encoded(self, self._read(numbers), chosen, now - began), whole, failed

    @cached_property
    def late(self) -> int:
        """How many batches are queued before the features of the first are read.

        One on CUDA, unless the encoder has a way of its own to encode.
        """
        encoder = self.encoder
        queues = isinstance(encoder, TorchEncoder) and type(encoder).encode is TorchEncoder.encode
        return int(queues and self.device.type == "cuda")

    def _read(self, numbers: torch.Tensor) -> Read:
        """Encode an input; features that are read late stay on the device."""
        if self.late and isinstance(self.encoder, TorchEncoder):
            return Read(self.encoder.encode_on_device(numbers))
        # a copy: an encoder may give a view of its input, whose memory is used again
        return Read(torch.from_numpy(np.array(self.encoder.encode(numbers), np.float32)))

    def _on_device(self, batch: Decoded) -> tuple[torch.Tensor, list[tuple[int, str]]]:
        """Return the input [b, 3, h, w] on the encoder's device, filled up with zeros."""
        failed: list[tuple[int, str]] = []
        if batch.files:  # the encoder goes on meanwhile
            pixels = made_aside(lambda: self._decoded_there(batch, failed), self.device)
        else:
            pixels = self._moved(torch.from_numpy(batch.pixels))  # [m, ...]
        table = self._table
        kind = pixels.dtype if table is None else table.dtype
        shape = (self.batch_size, 3, *self.preprocessing.size)
        numbers = torch.empty(shape, dtype=kind, device=self.device)
        self.preprocessing.fill_there(numbers, pixels, table)
        return numbers, failed

    def _decoded_there(self, batch: Decoded, failed: list[tuple[int, str]]) -> torch.Tensor:
        """Return pixels [m, ...] on the device, JPEG files decoded; note which ones failed."""
        host = torch.from_numpy(batch.pixels)
        if len(batch.files) < len(host):
            pixels = self._moved(host)
        else:  # the host has none
            pixels = torch.empty(host.shape, dtype=host.dtype, device=self.device)
        found = decode_jpegs([data for _, data in batch.files], self.preprocessing, self.device)
        for (place, data), image in zip(batch.files, found, strict=True):
            try:
                again = pixels_by_pil(data, self.preprocessing) if image is None else image
                pixels[place] = queued(again, self.device)
            except Unreadable as reason:
                failed.append((place, str(reason)))
        return pixels

    def _moved(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return decoded pixels on the device; the memory that they are in may then change."""
        if self.device.type != "cuda":
            return pixels.to(self.device)
        pinned = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
        return streamed(pinned.copy_(pixels), self.device)

    @cached_property
    def _table(self) -> torch.Tensor | None:
        """The numbers of bytes [3, 256] on the device, rounded as the encoder would round them."""
        table = self.preprocessing.table
        if table is None:
            return None
        rounded = torch.from_numpy(table)
        if self.late and isinstance(self.encoder, TorchEncoder):
            rounded = rounded.to(self.encoder.dtype)
        return rounded.to(self.device)

    @cached_property
    def _buffer(self) -> npt.NDArray[np.float32]:
        """Memory for one input, the same every time."""
        return np.empty((self.batch_size, 3, *self.preprocessing.size), np.float32)

    def stored(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
        """Return features as they are stored; raise `EncoderError` if one is not finite."""
        with np.errstate(over="ignore"):
            stored = features.astype(np.float16)
        if (unfit := unfit_rows(features)).any():
            row = int(unfit.argmax())
            raise EncoderError(
                f"encoder {self.encoder.name} gave features that are not finite in float16, or "
                f"vanish there: expected {EXPECTED}, got {worst(features[row])}; finished shards "
                "are kept, this one was not written. Check the weights, or use --precision fp32."
            )
        return stored
