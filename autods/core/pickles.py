"""Read pickled data without running pickled code: plain containers and NumPy arrays only."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from autods.errors import UnsafePickle

# What a pickle may ask for, by the names that Python 2 and 3 and NumPy 1 and 2 write. All of
# it only builds data; a name that is not here is never looked up.
_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")
_BUILT_IN = ("builtins", "__builtin__")
ALLOWED = frozenset(
    [
        *((module, name) for module in _ARRAYS for name in ("_reconstruct", "scalar")),
        *((module, "_frombuffer") for module in _BUFFERS),
        *(
            (module, name)
            for module in _BUILT_IN
            for name in ("set", "frozenset", "bytes", "bytearray", "complex")
        ),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
        ("collections", "OrderedDict"),
    ]
)
# Paths are read as their text; the classes that a pickle asks for are not looked up. Python
# 3.13 writes another name of the module.
_PATH_MODULES = ("pathlib", "pathlib._local")
_PATHS: dict[str, type[PurePath]] = {
    "PosixPath": PurePosixPath,
    "PurePosixPath": PurePosixPath,
    "WindowsPath": PureWindowsPath,
    "PureWindowsPath": PureWindowsPath,
}
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file by torch.save before 1.6


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise UnsafePickle(
                f"expected plain data and NumPy arrays, got a pickle that asks for '{module}."
                f"{name}'; nothing of it was run. Do not trust this file."
            )
        return super().find_class(module, name)


class _DataAndPaths(_DataOnly):
    def find_class(self, module: str, name: str) -> Any:
        if module in _PATH_MODULES and name in _PATHS:
            return lambda *segments: _PATHS[name](*segments).as_posix()
        return super().find_class(module, name)


def load(data: bytes, *, encoding: str = "ASCII", paths: bool = False) -> Any:
    """Return the object of a pickle (any protocol, also Python 2's) that holds only data.

    ``encoding`` is how Python 2's ``str`` is read: ``"bytes"`` keeps them, ``"latin-1"`` makes
    text of them; arrays of Python 2 need one of these two. With ``paths``, objects of `pathlib`
    may occur; each becomes its text, with slashes.

    Raises
    ------
    UnsafePickle
        When the pickle asks for anything but containers, text, numbers and arrays.
    ValueError
        When it is damaged or not a pickle.
    """
    kind = _DataAndPaths if paths else _DataOnly
    return _next(kind(io.BytesIO(data), encoding=encoding))


def load_torch(handle: BinaryIO) -> Any:
    """Return the object of a file by ``torch.save`` that holds no tensors; torch is not needed.

    ``handle`` is seekable and at its start: the zip of torch 1.6 and later, the older row of
    pickles, or one pickle. Objects of `pathlib` and errors are as of `load` with ``paths``.
    """
    is_zip = handle.read(2) == b"PK"
    handle.seek(0)
    if is_zip:
        return _from_zip(handle)
    found = _next(_DataAndPaths(handle))
    if type(found) is int and found == _TORCH_MAGIC:
        _next(_DataAndPaths(handle))  # version of the format
        _next(_DataAndPaths(handle))  # sizes and byte order of the machine
        found = _next(_DataAndPaths(handle))
    return found


def _next(unpickler: pickle.Unpickler) -> Any:
    try:
        return unpickler.load()
    except UnsafePickle:
        raise
    except Exception as error:  # damaged opcodes fail in every way there is
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _from_zip(handle: BinaryIO) -> Any:
    """Load the pickle inside the zip of ``torch.save``; its members are never compressed."""
    try:
        with zipfile.ZipFile(handle) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
            if len(members) != 1 or members[0].compress_type != zipfile.ZIP_STORED:
                raise ValueError("expected one uncompressed data.pkl in the zip")
            with archive.open(members[0]) as member:  # read to its end: its checksum is compared
                return _next(_DataAndPaths(member))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
