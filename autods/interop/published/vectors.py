"""Unpickle feature vectors: safely each, and quickly where they only differ in their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autods.core import pickles
from autods.errors import ContainerError, LayoutError, UnsafePickle


class VectorReader:
    """Reads pickled vectors of one width; errors call the database ``where``.

    All vectors of one writer are the same pickle around other numbers. That pickle is
    learned from the first vector that was loaded in full: values of the same length, head and
    tail have their numbers between the two.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.width: int | None = None
        self._head = self._tail = b""
        self._length = -1
        self._dtype: np.dtype[Any] = np.dtype("f4")

    def read(self, key: bytes, value: bytes) -> npt.NDArray[Any]:
        """Return one vector, floating point [d]; `UnsafePickle` if the value is more than data."""
        if (
            len(value) == self._length
            and value.startswith(self._head)
            and value.endswith(self._tail)
        ):
            return np.frombuffer(value, self._dtype, self.width or 0, len(self._head))
        vector = self._load(key, value)
        if self.width is None:
            self.width = len(vector)
        elif len(vector) != self.width:
            raise self._wrong(key, f"{self.width} numbers as in the values before", len(vector))
        self._learn(vector, value)
        return vector

    def _load(self, key: bytes, value: bytes) -> npt.NDArray[Any]:
        name = key.decode(errors="replace")
        try:
            found = pickles.load(value)
        except UnsafePickle as error:
            raise UnsafePickle(f"{self.where}: the value of '{name}': {error}") from None
        except ValueError as error:
            raise ContainerError(f"{self.where}: the value of '{name}': {error}") from None
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
            got = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
            raise self._wrong(key, "an array of floating point numbers", got)
        if (found.ndim != 1 and found.shape != (1, found.size)) or not found.size:
            raise self._wrong(key, "one vector", f"an array {found.shape}")
        return found.reshape(-1)

    def _learn(self, vector: npt.NDArray[Any], value: bytes) -> None:
        """Remember what surrounds the numbers, if the value holds them unchanged."""
        numbers = vector.tobytes()
        head, found, tail = value.partition(numbers)
        if not found:
            return
        # Other bytes in the same place, no two neighbours alike, must come out as they are.
        probe = bytes(byte ^ (place % 251 + 1) for place, byte in enumerate(numbers))
        try:
            read = pickles.load(head + probe + tail)
        except (UnsafePickle, ValueError):
            return
        if isinstance(read, np.ndarray) and (read.dtype, read.tobytes()) == (vector.dtype, probe):
            self._head, self._tail, self._length = head, tail, len(value)
            self._dtype = vector.dtype

    def _wrong(self, key: bytes, expected: str, got: object) -> LayoutError:
        name = key.decode(errors="replace")
        return LayoutError(f"{self.where}: the value of '{name}': expected {expected}, got {got}")
