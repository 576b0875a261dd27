"""Single files from strangers that `fuzz.py` changes: archives, array files, images."""

from __future__ import annotations

import gzip
import io
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from autods.core.root import DataRoot
from autods.errors import AutodsError

Make = Callable[[Path], None]
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """One reader: ``make`` writes a valid input below a folder, ``read`` reads all of it."""

    make: Make
    read: Read
    mutated: str = "*"  # which files are changed


def png(size: int = 8) -> bytes:
    """Return a small PNG."""
    content = io.BytesIO()
    Image.fromarray(np.arange(size * size * 3, dtype=np.uint8).reshape(size, size, 3)).save(
        content, "PNG"
    )
    return content.getvalue()


def _written(name: str, content: Callable[[], bytes]) -> Make:
    return lambda folder: void((folder / name).write_bytes(content()))


def void(_: object) -> None:
    """Forget a value."""


# ---------------------------------------------------------------- archives
MEMBERS = {"a/1.png": png(), "a/2.png": png(9), "b/3.png": png(10), "list.csv": b"x,y\n1,2\n"}


def make_zip(folder: Path) -> None:
    """Write a zip with deflated and stored members."""
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data, zipfile.ZIP_STORED if name > "b" else None)


def _tar(mode: str) -> Make:
    def make(folder: Path) -> None:
        suffix = f".{mode}" if mode else ""
        with tarfile.open(folder / f"x.tar{suffix}", f"w:{mode}", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]  # modes that are no literals
            for name, data in MEMBERS.items():
                info = tarfile.TarInfo(f"\u00e9{name}" * (9 if name > "b" else 1))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "\u00e9a"
            tar.addfile(link)

    return make


def make_7z(folder: Path) -> None:
    """Write a 7z by bsdtar."""
    make_zip(folder)
    subprocess.run(["bsdtar", "-acf", folder / "x.7z", f"@{folder / 'x.zip'}"], check=True)
    (folder / "x.zip").unlink()


# RAR 5 with a stored a/1.png and b/2.png; no free tool writes any
RAR = bytes.fromhex(
    "526172211a070100c51a333203010000c25bf3ae160202090409a48302647d8f7d000107612f312e706e676f6e6520"
    "696d6167654701a6e9160202030403a48302668aca11000107622f322e706e6774776f19b23a3503050000"
)


def read_archive(folder: Path) -> None:
    """Open an archive or single compressed file, and read its members."""
    from autods.containers.open import open_container

    (source,) = folder.iterdir()
    root = DataRoot.open(folder.parent / "root")
    archive = root.archive("d", source.name)
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(source.read_bytes())
    container = open_container(root, "d", source.name, "sha256:" + "0" * 64)
    refused = None
    for member in container.members():
        try:
            container.read(member.name)
        except AutodsError as error:
            refused = error
    container.close()
    if refused is not None:
        raise refused


# ---------------------------------------------------------------- array files
def _arrays(name: str, content: Callable[[], bytes], *variables: str | None) -> Reader:
    def read(folder: Path) -> None:
        from autods.containers.array_files import load
        from autods.containers.array_specs import format_of

        for variable in variables or (None,):
            with (folder / name).open("rb") as handle:
                load(handle, format_of(name), variable, name)

    return Reader(_written(name, content), read)


def mat() -> bytes:
    """Return a MATLAB file with numbers, text, cells and structs, compressed and not."""
    from scipy.io import savemat

    records = np.array([(1.0, "a")], dtype=[("x", object), ("y", object)])
    content = io.BytesIO()
    cells = np.array([["x", "yz"]], object)
    savemat(content, {"a": np.arange(90.0).reshape(9, 10), "s": records, "t": cells})
    return content.getvalue()


def hdf5() -> bytes:
    """Return an HDF5 file with plain, compressed and text arrays."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["a"] = np.arange(90.0).reshape(9, 10)
        file.create_dataset("g/z", data=np.arange(400), compression="gzip", chunks=(100,))
        file["t"] = ["x", "yz"]
    return content.getvalue()


def npy() -> bytes:
    """Return an npy file."""
    content = io.BytesIO()
    np.save(content, np.arange(90.0).reshape(9, 10))
    return content.getvalue()


def pickled() -> bytes:
    """Return a pickle of arrays, text and numbers."""
    value = {"data": np.arange(40, dtype=np.uint8).reshape(4, 10), "labels": [1, 2, np.int64(3)]}
    return pickle.dumps({**value, "names": np.array(["a", None], object), "s": {1, 2}}, protocol=4)


# ---------------------------------------------------------------- images
def make_images(folder: Path) -> None:
    """Write an image of each format."""
    image = Image.fromarray(np.arange(24 * 24 * 3, dtype=np.uint8).reshape(24, 24, 3))
    for fmt in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
        image.save(folder / f"x.{fmt.lower()}", fmt)
    deep = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))
    deep.save(folder / "deep.png")
    deep.save(folder / "deep.tiff", compression="tiff_lzw")


def read_images(folder: Path) -> None:
    """Decode every image as an extraction does."""
    from autods.encode.decode import Unreadable, load_image, to_rgb

    refused = None
    for path in sorted(folder.iterdir()):
        try:
            to_rgb(load_image(path.read_bytes())[0])
        except Unreadable as error:
            refused = AutodsError(str(error))
    if refused is not None:
        raise refused


FILES: dict[str, Reader] = {
    "zip": Reader(make_zip, read_archive),
    **{f"tar{'.' * bool(m)}{m}": Reader(_tar(m), read_archive) for m in ("", "gz", "bz2", "xz")},
    "7z": Reader(make_7z, read_archive),
    "rar": Reader(_written("x.rar", lambda: RAR), read_archive),
    "gz": Reader(_written("x.csv.gz", lambda: gzip.compress(b"a,b\n1,2\n" * 50)), read_archive),
    "mat": _arrays("x.mat", mat, "a", "s", "t"),
    "hdf5": _arrays("x.h5", hdf5, "a", "g/z", "t"),
    "npy": _arrays("x.npy", npy),
    "idx": _arrays("x-idx1-ubyte", lambda: b"\0\0\x08\x01\0\0\0\x1e" + bytes(range(30))),
    "pickle": _arrays("x.pkl", pickled),
    "image": Reader(make_images, read_images),
}
