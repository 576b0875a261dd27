"""Run a layout over small archives, or all layouts over the fixtures of datasets."""

import os
import subprocess
from pathlib import Path
from typing import Any

from archives import checksum, make_folder, make_zip, manifest_of, placed
from fixtures import Fixture
from pydantic import TypeAdapter

from autods.core.progress import Silent
from autods.core.root import DataRoot
from autods.index.build import opened
from autods.layouts import AnyLayout, RawSample
from autods.manifest.schema import Manifest, Mirror

IMAGE = b"not decoded here"


def read(
    tmp_path: Path, files: dict[str, dict[str, bytes] | bytes], layout: dict[str, Any]
) -> list[RawSample]:
    """Run a layout over zips (dict of members) and plain files (bytes)."""
    tasks = TypeAdapter(AnyLayout).validate_python(layout).labelled()
    root, manifest = prepared(tmp_path, files, layout, tasks={task: {} for task in tasks})
    with opened(manifest, root, Silent()) as containers:
        return sorted(manifest.layout.read(containers), key=lambda s: (s.file, s.member))


def prepared(
    tmp_path: Path,
    files: dict[str, dict[str, bytes] | bytes],
    layout: dict[str, Any],
    **changes: Any,
) -> tuple[DataRoot, Manifest]:
    sources = {}
    for name, content in files.items():
        if isinstance(content, dict):
            sources[name] = make_zip(tmp_path / "source" / name, content)
        else:
            sources[name] = make_folder(tmp_path / "source", {name: content}) / name
    root = DataRoot(tmp_path / "root")
    return root, placed(root, manifest_of(sources, layout, **changes), sources)


def found(samples: list[RawSample], task: str = "class") -> list[tuple[str, str, str | None]]:
    return [(s.member, s.labels[task], s.split) for s in samples]


def images(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, IMAGE)


CSV = {
    "family": "csv-table",
    "file": "a.zip",
    "table": {"file": "table.csv"},
    "path": "images/{id}.jpg",
    "labels": {"class": "{kind}"},
    "split": "{part}",
}


def published_by(fixture: Fixture, manifest: Manifest) -> Manifest:
    """Return the manifest with the fixture's files as the only mirrors, and their checksums."""
    assert {entry.name for entry in manifest.files} <= set(fixture.files)
    entries = []
    for entry in manifest.files:
        path = fixture.files[entry.name]
        is_git = entry.checksum.startswith("git:")
        assert path.is_dir() == (is_git or entry.checksum.startswith("tree:"))
        found = {
            "checksum": f"git:{committed(path)}" if is_git else checksum(path),
            "size": None,
            "sha256": None,  # of the published file
            "mirrors": [Mirror(kind="git" if is_git else "file", url=str(path))],
        }
        entries.append(entry.model_copy(update=found))
    return manifest.model_copy(update={"files": entries})


def committed(folder: Path) -> str:
    """Make a git repository of a folder and return its commit."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        ["commit", "--quiet", "--message=images"],
        ["rev-parse", "HEAD"],
    ):
        done = subprocess.run(
            ["git", *identity, *command], cwd=folder, env=environment, check=True, stdout=-1
        )
    return done.stdout.decode().strip()
