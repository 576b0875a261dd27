"""Readers of features made elsewhere, one file per format, listed here once.

Each opens a file (or folder) as a `Table`; what is made of it is in `autods.interop.imports.from_files`.
"""

from autods.interop.imports import npy, npz, parquet, safetensors
from autods.interop.imports.base import READERS, Table, find_sources, reader_of

__all__ = ["READERS", "Table", "find_sources", "npy", "npz", "parquet", "reader_of", "safetensors"]
