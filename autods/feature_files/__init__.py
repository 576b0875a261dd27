"""Readers of features made elsewhere, one file per format, listed here once.

Each opens a file (or folder) as a `Table`; what is made of it is in `autods.import_features`.
"""

from autods.feature_files import npy, npz, parquet, safetensors
from autods.feature_files.base import READERS, Table, find_sources, reader_of

__all__ = ["READERS", "Table", "find_sources", "npy", "npz", "parquet", "reader_of", "safetensors"]
