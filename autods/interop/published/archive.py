"""What lies where in a published feature archive: an uncompressed tar, or its unpacked folder.

Layout, below any folders: ``<dataset>/metadata.pickle`` and
``<dataset>/feats/<extractor>/{train,val}/data.mdb``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from autods.containers.base import Member, NeedsConversion
from autods.containers.tars import END, list_tar
from autods.core.files import BLOCK
from autods.core.refusals import refusal
from autods.core.slices import open_slice
from autods.core.trees import list_tree
from autods.errors import ContainerError, UsageError

SPLITS = ("train", "val")  # as published
FEATURES = re.compile(r"(?:.*/)?([^/]+)/feats/([^/]+)/([^/]+)/data\.mdb")
METADATA = re.compile(r"(?:.*/)?([^/]+)/metadata\.pickle")


@dataclass(frozen=True)
class Stored:
    """A file read in place: ``size`` bytes from ``offset`` on; ``shown`` is its name in errors."""

    path: Path
    offset: int
    size: int
    shown: str

    def open(self) -> BinaryIO:
        """Return the bytes as a seekable file of their own."""
        try:
            return open_slice(self.path, self.offset, self.size)
        except OSError as error:
            raise ContainerError(f"{self.shown}: cannot be read: {refusal(error).why}") from None

    def sha256(self, told: Callable[[int], None] = lambda size: None) -> str:
        """Return the hash of the bytes; ``told`` learns how many are done.

        Raises `ContainerError` if there are fewer bytes, or they cannot be read.
        """
        digest, left = hashlib.sha256(), self.size
        try:
            with self.path.open("rb") as handle:
                handle.seek(self.offset)
                while left and (block := handle.read(min(BLOCK, left))):
                    digest.update(block)
                    left -= len(block)
                    told(len(block))
        except OSError as error:
            raise ContainerError(f"{self.shown}: cannot be read: {refusal(error).why}") from None
        if left:
            raise ContainerError(f"{self.shown}: ends {left:,} bytes too early")
        return digest.hexdigest()


@dataclass
class PublishedDataset:
    """Where the files of one dataset lie; ``features`` by extractor and published split."""

    folder: str
    metadata: Stored | None = None
    features: dict[str, dict[str, Stored]] = field(default_factory=dict)


def is_published(source: Path) -> bool:
    """Tell whether a path looks like a published archive: a file, or a folder with databases."""
    if source.is_dir():
        return any(FEATURES.fullmatch(name) for name, _, _ in list_tree(source).files)
    return source.is_file()


def open_published(source: Path) -> dict[str, PublishedDataset]:
    """List the datasets of a published archive by their folders, sorted; only names are read."""
    found: dict[str, PublishedDataset] = {}
    for name, file in _files(source):
        if match := FEATURES.fullmatch(name):
            dataset = found.setdefault(match[1], PublishedDataset(match[1]))
            splits = dataset.features.setdefault(match[2], {})
            if match[3] in splits:
                raise _twice(splits[match[3]], file)
            splits[match[3]] = file
        elif match := METADATA.fullmatch(name):
            dataset = found.setdefault(match[1], PublishedDataset(match[1]))
            if dataset.metadata is not None:
                raise _twice(dataset.metadata, file)
            dataset.metadata = file
    if not any(dataset.features for dataset in found.values()):
        raise UsageError(
            f"{source}: expected <dataset>/feats/<extractor>/train/data.mdb and so on, found none; "
            "nothing was imported."
        )
    return dict(sorted(found.items()))


def whole_tar(source: Path) -> list[Member]:
    """List the members of an uncompressed tar; `ContainerError` if its end is missing.

    A tar that was cut off between two members has none: its datasets would be missing silently.
    """
    try:
        members = list_tar(source).members
        with source.open("rb") as handle:
            handle.seek(-len(END), os.SEEK_END)
            if handle.read() == END:
                return members
    except NeedsConversion:
        raise ContainerError(
            f"{source}: it has sparse members, which are not read in place; nothing was imported. "
            "Unpack it and name the folder."
        ) from None
    except (ContainerError, OSError):
        pass
    raise ContainerError(
        f"{source}: expected an uncompressed tar with its end, got something else or half of "
        "one; it was left as it is and nothing was imported. Fetch it again if it is not "
        "whole; unpack it and name the folder if it is compressed."
    )


def _files(source: Path) -> Iterator[tuple[str, Stored]]:
    if source.is_dir():
        for name, size, _ in list_tree(source).files:
            if PurePosixPath(name).name in ("metadata.pickle", "data.mdb"):
                yield name, Stored(source / name, 0, size, str(source / name))
        return
    for member in whole_tar(source):
        shown = f"{source.name}/{member.name}"
        yield member.name, Stored(source, member.offset, member.size, shown)


def _twice(first: Stored, second: Stored) -> ContainerError:
    return ContainerError(
        f"{first.shown} and {second.shown} are of the same dataset: expected each once; nothing "
        "was imported. Name a folder that holds one of the two."
    )
