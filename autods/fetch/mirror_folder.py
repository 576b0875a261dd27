"""Copy what was fetched into a folder that ``--mirror`` reads, at ``<mirror>/<dataset>/<file>``.

Every copy is hashed before it gets its name; one that was ended is continued.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autods.core.files import atomic, held
from autods.core.home import expanded
from autods.core.progress import Progress
from autods.core.refusals import refusal
from autods.core.root import DataRoot, inside
from autods.core.shell import quoted
from autods.errors import AutodsError, FetchError, UsageError
from autods.fetch import fetch_file, unwritable_explained
from autods.fetch.digests import is_folder, size_of
from autods.fetch.records import missing_files
from autods.manifest.catalogue import Catalogue
from autods.manifest.sources import FileEntry, Mirror, Release

README = "README.md"
RECORDS = ".autods"  # what was copied and verified, so that it is not hashed again
LACKING = (  # a section's title and first line, and the field of `Mirrored` that it lists
    ("Missing", "Not fetched when this was written:", "missing"),
    ("Not in a mirror", "Commits of git repositories, which git itself fetches:", "git"),
    ("Not over the web", "Folders: fetch them from a copy of this folder.", "folders"),
)
RECIPE = """# Mirror of datasets

Every file is at `<mirror>/<dataset>/<file>`, as published. Whoever fetches from here checks it
against the checksum in its manifest. The licences hold for copies, too; many forbid a public one.

| dataset | files | size | licence |
|---|---|---|---|
{rows}

## Fetch from it

```sh
autods fetch {names} --mirror {place}
autods fetch {names} --mirror http://HOST:8080
```

Files that it lacks come from their published addresses.

## Serve it

With nginx, which continues broken downloads:

```nginx
server {{
    listen 8080;
    root {quoted};
    autoindex on;
    location ~ /\\. {{ deny all; }}
}}
```

For an afternoon, with Python (a broken download begins anew):

```sh
python -m http.server 8080 --directory {place}
```

## Copy it

```sh
rsync -a --partial --exclude '*.part' --exclude '*.part.json' {place}/ HOST:/srv/mirror/
```
"""


@dataclass(frozen=True)
class MirrorRoot(DataRoot):
    """The layout of a mirror, for the code that fetches into a data root."""

    def archive(self, name: str, file: str) -> Path:
        """Return the place of one file."""
        return inside(self.path / name, file)

    def record(self, name: str) -> Path:
        """Return the path of the record of what was copied."""
        return self.path / RECORDS / f"{name}.json"


@dataclass
class Mirrored:
    """What a mirror has of one dataset, by file; ``git``: a mirror cannot hold it."""

    dataset: str
    licence: str | None
    copied: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # of those: no web server gives them
    missing: list[str] = field(default_factory=list)  # not fetched
    git: list[str] = field(default_factory=list)
    size: int = 0  # bytes in the mirror

    @property
    def lacking(self) -> list[str]:
        """Files that are not in the mirror."""
        return [*self.missing, *self.git]

    @property
    def held(self) -> list[str]:
        """Files that are in the mirror."""
        return [*self.copied, *self.kept]


def mirror_dataset(
    manifest: Release, root: DataRoot, folder: Path, progress: Progress, *, link: bool = False
) -> Mirrored:
    """Bring what is fetched of a dataset into a mirror; with ``link``, by hard links.

    Raises `FetchError` for an archive that is not the published file any more (its copy is set
    aside), or a mirror that cannot be written, and `UsageError` where links are impossible.
    """
    done = Mirrored(manifest.name, manifest.licence)
    target, missing = MirrorRoot(folder), missing_files(manifest, root)
    lock = held(target.record(manifest.name), f"the mirror of {manifest.name}", progress.note)
    with unwritable_explained(manifest.name, target), lock:
        for entry in manifest.files:
            if entry.name in missing:
                done.missing.append(entry.name)
            elif entry.checksum.startswith("git:"):
                done.git.append(entry.name)
            else:
                _copy(manifest.name, entry, root, target, progress, link, done)
    return done


def held_before(folder: Path, catalogue: Catalogue, without: Sequence[str]) -> Iterator[Mirrored]:
    """Yield what a mirror has of datasets that earlier commands copied into it."""
    target = MirrorRoot(folder)
    for record in sorted((folder / RECORDS).glob("*.json")):
        if record.stem in without or record.stem not in catalogue.datasets():
            continue
        with suppress(AutodsError):  # a manifest or record that cannot be read
            manifest = catalogue.dataset(record.stem)
            missing = missing_files(manifest, target)
            names = [entry.name for entry in manifest.files]
            git = [e.name for e in manifest.files if e.checksum.startswith("git:")]
            kept = [name for name in names if name not in missing]
            yield Mirrored(
                manifest.name,
                manifest.licence,
                kept=kept,
                folders=[e.name for e in manifest.files if e.checksum.startswith("tree:")],
                missing=[name for name in missing if name not in git],
                git=git,
                size=sum(size_of(target.archive(manifest.name, name)) for name in kept),
            )


def check_mirror_folder(folder: Path, root: DataRoot) -> Path:
    """Return the folder of a mirror; `UsageError` for a file, or a folder of the data root."""
    folder = expanded(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; expected a folder; nothing was copied.")
    if folder == root.path or root.path / root.folder in (folder, *folder.parents):
        raise UsageError(
            f"{folder} holds the data root itself; expected another folder; nothing was copied."
        )
    return folder


def write_recipe(folder: Path, mirrored: Sequence[Mirrored]) -> Path:
    """Write how to serve the mirror and fetch from it; return the file."""
    with atomic(folder / README) as temporary:
        temporary.write_text(_recipe(folder, mirrored), encoding="utf-8")
    return folder / README


def _copy(
    dataset: str,
    entry: FileEntry,
    root: DataRoot,
    target: DataRoot,
    progress: Progress,
    link: bool,
    done: Mirrored,
) -> None:
    origin, place = root.archive(dataset, entry.name), target.archive(dataset, entry.name)
    linked = link and not is_folder(entry.checksum) and not place.exists()
    if linked:
        _link(origin, place)
    mirror = Mirror.model_validate({"kind": "file", "url": str(origin)})
    try:
        file = fetch_file(dataset, entry, [[mirror]], target, progress)
    except FetchError as error:
        step = f"Move {origin} away and run 'autods fetch {dataset}', then this command again."
        raise type(error)(error.message, step, dataset=dataset) from None
    (done.copied if file.fetched or linked else done.kept).append(entry.name)
    done.size += file.size
    if is_folder(entry.checksum):
        done.folders.append(entry.name)


def _link(origin: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(origin, place)
    except OSError as error:
        raise UsageError(
            f"{place}: no hard link to {origin} can be made: {refusal(error).why}; nothing was "
            "changed. Leave --link out: the files are copied then."
        ) from None


def _recipe(folder: Path, mirrored: Sequence[Mirrored]) -> str:
    from rich.filesize import decimal

    rows = [
        f"| {one.dataset} | {len(one.held)} of {len(one.held) + len(one.lacking)} "
        f"| {decimal(one.size)} | {_cell(one.licence or 'unknown')} |"
        for one in mirrored
    ]
    text = RECIPE.format(
        rows="\n".join(rows),
        names=" ".join(one.dataset for one in mirrored if one.held),
        place=quoted(folder),
        quoted='"{}"'.format(str(folder).replace("\\", "\\\\").replace('"', '\\"')),
    )
    for title, why, kind in LACKING:
        if lines := [f"- {one.dataset}/{file}" for one in mirrored for file in getattr(one, kind)]:
            text += "\n".join([f"\n## {title}\n\n{why}\n", *lines, ""])
    return text


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
