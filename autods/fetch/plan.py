"""What a fetch will do, told without a byte of network and without writing anything.

`autods.fetch.space` compares the plan with the disk, `autods.fetch.many` divides it by hosts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autods.core.credentials import hub_credentials
from autods.core.home import expanded
from autods.core.root import DataRoot
from autods.fetch.digests import size_of
from autods.fetch.mirrors import users_mirrors
from autods.fetch.part_files import part_of
from autods.fetch.records import missing_files
from autods.fetch.sizes import Basis, Size, ask_sizes, copy_size, stated_size
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

    ``size`` is ``None`` if unknown; ``basis`` says how it is known. Nothing is done for a
    ``verified`` file: it is in place and recorded. ``kind`` and ``host`` are those of the mirror
    that is asked first. ``copy`` counts the bytes of the uncompressed copy that indexing will
    make beside it, ``None`` if unknown.
    """

    name: str
    size: int | None
    here: int
    verified: bool
    kind: str
    host: str
    basis: Basis = "unknown"
    copy: int | None = 0

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
    def copies(self) -> int | None:
        """Bytes of the copies that indexing will make, ``None`` where one is unknown."""
        return _total([file.copy for file in self.files])

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
        sums["copies"] = self.copies
        files = [{**asdict(file), "remaining": file.remaining} for file in self.files]
        texts = {"licence": self.licence, "access": self.access, "acceptance": self.acceptance}
        return {"dataset": self.dataset, **sums, **texts, "hosts": self.hosts, "files": files}


def plan_dataset(
    manifest: Release,
    root: DataRoot,
    mirrors: Sequence[str] = (),
    answers: Mapping[str, int] | None = None,
) -> PlannedDataset:
    """Return what is here of a dataset and where the rest would come from.

    ``answers`` has sizes that servers told, by the names of files, see `measure`.
    """
    missing = missing_files(manifest, root)
    files = [
        _plan_file(manifest.name, entry, entry.name not in missing, root, mirrors, answers or {})
        for entry in manifest.files
    ]
    acceptance = manifest.acceptance.url if manifest.acceptance else None
    return PlannedDataset(
        manifest.name, tuple(files), manifest.licence, manifest.access, acceptance
    )


def measure(
    manifests: Sequence[Release], root: DataRoot, mirrors: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """Ask the servers for the sizes that no manifest states exactly.

    Return dataset to file to bytes, of the servers that answer. Files that are here or whose
    download has begun are not asked for.
    """
    wanted = [
        (manifest.name, entry, _first(manifest.name, entry, root, mirrors))
        for manifest in manifests
        for entry in manifest.files
        if entry.size is None and not size_of(root.archive(manifest.name, entry.name))
    ]
    answers: dict[str, dict[str, int]] = {}
    sizes = ask_sizes([(entry, mirror) for _, entry, mirror in wanted])
    for (dataset, entry, _), size in zip(wanted, sizes, strict=True):
        if size is not None:
            answers.setdefault(dataset, {})[entry.name] = size
    return answers


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


def _plan_file(
    dataset: str,
    entry: FileEntry,
    verified: bool,
    root: DataRoot,
    mirrors: Sequence[str],
    answers: Mapping[str, int],
) -> PlannedFile:
    target = root.archive(dataset, entry.name)
    first = _first(dataset, entry, root, mirrors)
    here = size_of(target) if target.exists() else size_of(part_of(target))
    if verified:
        size = Size(here, "exact")
    elif entry.size is None and entry.name in answers:
        size = Size(answers[entry.name], "answered")
    else:
        size = _known_size(entry, target, first)
    copy = copy_size(dataset, entry, size.bytes, root)
    return PlannedFile(
        entry.name, size.bytes, here, verified, first.kind, host_of(first), size.basis, copy
    )


def _first(dataset: str, entry: FileEntry, root: DataRoot, mirrors: Sequence[str]) -> Mirror:
    extra = [  # a folder without the file is passed over
        mirror
        for mirror in users_mirrors(mirrors, dataset, entry)
        if mirror.kind != "file" or Path(mirror.url).exists()
    ]
    part = part_of(root.archive(dataset, entry.name))
    return _first_asked([*extra, *entry.mirrors], extra, part)


def _first_asked(mirrors: list[Mirror], extra: list[Mirror], part: Path) -> Mirror:
    """Return the mirror that `autods.fetch` asks first: a part goes on where it came from."""
    begun = Seen.load(part).url
    group = extra or mirrors
    return next((mirror for mirror in group if shown(mirror.url) == begun), group[0])


def _known_size(entry: FileEntry, target: Path, first: Mirror) -> Size:
    """Return the size that the manifest, an earlier answer or the local original tells.

    At last the manifest's rough size: it is for plans only.
    """
    if entry.size is not None:
        return stated_size(entry)
    if target.exists():  # not verified yet; most likely the file itself
        return Size(size_of(target), "exact")
    if first.kind == "file":
        origin = expanded(first.url)
        return Size(size_of(origin), "exact") if origin.exists() else Size(None, "unknown")
    total = Seen.load(part_of(target)).total
    return stated_size(entry) if total is None else Size(total, "answered")


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
