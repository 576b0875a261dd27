"""Turn arrays of images into a tar of netpbm images, once, block by block.

Then they are members like all others. Values stay as stored; only the axes are reordered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from autods.containers.array_files import (
    Array,
    check_length,
    idx_header,
    load,
    npy_header,
    unreadable,
)
from autods.containers.array_parsers import own_variable
from autods.containers.array_specs import ArrayImages, ImageSource, ParquetImages
from autods.containers.convert import converting, made_once
from autods.containers.locations import Location, location_path
from autods.containers.sizes import unpacked_limit
from autods.containers.tars import TarWriter, list_tar
from autods.core.limited import stream
from autods.core.progress import Progress
from autods.errors import AutodsError, LayoutError

if TYPE_CHECKING:
    from autods.containers.base import Member
    from autods.containers.container import Container
    from autods.core.root import DataRoot

BLOCK_BYTES = 1 << 25  # of an array that are in memory at once
CHUNK_BYTES = 1 << 28  # at most, where an HDF5 file is stored in large chunks
MAGIC = {1: (b"P5", "pgm"), 3: (b"P6", "ppm")}  # netpbm formats by number of channels


def array_members(
    root: DataRoot,
    dataset: str,
    file: str,
    container: Container,
    arrays: Sequence[ImageSource],
    checksum: str,
    progress: Progress,
) -> list[Member]:
    """Return the images in the arrays of one manifest file, opened as ``container``, as members.

    ``checksum`` is that of the manifest file. `LayoutError` if an array is not as ``arrays``
    say or not of type uint8; `ContainerError` if the file is damaged.
    """
    unique = sorted(set(arrays), key=lambda s: (s.name, str(s)))  # tasks may share images
    for one, other in pairwise(unique):
        if one.name == other.name:
            got = f"'{one.variable}' and '{other.variable}'"
            raise LayoutError.at(one.shown, "one array of images in a file", got, "images")
    target = location_path(root, dataset, file, Location.ARRAYS)

    def make(temporary: Path) -> None:
        with converting(file, progress), temporary.open("wb") as handle:
            writer = TarWriter(handle)
            for spec in unique:
                for name, data in _images(spec, container):
                    writer.add(name, data)
                    progress.advance(len(data))
            writer.close()

    described = json.dumps([spec.model_dump(mode="json") for spec in unique], sort_keys=True)
    made_once(target, f"{checksum}\n{described}", make)
    return list_tar(target, location=Location.ARRAYS).members


def _images(spec: ImageSource, container: Container) -> Iterator[tuple[str, bytes]]:
    """Yield name and file of each image; netpbm where they are arrays."""
    if isinstance(spec, ParquetImages):
        from autods.containers.parquets import encoded_images

        yield from encoded_images(spec, container)
        return
    position = 0
    with container.open(spec.name) as handle:
        for block in _blocks(spec, handle):
            _, height, width, channels = block.shape
            magic, suffix = MAGIC[channels]
            head = b"%s\n%d %d\n255\n" % (magic, width, height)
            for image in block:
                yield f"{spec.name}/{position:07d}.{suffix}", head + image.tobytes()
                position += 1


def _blocks(spec: ArrayImages, handle: BinaryIO) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the images in order, uint8 [n, H, W, C] with C 1 or 3, some at a time."""
    readers = {"npy": _npy_blocks, "idx": _idx_blocks}
    try:
        if spec.kind == "hdf5":
            blocks = stream(f"{__name__}:hdf5_blocks", handle, spec, BLOCK_BYTES)
        elif spec.kind in readers:
            blocks = readers[spec.kind](spec, handle)
        else:
            array = np.asarray(load(handle, spec.kind, spec.variable, spec.shown))
            _check(spec, array.dtype, array.shape)
            blocks = iter([array])
        for block in blocks:
            yield _as_images(spec, block)
    except (AutodsError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes each reader fail in many ways
        raise unreadable(spec.shown, spec.kind, error) from None


def hdf5_blocks(handle: BinaryIO, spec: ArrayImages, block_bytes: int) -> Iterator[Array]:
    """Yield an HDF5 array as blocks of about so many bytes; for `autods.core.limited`."""
    import h5py

    size = handle.seek(0, os.SEEK_END)
    with h5py.File(handle, "r") as file:
        array = own_variable(file, spec.variable or "", spec.shown)
        _check(spec, array.dtype, array.shape)
        if array.size > (limit := unpacked_limit(size)):
            raise ValueError(f"{array.size:,} bytes in a file of {size:,}, more than {limit:,}")
        axis = spec.axes.index("N")
        count = array.shape[axis]
        step = _step(array.shape, axis, block_bytes)
        if array.chunks:  # whole chunks: each is decompressed once
            chunk = array.chunks[axis]
            largest = max(chunk, CHUNK_BYTES * count // max(1, array.size) // chunk * chunk)
            step = min(-(-step // chunk) * chunk, largest)
        for start in range(0, count, step):
            yield array[(slice(None),) * axis + (slice(start, start + step),)]


def _npy_blocks(spec: ArrayImages, handle: BinaryIO) -> Iterator[Array]:
    dtype, shape, fortran = npy_header(handle)
    _check(spec, dtype, shape)
    yield from _stored_blocks(spec, handle, shape, fortran)


def _idx_blocks(spec: ArrayImages, handle: BinaryIO) -> Iterator[Array]:
    dtype, shape = idx_header(handle)
    _check(spec, dtype, shape)
    yield from _stored_blocks(spec, handle, shape, False)


def _stored_blocks(
    spec: ArrayImages, handle: BinaryIO, shape: tuple[int, ...], fortran: bool
) -> Iterator[Array]:
    """Yield blocks of uint8 values stored contiguously in a file."""
    at = handle.tell()
    check_length(np.dtype(np.uint8), shape, handle.seek(0, os.SEEK_END) - at)
    handle.seek(at)
    slowest = len(shape) - 1 if fortran else 0
    if spec.axes.index("N") != slowest:  # images lie interleaved
        data = _values(handle, int(np.prod(shape)))
        yield data.reshape(shape, order="F" if fortran else "C")
        return
    count, image = shape[slowest], shape[:-1] if fortran else shape[1:]
    step = _step(shape, slowest, BLOCK_BYTES)
    for start in range(0, count, step):
        images = min(step, count - start)
        block = _values(handle, images * int(np.prod(image)))
        shaped = (*image, images) if fortran else (images, *image)
        yield block.reshape(shaped, order="F" if fortran else "C")


def _values(handle: BinaryIO, count: int) -> npt.NDArray[np.uint8]:
    data = handle.read(count)
    if len(data) != count:
        raise EOFError(f"it ends {count - len(data)} bytes too early")
    return np.frombuffer(data, np.uint8)


def _step(shape: tuple[int, ...], axis: int, block_bytes: int) -> int:
    image = int(np.prod(shape)) // max(1, shape[axis])
    return max(1, block_bytes // max(1, image))


def _check(spec: ArrayImages, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array whose type is not uint8 or whose axes differ from the manifest's."""
    where = spec.shown if spec.variable is None else f"{spec.shown}: {spec.variable}"
    got = f"{dtype} of shape {tuple(shape)}"
    if dtype != np.uint8:
        raise LayoutError.at(where, "images of type uint8", got, "images")
    stored = (shape[0], *spec.shape) if spec.shape and shape else tuple(shape)
    if len(stored) != len(spec.axes) or int(np.prod(stored)) != int(np.prod(shape)):
        wanted = f"axes {spec.axes}" + (f" from rows of {list(spec.shape)}" if spec.shape else "")
        raise LayoutError.at(where, wanted, got, step="Correct 'axes' and 'shape'.")
    channels = stored[spec.axes.index("C")] if "C" in spec.axes else 1
    if channels not in MAGIC:
        raise LayoutError.at(where, "1 or 3 channels", got, "axes")


def _as_images(spec: ArrayImages, block: Array) -> npt.NDArray[np.uint8]:
    """Bring a block of the stored array into the order [n, H, W, C]."""
    if spec.shape is not None:
        block = block.reshape(len(block), *spec.shape)
    if "C" not in spec.axes:
        block = block[..., np.newaxis]
    axes = spec.axes if "C" in spec.axes else spec.axes + "C"
    return np.ascontiguousarray(block.transpose([axes.index(letter) for letter in "NHWC"]))
