"""Array files of strangers: damaged ones and those that point out of themselves."""

import io

import h5py
import numpy as np
import pytest
from array_tools import hdf5, mat, npy

from autods.containers.array_files import load, read_names, read_struct
from autods.errors import LayoutError

VALUES = np.arange(200, dtype=np.float64).reshape(20, 10)
RECORDS = np.array([(1.0, "a"), (2.0, "b")], dtype=[("x", object), ("y", object)])


def changed(data: bytes, seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    content = bytearray(data)
    for _ in range(generator.integers(1, 8)):
        place = int(generator.integers(len(content)))
        content[place : place + 4] = generator.choice([b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x0e"])
    return bytes(content[: int(generator.integers(len(content) // 2, len(content) + 1))])


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["mat", "hdf5", "npy"])
def test_damage_anywhere_is_one_error_or_values_and_the_process_lives(kind, seed):
    whole = {"mat": lambda: mat(a=VALUES, s=RECORDS, t=np.array([["x", "yz"]], object)),
             "hdf5": lambda: hdf5(a=VALUES), "npy": lambda: npy(VALUES)}[kind]()  # fmt: skip
    data = changed(whole, seed)
    variable = "asta"[seed % 3] if kind == "mat" else None if kind == "npy" else "a"
    try:
        load(io.BytesIO(data), kind, variable, f"x.{kind}")
        if kind == "mat":
            read_names(data, "x.mat", "t")
            read_struct(data, "x.mat", "s")
    except LayoutError as error:
        assert f"x.{kind}" in str(error)


def outside(file, kind):
    if kind == "external storage":
        file.create_dataset("a", shape=(40,), dtype="u1", external=[("/etc/passwd", 0, 40)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape=(4,), dtype="<f8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
        file.create_virtual_dataset("a", layout)
    else:
        links = {
            "external link": h5py.ExternalLink("/etc/passwd", "/a"),
            "soft": h5py.SoftLink("/b"),
        }
        file.create_dataset("b", data=VALUES)
        file["a"] = links[kind]


@pytest.mark.parametrize("kind", ["external storage", "virtual", "external link", "soft"])
def test_values_that_lie_elsewhere_are_refused(kind):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        outside(file, kind)
    with pytest.raises(LayoutError, match=r"an array in this file.*Do not trust this file"):
        load(content, "hdf5", "a", "x.h5")


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 31, 1 << 31), (-1,), (3, 1 << 62), (1 << 27,)])
def test_a_shape_that_does_not_fit_the_file_allocates_nothing(tmp_path, shape):
    header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    data = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(800)
    path = tmp_path / "x.npy"
    path.write_bytes(data)
    for handle in (io.BytesIO(data), path.open("rb")):
        with handle, pytest.raises(LayoutError, match=r"a npy file, got (it ends|the shape)"):
            load(handle, "npy", None, "x.npy")


def test_an_array_of_fill_values_is_not_more_than_its_file_explains(tmp_path):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("a", shape=(1 << 40, 8), dtype="u1", chunks=(1 << 20, 8))
    with pytest.raises(LayoutError, match="bytes in one array"):
        load(content, "hdf5", "a", "x.h5")
