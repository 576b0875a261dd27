"""Readers of features made elsewhere, one file per format; `from_files` imports what they open."""

from autods.interop.imports import npy, npz, parquet, safetensors
from autods.interop.imports.base import READERS, Table, find_sources, reader_of

__all__ = ["READERS", "Table", "find_sources", "npy", "npz", "parquet", "reader_of", "safetensors"]
