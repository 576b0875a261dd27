"""Read pickled data without running pickled code: plain containers and NumPy arrays only."""

from __future__ import annotations

import io
import pickle
from typing import Any

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


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise UnsafePickle(
                f"expected plain data and NumPy arrays, got a pickle that asks for '{module}."
                f"{name}'; nothing of it was run. Do not trust this file."
            )
        return super().find_class(module, name)


def load(data: bytes, *, encoding: str = "ASCII") -> Any:
    """Return the object of a pickle that holds nothing but data.

    Parameters
    ----------
    data
        The pickle, of any protocol, also as Python 2 wrote it.
    encoding
        How Python 2's ``str`` is read: ``"bytes"`` keeps them as they are, ``"latin-1"``
        makes text of them. Arrays of Python 2 need one of these two.

    Raises
    ------
    UnsafePickle
        When the pickle asks for anything but containers, text, numbers and arrays.
    ValueError
        When it is damaged or no pickle at all; says why.
    """
    try:
        return _DataOnly(io.BytesIO(data), encoding=encoding).load()
    except UnsafePickle:
        raise
    except Exception as error:  # damaged opcodes fail in every way there is
        raise ValueError(f"{type(error).__name__}: {error}") from None
