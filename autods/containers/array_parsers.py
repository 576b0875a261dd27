"""Readers of MATLAB and HDF5 variables, to be run in a child process (`autods.core.limited`).

Both formats are parsed in C, which crashes on damaged files. An HDF5 file may also name other
files as where its values lie; those are refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from autods.core.hdf5 import Elsewhere, own_array
from autods.errors import LayoutError

if TYPE_CHECKING:
    import h5py

LABEL_BYTES = 1 << 28  # far more than labels take; more would be images, read by mistake


def no_variable(shown: str, variable: str, known: Iterable[str]) -> LayoutError:
    """Build the error for a file without the variable the manifest names."""
    got = ", ".join(sorted(known)) or "none"
    return LayoutError.at(shown, f"a variable '{variable}'", got, "variable")


def check_size(size: int, shown: str) -> None:
    """Raise `LayoutError` for an array that is larger than labels are."""
    if size > LABEL_BYTES:
        raise LayoutError.at(shown, "labels", f"{size:,} bytes in one array", "labels")


def mat_variable(handle: BinaryIO, variable: str, shown: str) -> Any:
    """Return one variable of a MATLAB file up to version 7."""
    from scipy.io import loadmat, whosmat

    content = loadmat(io.BytesIO(handle.read()), variable_names=[variable], squeeze_me=False)
    if variable not in content:
        handle.seek(0)
        raise no_variable(shown, variable, (name for name, _, _ in whosmat(handle)))
    return np.asarray(content[variable])


def hdf5_variable(handle: BinaryIO, variable: str, shown: str) -> Any:
    """Return one small array of an HDF5 file; text as objects."""
    import h5py

    with h5py.File(handle, "r") as file:
        found = own_variable(file, variable, shown)
        check_size(found.size * found.dtype.itemsize, shown)
        text = h5py.check_string_dtype(found.dtype) is not None
        return np.asarray(found.asstr()[()] if text else found[()])


def own_variable(file: h5py.File, name: str, shown: str) -> h5py.Dataset:
    """Return an array whose values lie in this very file; raise `LayoutError` otherwise."""
    try:
        found = own_array(file, name)
    except Elsewhere as error:
        step = "Do not trust this file; save the array into one file of its own."
        expected = "an array in this file"
        raise LayoutError.at(f"{shown}: {name}", expected, error, step=step) from None
    if found is None:
        raise no_variable(shown, name, file)
    return found
