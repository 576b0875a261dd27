"""Write a manifest for images that a CSV file lists: path, label, perhaps split.

The rows are copied to a table beside the manifest, so that the delimiter, quotes and folder
of the original file need no keys in the manifest.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from autods.containers.base import printable
from autods.core.csv_files import NOTHING, CsvFile, read_csv
from autods.core.files import atomic, hash_file
from autods.core.image_signs import ENOUGH, image_suffix
from autods.core.label_texts import whole_texts
from autods.core.output import counted, some_of
from autods.core.registry import unknown
from autods.errors import LayoutError, UsageError
from autods.layouts.base import is_image
from autods.manifest.new.common import (
    TEST_FRACTION,
    check_target,
    folder_entry,
    listed_tree,
    mirror_to,
    next_steps,
    whether_copied,
    write_manifest,
)
from autods.manifest.new.remarks import class_table, drawn
from autods.manifest.new.split_names import USUAL, splits_of

IMAGES, LABELS = ("path", "image", "file", "filename"), ("label", "class")
SHOWN = 3  # wrong rows that a message names


class _Image(NamedTuple):
    line: int
    path: Path  # absolute, without links or '..'
    label: str
    split: str  # train, dev, test, or "" where the file names none


def manifest_from_csv(
    name: str, table: Path, out_dir: Path, *, in_place: bool = False
) -> tuple[Path, list[str]]:
    """Write ``<out_dir>/<name>.yaml`` and ``<name>.csv`` for the images that a file lists.

    Columns: ``path`` or ``image``, ``label``, and perhaps ``split`` (train, val, test, or
    their usual other names). Without test rows a stratified fifth of each class becomes the
    test split. ``table`` is UTF-8, its cells divided by commas, semicolons, tabs or ``|``;
    paths are relative to its folder, or absolute. ``in_place``: fetching uses the images where they
    are. The lines returned are for the user.
    """
    target = out_dir / f"{name}.yaml"
    check_target(name, target)
    if not table.is_file():
        raise UsageError(f"{table}: expected a CSV file; {NOTHING}.")
    found = read_csv(table, wanted=[IMAGES, LABELS])
    images = _images(table, found)
    folder = _common(table, images)
    tree = listed_tree(folder)
    present = {image.split for image in images}
    if "" not in present and "train" not in present:
        raise LayoutError(f"{table}: expected rows with split 'train', got none; {NOTHING}.")
    official = {"train", "test"} <= present
    copy = target.with_suffix(".csv")
    _write_table(copy, folder, images)
    layout = {
        "family": "csv-table",
        "file": "images",
        "table": {"file": copy.name},
        "keep_blanks": True,
        "path": "{path}",
        "labels": {"class": "{label}"},
        **({"split": "{split}"} if official else {}),
    }
    listed = {
        "name": copy.name,
        "checksum": f"sha256:{hash_file(copy, 'sha256')}",
        "mirrors": [{"kind": "file", "url": mirror_to(copy, out_dir)}],
    }
    rule: dict[str, Any] = {"rule": "random", "test_fraction": TEST_FRACTION}
    if official:
        rule = {"rule": "official", **({"dev": ["dev"]} if "dev" in present else {})}
    write_manifest(
        target,
        title=f"Images listed in {table.resolve().name}",
        files=[folder_entry(folder, out_dir, in_place), listed],
        layout=layout,
        splits={"clean": rule},
    )
    remarks = _remarks(table, found, folder, len(tree.files), images, rule)
    return target, [*remarks, whether_copied(in_place), *next_steps(target)]


def _images(table: Path, found: CsvFile) -> list[_Image]:
    """Check every row; missing images are reported together."""
    image, label = _first(IMAGES, found), _first(LABELS, found)
    labels = whole_texts([cells[label] for _, cells in found.rows])
    usual = splits_of({cells.get("split", "").strip() for _, cells in found.rows})
    images: list[_Image] = []
    lines: dict[Path, int] = {}
    missing: list[str] = []
    for (line, cells), text in zip(found.rows, labels, strict=True):
        for column in (image, label):
            if not cells[column].strip():
                raise LayoutError(f"{table}: line {line}: '{column}' is empty; {NOTHING}.")
        path = Path(os.path.normpath(table.parent.resolve() / cells[image]))
        if (first := lines.setdefault(path, line)) != line:
            raise LayoutError(
                f"{table}: line {line}: '{cells[image]}' is in line {first} already; expected "
                f"each image once; {NOTHING}. Delete one of the two."
            )
        if not path.is_file():
            missing.append(f"line {line}: '{cells[image]}'")
        split = cells.get("split", "").strip()
        if "split" in cells and split not in usual:
            known = [name for names in USUAL.values() for name in names]
            raise LayoutError(f"{table}: line {line}: {unknown('split', split, known)}; {NOTHING}.")
        images.append(_Image(line, path, text, usual.get(split, "")))
    if missing:
        raise LayoutError(
            f"{table}: {counted(len(missing), 'image')} not found below {table.parent.resolve()}: "
            f"{some_of(missing, SHOWN)}; {NOTHING}. Paths are relative to the CSV file."
        )
    return images


def _common(table: Path, images: list[_Image]) -> Path:
    """Return the deepest folder that holds all images; it is what gets fetched."""
    folder = Path(os.path.commonpath([image.path.parent for image in images]))
    if folder == Path(folder.anchor):
        raise LayoutError(
            f"{table}: its images share no folder but {folder}, all of which would be fetched; "
            f"{NOTHING}. Bring them below one folder."
        )
    return folder


def _write_table(target: Path, folder: Path, images: list[_Image]) -> None:
    """Write what the manifest reads; the same file, of a call that was cut short, stays."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    for image in images:
        relative = image.path.relative_to(folder).as_posix()
        if printable(relative) != relative:
            raise LayoutError(f"line {image.line}: expected a path in UTF-8; {NOTHING}.")
        writer.writerow([relative, image.label, image.split])
    content = text.getvalue().encode()
    if target.is_file() and target.read_bytes() == content:
        return
    if target.exists():
        raise UsageError(
            f"{target} exists already and was left as it is; it would be written beside the "
            "manifest. Move it, or choose another name or --out."
        )
    with atomic(target) as temporary:
        temporary.write_bytes(content)


def _remarks(
    table: Path,
    found: CsvFile,
    folder: Path,
    files: int,
    images: list[_Image],
    rule: Mapping[str, Any],
) -> list[str]:
    pairs = [(image.label, image.split) for image in images]
    classes = {normalize("NFC", image.label) for image in images}
    text = f"{counted(len(images), 'image')} in {counted(len(classes), 'class', 'classes')}"
    text += drawn(pairs, rule)
    if files > len(images):
        other = counted(files - len(images), "other file")
        text += f"; {other} below {folder} will be fetched with them"
    lines = [f"{text}.", *class_table(pairs, rule)]
    used = [_first(IMAGES, found), _first(LABELS, found), "split"]
    if others := [repr(column) for column in found.columns if column not in used]:
        chosen = " and ".join(repr(column) for column in used if column in found.columns)
        lines.append(f"{table.name}: columns {chosen} are used, {', '.join(others)} not.")
    if any(
        cells[used[1]] != image.label for (_, cells), image in zip(found.rows, images, strict=True)
    ):
        lines.append(f"{table.name}: labels are whole numbers, '1.0' is written as '1'.")
    strange = [image for image in images if not _may_be_image(image.path)]
    if strange:
        shown = ", ".join(repr(image.path.name) for image in strange[:SHOWN])
        shown += ", ..." if strange[SHOWN:] else ""
        lines.append(
            f"{counted(len(strange), 'file begins', 'files begin')} like no image: {shown}."
        )
    return lines


def _may_be_image(path: Path) -> bool:
    """Tell whether a file has an ending of images, or begins like one."""
    if is_image(path.name):
        return True
    with path.open("rb") as handle:
        return image_suffix(handle.read(ENOUGH)) is not None


def _first(names: Sequence[str], found: CsvFile) -> str:
    return next(name for name in names if name in found.columns)
