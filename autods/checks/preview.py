"""Contact sheets of indexed datasets: a row for each class; of a stream, a row for each dataset.

Only the images shown are read; the findings of an earlier audit are shown, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autods.checks.audit import read_audit
from autods.core.files import hash_file
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.errors import UsageError
from autods.index.samples import SampleIndex, load_samples
from autods.manifest.schema import Manifest
from autods.pages.contact_sheet import ContactSheet, Row, Shot
from autods.pages.thumbnails import Pictures

SHOTS = 600  # thumbnails of a sheet, about; each row has 2 to 8
ROWS = 300  # classes of a sheet

Generator = np.random.Generator
Array = npt.NDArray[Any]


def preview_dataset(
    root: DataRoot,
    name: str,
    manifest: Manifest | None = None,
    *,
    task: str | None = None,
    protocol: str = "clean",
    per_row: int | None = None,
    seed: int = 0,
) -> ContactSheet:
    """Return the contact sheet of an indexed dataset, a row for each class.

    Raises `IndexMissing` if it is not indexed, and `UsageError` if it has no image.
    """
    index = load_samples(root, name, manifest)
    labels, codes = index.labels(task), index.split_numbers(protocol)
    names = index.classes[task or index.default_task]
    if not len(index):
        raise UsageError(f"dataset '{name}' has no image; nothing was drawn.")
    pictures, generator = Pictures(root, name), np.random.Generator(np.random.PCG64(seed))
    count = per_row or max(2, min(8, SHOTS // max(1, len(names))))
    by_class = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[by_class], np.arange(len(names) + 1))
    rows = []
    try:
        for number, title in enumerate(names[:ROWS]):
            own = by_class[bounds[number] : bounds[number + 1]]
            rows.append(
                Row(title, _counts(codes[own]), _shots(pictures, own, codes, count, generator))
            )
    finally:
        pictures.close()
    facts, notes, problems = _known(root, index, codes, len(names))
    if len(names) > ROWS:
        notes.append(f"The first {ROWS:,} of {len(names):,} classes are shown.")
    return ContactSheet(f"Preview of {name}", facts, rows, notes, problems)


def preview_datasets(
    root: DataRoot, title: str, names: Sequence[str], *, per_row: int = 8, seed: int = 0
) -> ContactSheet:
    """Return a sheet with a row for each dataset; those that are not indexed say so."""
    rows, absent, images = [], [], 0
    generator = np.random.Generator(np.random.PCG64(seed))
    for name in names:
        if not root.samples(name).is_file():
            absent.append(name)
            continue
        index = load_samples(root, name)
        codes, pictures = index.split_numbers(), Pictures(root, name)
        own = np.flatnonzero(codes >= 0)
        images += len(own)
        try:
            shots = _shots(pictures, own, codes, per_row, generator)
        finally:
            pictures.close()
        classes = len(index.classes[index.default_task])
        rows.append(Row(name, _counts(codes), shots, f"{classes:,} classes"))
    if not rows:
        raise UsageError(
            f"no dataset of '{title}' is indexed under {root.path}; nothing was drawn. Start with "
            "`autods fetch` and `autods index`."
        )
    notes = [f"Not indexed here: {', '.join(absent)}."] if absent else []
    facts = {"datasets": f"{len(rows):,} of {len(names):,}", "images": f"{images:,}"}
    return ContactSheet(f"Preview of {title}", facts, rows, notes)


def _counts(codes: Array) -> dict[str, int]:
    return {split: int((codes == code).sum()) for code, split in enumerate(SPLITS)}


def _shots(
    pictures: Pictures, rows: Array, codes: Array, count: int, generator: Generator
) -> list[Shot]:
    """Draw images, at least one of each split that has some; train first."""
    drawn = generator.permutation(rows[codes[rows] >= 0])
    of_split = [drawn[codes[drawn] == code] for code in range(len(SPLITS))]
    first = [own[:1] for own in of_split if len(own)]
    rest = [own[1:] for own in of_split if len(own)]
    chosen = np.concatenate([*first, *rest])[:count] if first else drawn[:0]
    chosen = chosen[np.argsort(codes[chosen], kind="stable")]
    return [
        Shot.of(pictures.image(sample), SPLITS[codes[sample]], pictures.path(sample))
        for sample in chosen.tolist()
    ]


def _known(
    root: DataRoot, index: SampleIndex, codes: Array, classes: int
) -> tuple[dict[str, str], list[str], list[tuple[str, str]]]:
    """Return facts, notes and unreadable images, of the audit where there is one."""
    facts = {"images": f"{len(index):,}", "classes": f"{classes:,}"}
    facts |= {split: f"{count:,}" for split, count in _counts(codes).items() if count}
    found = read_audit(root, index.dataset)
    if found is None or found["index_sha256"] != hash_file(root.samples(index.dataset), "sha256"):
        return facts, [f"Sizes, copies and unreadable images: autods audit {index.dataset}."], []
    duplicates = found["protocols"]["clean"]["duplicates"]
    facts["copies"] = f"{duplicates['copies']:,}"
    if found["smallest"] is not None:
        sizes = [f"{w:,} x {h:,}" for w, h in (found["smallest"], found["largest"])]
        facts["sizes"] = " to ".join(dict.fromkeys(sizes))
    notes, unreadable = [], found["unreadable"]
    if unreadable["images"]:
        facts["unreadable"] = f"{unreadable['images']:,}"
    in_test = sum(n for pair, n in duplicates["across"].items() if pair.endswith(" in test"))
    if in_test:
        notes.append(f"{in_test:,} images of train and dev are in test, too.")
    if duplicates["conflicts"]["images"]:
        notes.append(f"{duplicates['conflicts']['images']:,} images are copies in two classes.")
    return facts, notes, [(path, reason) for path, reason in unreadable["paths"][:100]]
