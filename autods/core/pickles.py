"""Read pickled data without running pickled code: plain containers and NumPy arrays only."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from autods.core.limited import ParserFailed, call
from autods.core.pickled_arrays import MAKERS, Maker
from autods.errors import UnsafePickle

# What a pickle may ask for, by the names that Python 2 and 3 and NumPy 1 and 2 write. Each is
# answered by a function of ours of the same name; no name is ever looked up.
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
        return MAKERS[name]


class _DataAndPaths(_DataOnly):
    def find_class(self, module: str, name: str) -> Any:
        if module in _PATH_MODULES and name in _PATHS:
            return Maker(lambda *segments: _PATHS[name](*segments).as_posix())
        return super().find_class(module, name)


def load(source: bytes | BinaryIO, *, encoding: str = "ASCII", paths: bool = False) -> Any:
    """Return the object of a pickle (any protocol, also Python 2's) that holds only data.

    It is read in a child process with limits. ``encoding`` is how Python 2's ``str`` is read:
    ``"bytes"`` keeps them, ``"latin-1"`` makes text of them; arrays of Python 2 need one of these
    two. With ``paths``, objects of `pathlib` may occur; each becomes its text, with slashes.

    Raises
    ------
    UnsafePickle
        When the pickle asks for anything but containers, text, numbers and arrays.
    ValueError
        When it is damaged or not a pickle, or asks for more memory or time than its size explains.
    """
    return _apart("read_pickle", source, encoding, paths)


def load_torch(handle: BinaryIO) -> Any:
    """Return the object of a file by ``torch.save`` that holds no tensors; torch is not needed.

    ``handle`` is seekable and at its start: the zip of torch 1.6 and later, the older row of
    pickles, or one pickle. Objects of `pathlib` and errors are as of `load` with ``paths``.
    """
    return _apart("read_torch", handle)


def _apart(function: str, source: BinaryIO | bytes, *arguments: Any) -> Any:
    try:
        return call(f"{__name__}:{function}", source, *arguments)
    except ParserFailed as error:
        raise ValueError(f"{error.kind}: {error}") from None


def read_pickle(handle: BinaryIO, encoding: str, paths: bool) -> Any:
    """Read a pickle in this process, see `load`; arrays become such when the answer is sent."""
    kind = _DataAndPaths if paths else _DataOnly
    return kind(handle, encoding=encoding).load()


def read_torch(handle: BinaryIO) -> Any:
    """Read a file by ``torch.save`` in this process, see `load_torch`."""
    is_zip = handle.read(2) == b"PK"
    handle.seek(0)
    if is_zip:
        return _from_zip(handle)
    found = _DataAndPaths(handle).load()
    if type(found) is int and found == _TORCH_MAGIC:
        _DataAndPaths(handle).load()  # version of the format
        _DataAndPaths(handle).load()  # sizes and byte order of the machine
        found = _DataAndPaths(handle).load()
    return found


def _from_zip(handle: BinaryIO) -> Any:
    """Load the pickle inside the zip of ``torch.save``; its members are never compressed."""
    with zipfile.ZipFile(handle) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if len(members) != 1 or members[0].compress_type != zipfile.ZIP_STORED:
            raise ValueError("expected one uncompressed data.pkl in the zip")
        with archive.open(members[0]) as member:  # read to its end: its checksum is compared
            return _DataAndPaths(member).load()
