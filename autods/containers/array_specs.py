"""Descriptions of files in manifests; `autods.containers.array_files` reads those of arrays."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from autods.core.strict import Strict

ArrayFormat = Literal["mat", "hdf5", "npy", "idx", "pickle"]

SUFFIXES: dict[str, ArrayFormat] = {
    ".mat": "mat", ".h5": "hdf5", ".hdf5": "hdf5", ".npy": "npy", ".pkl": "pickle",
    ".pickle": "pickle", "-idx1-ubyte": "idx", "-idx3-ubyte": "idx",
}  # fmt: skip
NAMED = ("mat", "hdf5")  # formats that hold variables by name; a pickle may


class DatasetFile(Strict):
    """A file of a dataset: a manifest file itself, or a member inside one."""

    file: str
    member: str | None = None

    @property
    def name(self) -> str:
        """Path of the file inside its container."""
        return self.member or self.file

    @property
    def shown(self) -> str:
        """Name of the file for messages."""
        return self.file if self.member is None else f"{self.file}/{self.member}"


class ArrayFile(DatasetFile):
    """An array in a file of a dataset."""

    variable: str | None = None  # MATLAB variable, HDF5 dataset or pickle key
    format: ArrayFormat | None = None  # None: by the suffix; .gz is unpacked on the way

    @property
    def kind(self) -> ArrayFormat:
        """The format, as given or by the suffix."""
        return self.format or format_of(self.name)

    @model_validator(mode="after")
    def _is_complete(self) -> ArrayFile:
        kind = self.kind
        if self.variable is None and kind in NAMED:
            raise ValueError(f"{self.shown}: expected a 'variable': {kind} files hold several")
        if self.variable is not None and kind not in (*NAMED, "pickle"):
            raise ValueError(f"{self.shown}: {kind} files hold one array; remove 'variable'")
        return self


class ArrayImages(ArrayFile):
    """An array of images; each becomes a member ``<array file>/<7-digit index>.ppm``."""

    axes: str  # the stored order: N images, H rows, W columns, C channels if there are any
    shape: tuple[int, ...] | None = None  # of an image stored flat, in the order of axes without N

    @model_validator(mode="after")
    def _axes_are_clear(self) -> ArrayImages:
        if sorted(self.axes) not in (sorted("NHW"), sorted("NHWC")):
            raise ValueError(
                f"axes: expected the letters N, H, W, and C if there are channels, each once, "
                f"got '{self.axes}'"
            )
        if self.shape is not None and (
            self.axes[0] != "N" or len(self.shape) != len(self.axes) - 1
        ):
            raise ValueError(
                f"shape: expected one image's lengths in the order of '{self.axes}', which must "
                f"begin with N, got {list(self.shape)}"
            )
        return self


class ParquetImages(Strict):
    """A column of encoded images in a Parquet file; each becomes ``<file>/<7-digit row>.jpg``."""

    file: str
    column: str  # of bytes, or of structs with the field bytes

    @property
    def name(self) -> str:
        """Path of the Parquet file inside its container."""
        return self.file

    @property
    def shown(self) -> str:
        """Name of the Parquet file for messages."""
        return self.file

    @property
    def variable(self) -> str:
        """The variable or column, for messages."""
        return self.column


ImageSource = ArrayImages | ParquetImages  # sources that become a tar of images


def format_of(name: str) -> ArrayFormat:
    """Return the format of a file by its name; raise `ValueError` if there is none."""
    lowered = name.lower().removesuffix(".gz")
    for suffix, kind in SUFFIXES.items():
        if lowered.endswith(suffix):
            return kind
    raise ValueError(
        f"{name}: expected a 'format' (mat, hdf5, npy, idx or pickle) or a name that tells it "
        f"({', '.join(SUFFIXES)}, also with .gz)"
    )
