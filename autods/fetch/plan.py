"""What a fetch will do, told without a byte of network and without writing anything.

`autods.fetch.many` checks the free space against the plan and divides the work by its hosts.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from autods.core.credentials import hub_credentials
from autods.core.root import DataRoot
from autods.errors import DiskFull, FetchError
from autods.fetch.digests import size_of
from autods.fetch.mirrors import users_mirrors
from autods.fetch.part_files import part_of
from autods.fetch.records import missing_files
from autods.fetch.sources.base import Seen, shown
from autods.manifest.sources import FileEntry, Mirror, Release

HERE = "this machine"  # the host of local files
HOSTS = {
    "gdrive": "drive.google.com",
    "huggingface": "huggingface.co",
    "kaggle": "kaggle.com",
    "kaggle-competition": "kaggle.com",
}


@dataclass(frozen=True)
class PlannedFile:
    """One file of a dataset before it is fetched: ``here`` counts the bytes in place or in a part.

    ``size`` is ``None`` if unknown. Nothing is done for a ``verified`` file: it is in place and
    recorded. ``kind`` and ``host`` are those of the mirror that is asked first.
    """

    name: str
    size: int | None
    here: int
    verified: bool
    kind: str
    host: str

    @property
    def remaining(self) -> int | None:
        """Bytes that are still to come, ``None`` where the size is unknown."""
        if self.verified:
            return 0
        return None if self.size is None else max(0, self.size - self.here)


@dataclass(frozen=True)
class PlannedDataset:
    """One dataset before it is fetched; ``acceptance`` is where its licence must be read."""

    dataset: str
    files: tuple[PlannedFile, ...]
    licence: str | None = None
    access: str = "open"
    acceptance: str | None = None

    @property
    def size(self) -> int | None:
        """Bytes of all files, ``None`` where one is unknown."""
        return _total([file.size for file in self.files])

    @property
    def here(self) -> int:
        """Bytes that are under the root."""
        return sum(file.here for file in self.files)

    @property
    def remaining(self) -> int | None:
        """Bytes that are still to come, ``None`` where one size is unknown."""
        return _total([file.remaining for file in self.files])

    @property
    def kinds(self) -> list[str]:
        """What gives the files that are not here, each kind once."""
        return list(dict.fromkeys(file.kind for file in self.files if not file.verified))

    @property
    def hosts(self) -> list[str]:
        """Where the files that are not here come from, each once."""
        return list(dict.fromkeys(file.host for file in self.files if not file.verified))

    @property
    def host(self) -> str:
        """The host that is asked first; this machine, if nothing is to be fetched."""
        return self.hosts[0] if self.hosts else HERE

    def as_json(self) -> dict[str, Any]:
        """Return the plan for programs; unknown sizes are ``None``."""
        sums = {"size": self.size, "here": self.here, "remaining": self.remaining}
        files = [{**asdict(file), "remaining": file.remaining} for file in self.files]
        texts = {"licence": self.licence, "access": self.access, "acceptance": self.acceptance}
        return {"dataset": self.dataset, **sums, **texts, "hosts": self.hosts, "files": files}


def plan_dataset(manifest: Release, root: DataRoot, mirrors: Sequence[str] = ()) -> PlannedDataset:
    """Return what is here of a dataset and where the rest would come from."""
    missing = missing_files(manifest, root)
    files = [
        _plan_file(manifest.name, entry, entry.name not in missing, root, mirrors)
        for entry in manifest.files
    ]
    acceptance = manifest.acceptance.url if manifest.acceptance else None
    return PlannedDataset(
        manifest.name, tuple(files), manifest.licence, manifest.access, acceptance
    )


def tokens(plans: Sequence[PlannedDataset]) -> dict[str, str | None]:
    """Return where the tokens of the hosts stand that will be asked; ``None``: nowhere."""
    from autods.fetch.sources import kaggle
    from autods.fetch.sources.base import MirrorFailed

    kinds = {file.kind for plan in plans for file in plan.files if not file.verified}
    of = {"kaggle": kaggle.credentials, "kaggle-competition": kaggle.credentials}
    found: dict[str, str | None] = {}
    for kind, credentials in {**of, "huggingface": hub_credentials}.items():
        if kind in kinds:
            try:
                token = credentials()
            except MirrorFailed:  # a file that is not a token
                token = None
            found[kind.partition("-")[0]] = token.source if token else None
    return found


def free_bytes(root: DataRoot) -> int:
    """Return the free space of the disk that holds the datasets, in bytes."""
    return shutil.disk_usage(_standing(root)).free


def _standing(root: DataRoot) -> Path:
    """Return the folder of the datasets, or the one above that is there already."""
    place = root.dataset("any").parent
    while not place.exists():
        place = place.parent
    return place


def check_space(plans: Sequence[PlannedDataset], root: DataRoot) -> None:
    """Raise `DiskFull` if a fetch is known not to fit; unknown sizes count as nothing.

    Raises `FetchError` if nothing can be written: read-only disks say that nothing is free.
    """
    from rich.filesize import decimal

    needed, free = known_remaining(plans), free_bytes(root)
    if needed <= free:
        return
    try:
        with TemporaryDirectory(dir=_standing(root)):
            pass
    except OSError as error:
        raise FetchError(
            f"cannot write below {_standing(root)}: {error.strerror}. Nothing was fetched.",
            "Correct the permissions or choose another --root, then run the same command again.",
        ) from None
    largest = sorted(plans, key=lambda plan: known_remaining([plan]), reverse=True)[:5]
    sizes = ", ".join(f"{plan.dataset} {decimal(known_remaining([plan]))}" for plan in largest)
    unknown = sum(plan.remaining is None for plan in plans)
    more = f", and {unknown} dataset(s) of unknown size" if unknown else ""
    raise DiskFull(
        f"not enough space under {root.path}: {decimal(needed)} are still to come{more}; "
        f"{decimal(free)} are free. Nothing was fetched.",
        "Free space, choose a larger disk with --root, or name fewer datasets; the largest: "
        f"{sizes}.",
    )


def known_remaining(plans: Sequence[PlannedDataset]) -> int:
    """Return the bytes still to come of all files whose size is known."""
    return sum(file.remaining or 0 for plan in plans for file in plan.files)


def _plan_file(
    dataset: str, entry: FileEntry, verified: bool, root: DataRoot, mirrors: Sequence[str]
) -> PlannedFile:
    target = root.archive(dataset, entry.name)
    extra = [  # a folder without the file is passed over
        mirror
        for mirror in users_mirrors(mirrors, dataset, entry)
        if mirror.kind != "file" or Path(mirror.url).exists()
    ]
    first = _first_asked([*extra, *entry.mirrors], extra, part_of(target))
    here = size_of(target) if target.exists() else size_of(part_of(target))
    size = here if verified else _known_size(entry, target, first)
    return PlannedFile(entry.name, size, here, verified, first.kind, host_of(first))


def _first_asked(mirrors: list[Mirror], extra: list[Mirror], part: Path) -> Mirror:
    """Return the mirror that `autods.fetch` asks first: a part goes on where it came from."""
    begun = Seen.load(part).url
    group = extra or mirrors
    return next((mirror for mirror in group if shown(mirror.url) == begun), group[0])


def _known_size(entry: FileEntry, target: Path, first: Mirror) -> int | None:
    """Return the size that the manifest, an earlier answer or the local original tells.

    At last the manifest's rough size: it is for plans only.
    """
    if entry.size is not None:
        return entry.size
    if target.exists():  # not verified yet; most likely the file itself
        return size_of(target)
    if first.kind == "file":
        origin = Path(first.url).expanduser()
        return size_of(origin) if origin.exists() else None
    return Seen.load(part_of(target)).total or entry.about


def host_of(mirror: Mirror) -> str:
    """Return the host behind a mirror; all local files count as one."""
    if mirror.kind == "file":
        return HERE
    if mirror.kind in HOSTS:
        return HOSTS[mirror.kind]
    if "://" in mirror.url:
        return urlsplit(mirror.url).hostname or HERE
    machine, colon, _ = mirror.url.partition(":")  # git@host:path, else a local repository
    return machine.rpartition("@")[2] if colon and "/" not in machine else HERE


def _total(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
