"""Array files of every kind with the same images and labels."""

import io
import pickle
import struct

import h5py
import numpy as np
from scipy.io import savemat

N, H, W = 7, 3, 5
PIXELS = np.random.default_rng(0).integers(0, 256, (N, H, W, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]
LABELS = np.array([3, 1, 10, 3, 0, 10, 1])


def stored(axes: str) -> np.ndarray:
    """The images in the order of ``axes``; without C, the grey ones."""
    images, order = (PIXELS, "NHWC") if "C" in axes else (GREY, "NHW")
    return np.ascontiguousarray(images.transpose([order.index(letter) for letter in axes]))


def mat(**variables) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


def hdf5(chunks=None, **variables) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        for name, value in variables.items():
            large = isinstance(value, np.ndarray) and value.ndim > 2
            content.create_dataset(name, data=value, chunks=chunks if large else None)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    codes = {"uint8": 8, "int8": 9, "int32": 12, "int64": 12}
    head = struct.pack(f">HBB{array.ndim}I", 0, codes[array.dtype.name], array.ndim, *array.shape)
    return head + (array if array.itemsize == 1 else array.astype(">i4")).tobytes()


def python2_pickle(value) -> bytes:
    """As Python 2 wrote it: its text is our bytes, under the old names of modules."""
    data = pickle.dumps(value, protocol=2)
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def array_file(kind: str, images: np.ndarray) -> tuple[bytes, dict]:
    """One file with images X and labels y, and how a manifest refers to both."""
    if kind == "mat":
        return mat(X=images, y=LABELS[:, None]), {"variable": "X"}
    if kind == "hdf5":
        return hdf5(X=images, y=LABELS), {"variable": "X"}
    if kind == "pickle":
        return python2_pickle({b"X": images, b"y": LABELS.tolist()}), {"variable": "X"}
    if kind == "fortran":
        return npy(np.asfortranarray(images)), {"format": "npy"}
    return {"npy": npy, "idx": idx}[kind](images), {}
