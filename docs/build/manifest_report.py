"""Write docs/benchmarks/manifests.md: what was checked and completed in the shipped manifests.

The state before is read from git, the names from the file of the tests:

    python docs/build/manifest_report.py
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rich.filesize import decimal

from autods.core.root import DataRoot
from autods.fetch.plan import plan_dataset
from autods.fetch.space import copies_to_come, estimated_remaining, known_remaining
from autods.manifest.catalogue import Catalogue, load
from autods.manifest.schema import Manifest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "manifests.md"
NAMES = ROOT / "tests" / "autods" / "manifest" / "published_names.yaml"
START, TAG = "099d95c^", "edc12e7"  # before the first of these changes; when half were made

INTRODUCTION = """\
# Manifests against independent material

Written by `python docs/build/manifest_report.py`; do not edit it by hand. The manifests of 77
datasets were compared with lists, loaders and records that others published. What was found is in
the manifests, each fact with its source (`stated_by` of a file or mirror, `expected.source`,
`quirks`); `autods info NAME` shows it.

## Sizes and checksums
"""

COUNTS = """\
Every file has a checksum. *Exact*: all sizes of a dataset are published, with the checksum or for
the same address. *Published*: exact, or as a text states them roughly or for no certain version.
*Told*: published, or estimated from the number and kind of images, which the plan marks with `~`.
Kaggle publishes neither checksums nor sizes of archives, which is why most estimates are of its
datasets.

`scripts/compare_checksums.py` compares checksums and sizes with lists that you give it. With those
of torchvision 0.29.1, TFDS 4.9.10, torchgeo 0.8.1, NEVIS, USC-DCT and the git-annex listings of
three datasets of datasets-mila: {compared}
"""
COMPARED = (
    "of 105 files 83 are compared by checksum, none differs, and of 22 no list says anything. The "
    "18 SHA-256 values that we lacked are in the manifests now."
)

SOUGHT = """\
## Looked for and not found

In the text of public repositories (names of archives, addresses with a version number, lines of the
Kaggle client, tables of datasets), in the file lists of copies on Hugging Face and in stored web
pages, without success:

- the sizes of {estimated} files, which are estimated;
- any version of these Kaggle datasets: {unversioned};
- which of the known versions has the bytes that the manifest describes: {several};
- a revision of `aharley/rvl_cdip`: everybody names `main`, the checksums guard it;
- a second place of the labelled test list of cars; many scripts link a copy on a Kaggle page that
  gives no single file;
- names of single files of satellite and histaerial.
"""

PLAN = """\
## The plan

`autods fetch --stream stream71 --dry-run` on an empty root ({files} files): **{total}** to fetch,
{estimated} of it estimated; the copies that `index` makes of what cannot be read in place take
about {copies} more. At the start the same command said {before} and {unknown} files of unknown
size.
"""

GROUPS = """\
## Groups, by several real names each

Groups keep together what belongs together, so a pattern that was written from one name is not
enough: the one for colorectal made `10c.tif` a slide of its own.
`tests/autods/manifest/published_names.yaml` has the names; a test reads all of them, {names} of
{datasets} datasets, {plain} of these without a group. Not checked so, for no names of single
files were found: satellite and histaerial, whose folders are confirmed. Patterns that take whole
folders only (`{{class}}/*`) cannot be misled by the name of a file, but by a folder that nobody
named: `origami_classification_data` of oriset has a third one, oriwiki.
"""

CHANGES = """\
## What changed

Since the independent checks began. Readable names are ours: the published names in words; for
GTSRB, EMNIST, HAM10000 and the retina sets what their numbers and codes stand for (general
knowledge).
"""

# What a diff cannot tell: who says so.
SOURCES = {
    "cars": "pytorch/vision issue 7545; tgabriel22/Doc (devkit)",
    "cataract": "yiweichen04/retina_dataset",
    "colorectal": "public loaders that name single tiles",
    "core50": "core50_labels.txt of vlomonaco/core50 (readable names)",
    "domainnet_real": "datasets-mila/datasets--domainnet; copies of both versions of the lists",
    "domainnet_sketch": "datasets-mila/datasets--domainnet; copies of both versions of the lists",
    "freiburg": "PhilJd/freiburg_groceries_dataset (lists, classid.txt)",
    "galaxy10": "README of henrysky/Galaxy10",
    "kvasircapsule": "simula/kvasir-capsule (README, LICENSE.md, splits), public Training_set.csv",
    "manga": "public README",
    "histaerial": "iLab-USC/USC-DCT (names of folders)",
    "office": "lists of cuishuhao/BNM; DomainBed loaders",
    "oriset": "public file index of the authors' repository",
    "pcam": "torchvision, TFDS patch_camelyon",
    "planets": "README of the author's repository",
    "resisc45": "torchgeo",
    "rvl": "dataset_infos.json of huggingface/datasets",
    "santa": "nine public scripts",
    "sports": "public scripts that cache version 9",
}
KINDS = {"size": "exact", "about": "published", "estimate": "estimated"}


def page() -> str:
    """Return the whole page."""
    now = {name: Catalogue().dataset(name) for name in Catalogue().datasets()}
    start, tag = at_commit(START), at_commit(TAG)
    parts = [INTRODUCTION, completeness({"at the start": start, f"at {TAG}": tag, "now": now})]
    parts += [COUNTS.format(compared=COMPARED), sought(now), plan(start, now), groups()]
    parts += [CHANGES, changes(start, now)]
    return "\n".join(parts)


def sought(now: Mapping[str, Manifest]) -> str:
    """Return what was looked for and not found."""
    entries = [(name, entry) for name, manifest in now.items() for entry in manifest.files]
    loose = [
        (name, mirror.versions)
        for name, entry in entries
        for mirror in entry.mirrors
        if mirror.kind == "kaggle" and "@" not in mirror.url
    ]
    return SOUGHT.format(
        estimated=sum(entry.estimate is not None for _, entry in entries),
        unversioned=", ".join(name for name, versions in loose if not versions),
        several=", ".join(name for name, versions in loose if versions),
    )


def at_commit(commit: str) -> dict[str, Manifest]:
    """Return the shipped manifests of a commit."""
    command = ["git", "-C", str(ROOT), "archive", commit, "manifests/datasets"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        found = [load(path, Manifest) for path in sorted(Path(folder).rglob("*.yaml"))]
    return {manifest.name: manifest for manifest in found}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def completeness(states: Mapping[str, Mapping[str, Manifest]]) -> str:
    """Return how many datasets have all sizes, at several times."""
    head = ["manifests of 77", "exact", "published", "told", "files exact", "Kaggle pinned"]
    rows = []
    for when, manifests in states.items():
        files = [list(manifest.files) for manifest in manifests.values()]
        every = [entry for entries in files for entry in entries]
        mirrors = [m for entry in every for m in entry.mirrors if m.kind == "kaggle"]
        exact = sum(entry.size is not None for entry in every)
        pinned = sum("@" in mirror.url for mirror in mirrors)
        rows.append(
            [
                when,
                sum(all(e.size is not None for e in entries) for entries in files),
                sum(all((e.size or e.about) is not None for e in entries) for entries in files),
                sum(all(e.roughly is not None for e in entries) for entries in files),
                f"{exact} of {len(every)}",
                f"{pinned} of {len(mirrors)}",
            ]
        )
    return table(head, rows)


def plan(start: Mapping[str, Manifest], now: Mapping[str, Manifest]) -> str:
    """Return what the plan of the whole stream says, and said."""
    names = [item.dataset for item in Catalogue().stream("stream71").datasets]
    with TemporaryDirectory() as folder:
        root = DataRoot(Path(folder) / "root")
        plans = [plan_dataset(now[name], root) for name in names]
        before = [plan_dataset(start[name], root) for name in names]
    known, estimated = known_remaining(plans), estimated_remaining(plans)
    return PLAN.format(
        files=sum(len(plan.files) for plan in plans),
        total=decimal(known + estimated),
        estimated=decimal(estimated),
        copies=decimal(copies_to_come(plans)),
        before=decimal(known_remaining(before)),
        unknown=sum(file.remaining is None for plan in before for file in plan.files),
    )


def groups() -> str:
    """Return the published names of datasets with groups, and the group that each gets."""
    published: dict[str, Any] = yaml.safe_load(NAMES.read_text(encoding="utf-8"))
    rows = []
    for dataset, value in published.items():
        for name in value["names"] if "group" in value["names"][0] else ():
            if "path" in name:
                shown = name["path"].split("/", 2)[-1]
            else:
                shown = ", ".join(f"{column} {value}" for column, value in name["row"].items())
            rows.append([dataset, f"`{shown}`", name["group"]])
    text = GROUPS.format(
        names=sum(len(value["names"]) for value in published.values()),
        datasets=len(published),
        plain=sum("group" not in value["names"][0] for value in published.values()),
    )
    return text + "\n" + table(["dataset", "name", "group"], rows)


def changes(start: Mapping[str, Manifest], now: Mapping[str, Manifest]) -> str:
    """Return a row for each dataset."""
    rows = []
    for name, manifest in now.items():
        found = list(differences(start[name], manifest))
        rows.append([name, "; ".join(found) or "nothing", _sources(manifest)])
    return table(["dataset", "changed", "source"], rows)


def differences(old: Manifest, new: Manifest) -> Iterable[str]:
    """Yield what changed, in words."""
    before = {entry.name: entry for entry in old.files}
    for entry in new.files:
        was = before.get(entry.name)
        if was is None:
            yield f"file {entry.name} added"
            continue
        if was.checksum != entry.checksum:
            yield f"checksum of {entry.name}"
        if entry.sha256 and not was.sha256:
            yield f"SHA-256 of {entry.name}"
        if (was.size, was.about) != (entry.size, entry.about) or entry.estimate:
            kind = next(word for key, word in KINDS.items() if getattr(entry, key) is not None)
            yield f"{entry.name} {decimal(entry.roughly or 0)} ({kind})"
        yield from _mirror_changes([m.url for m in was.mirrors], entry)
    for key in ("licence", "layout", "splits", "expected"):
        if getattr(old, key) != getattr(new, key):
            yield key
    for task, spec in new.tasks.items():
        if task not in old.tasks:
            yield f"label set {task} added"
        elif (names := spec.names()) != (was_names := old.tasks[task].names()):
            same = sorted(names or ()) == sorted(was_names or ())
            yield f"{'order of ' if same else ''}classes of {task}"
    count = sum(len(spec.readable) for spec in new.tasks.values())
    if count:
        yield f"{count} readable name" + ("s" if count > 1 else "")
    if old.quirks != new.quirks:
        yield "quirks"


def _mirror_changes(before: list[str], entry: Any) -> Iterable[str]:
    for mirror in entry.mirrors:
        name, _, version = mirror.url.partition("@")
        if mirror.kind == "kaggle" and version and name in before:
            yield f"pinned to version {version}"
        elif mirror.versions:
            yield f"versions up to {max(mirror.versions)} known"
        elif mirror.url not in before:
            yield f"mirror {mirror.kind} added"


def _sources(manifest: Manifest) -> str:
    stated = [entry.stated_by for entry in manifest.files]
    stated += [mirror.stated_by for entry in manifest.files for mirror in entry.mirrors]
    found = [SOURCES.get(manifest.name), *stated]
    return "; ".join(dict.fromkeys(text for text in found if text))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)
