"""Small contents of array files: labels, lists of names, struct arrays, read whole."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from autods.containers.array_parsers import LABEL_BYTES, check_size, no_variable
from autods.containers.array_specs import ArrayFile, ArrayFormat, format_of
from autods.core.limited import call
from autods.errors import FETCH_AGAIN, AutodsError, LayoutError, UnsafePickle

if TYPE_CHECKING:
    from autods.containers.container import Container

PARSERS = "autods.containers.array_parsers"
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
NESTED = 8  # arrays of one element around a text, at most
WHOLE_BITS = 256  # of the largest whole number, as in manifests

Array = npt.NDArray[Any]


def read_labels(source: ArrayFile, container: Container) -> list[str]:
    """Return an array or list of labels, flattened, each as text; whole numbers as such."""
    with container.open(source.name) as handle:
        value = load(handle, source.kind, source.variable, source.shown)
    return _texts(value, source.shown)


def read_names(
    data: bytes, shown: str, variable: str | None, format: ArrayFormat | None = None
) -> list[str]:
    """Return a list of names: a MATLAB cell array, a pickled list, a data set of strings.

    ``shown`` names the file in errors and, without a ``format``, tells it.
    """
    value = load(_unpacked(data, shown), format or _format(shown), variable, shown)
    return _texts(value, f"{shown}: {variable}")


def read_struct(data: bytes, shown: str, variable: str) -> list[dict[str, str]]:
    """Return the elements of a MATLAB struct array as field name to text.

    A field of several values gives their texts with blanks between them.
    """
    array = np.atleast_1d(load(_unpacked(data, shown), "mat", variable, shown))
    if array.dtype.names is None:
        got = f"{array.dtype} of shape {array.shape}"
        raise LayoutError.at(f"{shown}: {variable}", "a struct array", got, "variable")
    return [
        {
            field: " ".join(_texts(np.atleast_1d(record[field]), f"{shown}: {variable}: {field}"))
            for field in array.dtype.names
        }
        for record in array.ravel()
    ]


def load(handle: BinaryIO, kind: ArrayFormat, variable: str | None, shown: str) -> Any:
    """Return the whole content of one variable: an array, or the object in a pickle.

    `LayoutError` if the file cannot be read as ``kind`` or has no such variable.
    """
    try:
        if kind == "mat":
            return call(f"{PARSERS}:mat_variable", handle, variable or "", shown)
        if kind == "hdf5":
            return call(f"{PARSERS}:hdf5_variable", handle, variable or "", shown)
        if kind == "pickle":
            return _load_pickle(handle, variable, shown)
        size = _size(handle)
        check_size(size, shown)
        dtype, shape, fortran = (
            npy_header(handle) if kind == "npy" else (*idx_header(handle), False)
        )
        check_length(dtype, shape, size - handle.tell())
        rest = math.prod(shape) * dtype.itemsize if kind == "npy" else -1  # idx files end there
        return np.frombuffer(handle.read(rest), dtype).reshape(shape, order="F" if fortran else "C")
    except (AutodsError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes each reader fail in many ways
        raise unreadable(shown, kind, error) from None


def npy_header(handle: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return type, shape and whether the order is Fortran's; leave the handle at the values.

    `ValueError` if it is not an npy file of plain values.
    """
    from numpy.lib import format as npy

    version = npy.read_magic(handle)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(handle)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"values of type {dtype}, which are not plain")
    return dtype, shape, fortran


def check_length(dtype: np.dtype[Any], shape: Sequence[int], size: int) -> None:
    """Raise `EOFError` unless ``size`` bytes hold an array of this type and shape."""
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {tuple(shape)}")
    if (wanted := math.prod(shape) * dtype.itemsize) > size:
        raise EOFError(f"it ends {wanted - size:,} bytes too early")


def idx_header(handle: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return type and shape of an idx file, and leave the handle at its first value.

    `ValueError` if it is not an idx file.
    """
    zeros, code, count = struct.unpack(">HBB", handle.read(4))
    if zeros or code not in IDX_TYPES or not count:
        raise ValueError("it does not begin like one")
    return np.dtype(IDX_TYPES[code]), struct.unpack(f">{count}I", handle.read(4 * count))


def unreadable(shown: str, kind: ArrayFormat, error: Exception) -> LayoutError:
    """Build the error for a damaged file, or one of another format."""
    names = {"mat": "MATLAB file up to version 7", "hdf5": "HDF5 file", "idx": "idx file"}
    advice = FETCH_AGAIN
    if getattr(error, "kind", "") == "NotImplementedError":  # scipy's word for version 7.3
        error = NotImplementedError("version 7.3")
        advice = "It is an HDF5 file: give 'format: hdf5' in the manifest, and axes in reverse."
    expected = f"{'an' if kind in ('hdf5', 'idx') else 'a'} {names.get(kind, kind + ' file')}"
    return LayoutError.at(shown, expected, error or type(error).__name__, step=advice)


def _load_pickle(handle: BinaryIO, variable: str | None, shown: str) -> Any:
    from autods.core.pickles import load as load_pickle

    try:
        content = load_pickle(handle, encoding="bytes")
    except UnsafePickle as error:
        raise UnsafePickle(f"{shown}: {error}") from None
    if variable is None:
        return content
    if not isinstance(content, dict):
        expected = f"a pickled dictionary with '{variable}'"
        raise LayoutError.at(shown, expected, type(content).__name__, "variable")
    for key in (variable, variable.encode()):  # Python 2 wrote bytes
        if key in content:
            return content[key]
    raise no_variable(shown, variable, (_text(key, shown) for key in content))


def _texts(value: Any, shown: str) -> list[str]:
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if not isinstance(value, list | tuple):
        raise LayoutError.at(shown, "a list or array", type(value).__name__, "variable")
    return [_text(item, f"{shown}: element {number}") for number, item in enumerate(value)]


def _text(value: Any, shown: str) -> str:
    for _ in range(NESTED):  # MATLAB puts each text into arrays of one
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        elif isinstance(value, list) and len(value) == 1:
            value = value[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    if isinstance(value, str):
        return value.strip(" ")  # MATLAB pads the rows of character arrays
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value.bit_length() <= WHOLE_BITS:
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    plain = isinstance(value, float | complex | tuple | type(None)) and not value
    got = f"{value} ({type(value).__name__})" if plain else type(value).__name__
    raise LayoutError.at(shown, "one text or number", got, "variable")


def _format(shown: str) -> ArrayFormat:
    try:
        return format_of(PurePosixPath(shown).name)
    except ValueError as error:
        raise LayoutError(f"{error}; nothing was indexed. Correct the manifest.") from None


def _unpacked(data: bytes, shown: str) -> BinaryIO:
    if not shown.lower().endswith(".gz"):
        return io.BytesIO(data)
    try:
        with gzip.open(io.BytesIO(data)) as packed:
            content = packed.read(LABEL_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise LayoutError.at(shown, "a gzip file", error, step=FETCH_AGAIN) from None
    check_size(len(content), shown)
    return io.BytesIO(content)


def _size(handle: BinaryIO) -> int:
    size = handle.seek(0, io.SEEK_END)
    handle.seek(0)
    return size
