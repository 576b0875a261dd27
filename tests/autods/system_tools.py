"""System tools that tests need: CI must have them, elsewhere a test without one is skipped."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def tool(*names: str) -> str:
    """The path of the first of these executables that is installed."""
    for name in names:
        if path := shutil.which(name):
            return path
    assert os.environ.get("CI") != "true", f"CI has none of {names}; see scripts/test.sh"
    return pytest.skip(f"none of {', '.join(names)} is installed")


def seven_zip() -> str:
    return tool("7zz", "7z", "7za")


def make_7z(path: Path, files: Mapping[str, bytes], *options: str) -> Path:
    """Write an archive by 7-Zip: a 7z, or what the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(path.name + ".content")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    command = [seven_zip(), "a", "-bd", *options, str(path.resolve()), "."]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder)
    return path


def make_deflate64(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip with deflate64 data, as Windows makes them of large files."""
    return make_7z(path, files, "-tzip", "-mm=Deflate64")


def only(folder: Path, *names: str) -> str:
    """A PATH on which nothing but these executables is found."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(tool(name))
    return str(folder)
