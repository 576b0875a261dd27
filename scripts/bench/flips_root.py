"""Datasets of every kind of file, for `flips.py`: archives, converted copies, index, features."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from extract_data import drawn
from kills_run import Small

from autods.checks.dataset import Checked, _check_data
from autods.core.files import hash_file, hash_tree
from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset
from autods.errors import AutodsError
from autods.features.class_names import ClassTexts, load_text, write_texts
from autods.fetch import fetch_dataset
from autods.index.samples import index_dataset
from autods.manifest.schema import Manifest

IMAGES = 24
FILES = {
    "stored zip": "stored.zip",
    "deflated zip": "deflated.zip",
    "streamed zip": "streamed.zip",
    "tar": "plain.tar",
    "compressed tar": "packed.tgz",
    "folder": "folder",
}


class Unread(AutodsError):
    """Images were left out, and told."""


class Pipe(io.RawIOBase):
    """What zips are streamed to: sizes and checksums come after the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        """Return that it can be written."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes."""
        self.data += data
        return len(data)


@dataclass(frozen=True)
class Made:
    """A fetched and indexed dataset with features."""

    kind: str
    root: DataRoot
    manifest: Manifest

    def file(self, draw: Any) -> Path:
        """Return the published file, or one of a folder."""
        path = self.root.archive(self.manifest.name, FILES[self.kind])
        return draw.choice(sorted(path.rglob("*.png"))) if path.is_dir() else path

    def extracted(self) -> Any:
        """Extract its features anew; return all numbers of its shards."""
        encoder = Small()
        folder = self.root.features(encoder.name, self.manifest.name)
        shutil.rmtree(folder, ignore_errors=True)
        outcome = extract_dataset(self.manifest, self.root, encoder, batch_size=8)
        if outcome.unreadable:
            raise Unread(f"{outcome.unreadable}")
        return [path.read_bytes() for path in sorted(folder.glob("*.h5"))]

    def is_sound(self) -> bool:
        """Verify archives and index."""
        checked = Checked(self.manifest.name)
        _check_data(checked, self.manifest, self.root)
        return not checked.problems


def make(kind: str, base: Path, root: DataRoot) -> Made:
    """Pack images, fetch and index them."""
    members = {f"class{i % 4}/{i:03d}.png": data for i, data in enumerate(drawn(48, 40, IMAGES))}
    source = base / FILES[kind]
    _pack(kind, source, members)
    digest = (
        f"tree:{hash_tree(source)}" if source.is_dir() else f"sha256:{hash_file(source, 'sha256')}"
    )
    name = kind.replace(" ", "-")
    unknown = dict.fromkeys(("homepage", "citation", "licence"))
    mirror = {"kind": "file", "url": str(source)}
    manifest = Manifest.model_validate(
        {
            "name": name,
            "title": name,
            **unknown,
            "access": "open",
            "files": [{"name": FILES[kind], "checksum": digest, "mirrors": [mirror]}],
            "layout": {
                "family": "class-folders",
                "files": [FILES[kind]],
                "pattern": "{class}/*",
                "labels": {"class": "{class}"},
            },
            "tasks": {"class": {}},
            "default_task": "class",
            "splits": {"clean": {"rule": "random", "test_fraction": 0.25}},
        }
    )
    fetch_dataset(manifest, root, Silent())
    index_dataset(manifest, root, Silent())
    return Made(kind, root, manifest)


def add_texts(root: DataRoot, encoder: str, dataset: str, classes: list[str]) -> Callable[[], Any]:
    """Write embedded class names beside features; return what reads them."""
    rows = np.random.default_rng(0).normal(size=(len(classes), 16))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    texts = ClassTexts(
        dataset=dataset,
        default_task="class",
        class_names={"class": classes},
        names={"class": classes},
        embeddings={"class": unit},
        templates_name="plain",
        templates=["{}"],
        templates_sha256="0" * 64,
        encoder={"model": "made up"},
    )
    write_texts(root.text(encoder, dataset, "plain"), texts)

    def read() -> Any:
        found, names = load_text(root, encoder, dataset, templates="plain")
        return found.tobytes(), names

    return read


def _pack(kind: str, path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        for name, data in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind.endswith("tar"):
        with tarfile.open(path, "w:gz" if kind == "compressed tar" else "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        target: Any = Pipe() if kind == "streamed zip" else io.BytesIO()
        method = zipfile.ZIP_STORED if kind == "stored zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(target, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        path.write_bytes(target.data if isinstance(target, Pipe) else target.getvalue())
