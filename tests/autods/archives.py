"""Build real archives, manifests and data roots for tests of containers and indexing."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autods.containers import Container, open_container
from autods.core.files import hash_file, hash_tree
from autods.core.root import DataRoot
from autods.fetch.records import record_file
from autods.manifest.schema import FileEntry, Manifest, Mirror

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
REPOSITORY = Path(__file__).resolve().parents[2]


def make_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return path


def make_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def checksum(path: Path) -> str:
    return f"tree:{hash_tree(path)}" if path.is_dir() else f"sha256:{hash_file(path, 'sha256')}"


def placed(root: DataRoot, manifest: Manifest, files: Mapping[str, Path]) -> Manifest:
    """Put archives where fetch would and record them; return the manifest with their checksums."""
    entries = []
    for name, source in files.items():
        target = root.archive(manifest.name, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        mirror = Mirror(kind="file", url=str(source))
        entries.append(FileEntry(name=name, checksum=checksum(source), mirrors=[mirror]))
        record_file(root, manifest.name, entries[-1], target, mirror=None)
    return manifest.model_copy(update={"files": entries})


def manifest_of(
    files: Mapping[str, Path], /, layout: dict[str, Any], name: str = "things", **changes: Any
) -> Manifest:
    """Return a small manifest with one task ``class`` and a random split."""
    return Manifest.model_validate(
        {
            "name": name,
            "title": "Things",
            "homepage": None,
            "citation": None,
            "licence": None,
            "access": "open",
            "files": [
                {
                    "name": file,
                    "checksum": checksum(path),
                    "mirrors": [{"kind": "file", "url": str(path)}],
                }
                for file, path in files.items()
            ],
            "layout": layout,
            "tasks": {"class": {}},
            "default_task": "class",
            "splits": {"clean": {"rule": "random", "test_fraction": 0.2}},
            **changes,
        }
    )


def open_file(root: DataRoot, manifest: Manifest, file: str, **options: Any) -> Container:
    """Open one file of a dataset, as indexing does."""
    checksum = next(entry.checksum for entry in manifest.files if entry.name == file)
    return open_container(root, manifest.name, file, checksum, **options)


def folders_layout(file: str, pattern: str = "{class}/*", **changes: Any) -> dict[str, Any]:
    return {
        "family": "class-folders",
        "files": [file],
        "pattern": pattern,
        "labels": {"class": "{class}"},
        **changes,
    }
