"""Write a manifest for a folder of images that lie in class folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from autods.containers import Container, MemberReader
from autods.containers.kinds import Kind
from autods.containers.open import folder_listing
from autods.core.files import LITTER_FOLDERS, is_litter
from autods.core.image_signs import ENOUGH, image_suffix
from autods.core.registry import unknown
from autods.core.root import DataRoot
from autods.core.splits import SPLITS
from autods.core.strict import repeated
from autods.core.trees import Tree
from autods.errors import UsageError
from autods.layouts import AnyLayout, Layout, RawSample
from autods.layouts.accounting import account, not_used
from autods.layouts.base import IMAGE_SUFFIXES, is_hidden, is_image
from autods.manifest.new.class_tree import (
    NOTHING,
    Classes,
    Folders,
    Reading,
    read_folders,
)
from autods.manifest.new.common import (
    TEST_FRACTION,
    check_target,
    folder_entry,
    listed_tree,
    next_steps,
    whether_copied,
    write_manifest,
)
from autods.manifest.new.remarks import (
    empty_folders,
    folder_classes,
    followed_links,
    merged_classes,
)

FILE = "images"  # name of the folder in the manifest
ENDINGS = 12  # unusual endings of images that are listed in a manifest
SPECIAL = re.compile(r"[*{}]+")  # of patterns


def manifest_from_folder(
    name: str,
    folder: Path,
    out_dir: Path,
    *,
    splits: str | None = None,
    classes: str | None = None,
    in_place: bool = False,
) -> tuple[Path, list[str]]:
    """Write ``<out_dir>/<name>.yaml`` for images in ``folder/<class>/``.

    One more level of folders, called ``train``, ``test`` and perhaps ``val`` (or their usual other
    names), is taken for official splits; folders that wrap all the others do not count. Without
    test images a stratified fifth of each class becomes the test split. Links are followed. The
    folder is fetched from where it is and checked by its tree checksum. The lines returned are
    for the user: the classes with counts, and what is left out.

    Parameters
    ----------
    splits
        Folders that are splits, ``train=FOLDER,test=FOLDER``; the others are left out. ``none``:
        all are classes.
    classes
        What names the class where folders are deeper: ``first``, the first folder; ``last``, the
        folder that holds the image; ``path``, all folders.
    in_place
        Whether fetching uses the folder where it is, instead of a copy.

    Raises
    ------
    LayoutError
        When it is not clear which folders are splits or classes, or there are no images in
        class folders.
    UsageError
        When the name is taken, the folder is missing, or an option is wrong.
    """
    target = out_dir / f"{name}.yaml"
    check_target(name, target)
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder of images; nothing was written.")
    tree, folders, reading, layout = _laid_out(folder, splits, classes)
    samples, told = _read(folder, tree, layout)
    rule = _rule(reading, samples)
    write_manifest(
        target,
        title=f"Images of {folder.resolve().name}",
        files=[folder_entry(folder, out_dir, in_place)],
        layout=layout,
        splits={"clean": rule},
    )
    remarks = [*folder_classes(reading, samples, rule), *merged_classes(reading, folders), *told]
    remarks += empty_folders(folders)
    return target, [
        *remarks,
        *followed_links(folder, tree),
        whether_copied(in_place),
        *next_steps(target),
    ]


def check_folder(folder: Path, splits: str | None = None, classes: str | None = None) -> None:
    """Raise what `manifest_from_folder` raises for a folder, before any image is hashed."""
    _laid_out(folder, splits, classes)


def _laid_out(
    folder: Path, splits: str | None, classes: str | None
) -> tuple[Tree, Folders, Reading, dict[str, Any]]:
    """Return what lies in a folder, how it is read, and the layout for the manifest."""
    given, mode = _given_splits(splits), _given_classes(classes)
    tree = listed_tree(folder)
    suffixes, images = _images(folder, tree)
    folders = Folders.of(images, tree.folders)
    reading = read_folders(folder, folders, given, mode)
    return tree, folders, reading, _layout(reading, folders, suffixes, tree)


def _given_splits(text: str | None) -> dict[str, str] | None:
    """Return folder to split as ``train=a,test=b`` says; none for ``none``."""
    if text is None or text == "none":
        return None if text is None else {}
    pairs = [part.partition("=") for part in text.split(",")]
    for split, equals, folder in pairs:
        if not (equals and folder):
            raise UsageError(
                f"--splits {text}: expected train=FOLDER,test=FOLDER or none; {NOTHING}."
            )
        if split not in SPLITS:
            raise UsageError(f"--splits {text}: {unknown('split', split, SPLITS)}; {NOTHING}.")
    if again := repeated(folder for _, _, folder in pairs):
        raise UsageError(f"--splits {text}: expected folder '{again}' once; {NOTHING}.")
    if "train" not in (split for split, _, _ in pairs):
        raise UsageError(f"--splits {text}: expected a folder for train; {NOTHING}.")
    return {folder: split for split, _, folder in pairs}


def _given_classes(text: str | None) -> Classes | None:
    for known in get_args(Classes):
        if text == known:
            return known  # type: ignore[no-any-return]  # one of the literals
    if text is not None:
        raise UsageError(f"--classes: {unknown('choice', text, get_args(Classes))}; {NOTHING}.")
    return None


def _images(folder: Path, tree: Tree) -> tuple[list[str] | None, list[str]]:
    """Return the endings to keep (``None``: the usual ones), and the names of all images.

    A file with an unusual ending, or none, is an image if it begins like one.
    """
    names = [file.name for file in tree.files if not _is_hidden(file.name)]
    strange: dict[str, list[str]] = {}
    for name in names:
        if not is_image(name) and _begins_like_an_image(folder / name):
            strange.setdefault(Path(name).suffix.lower(), []).append(name)
    if not strange or len(strange) > ENDINGS:
        return None, [name for name in names if is_image(name)]
    suffixes = [*IMAGE_SUFFIXES, *sorted(strange)]
    return suffixes, [name for name in names if is_image(name, tuple(suffixes))]


def _begins_like_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return image_suffix(handle.read(ENOUGH)) is not None
    except OSError:
        return False  # told when the folder is hashed


def _is_hidden(name: str) -> bool:
    return is_litter(name) or is_hidden(name) or not LITTER_FOLDERS.isdisjoint(name.split("/"))


def _layout(
    reading: Reading, folders: Folders, suffixes: Sequence[str] | None, tree: Tree
) -> dict[str, Any]:
    """Return the layout as the manifest has it."""
    above = f"{_pattern(reading.top)}/" if reading.top else ""
    split = "{split}/" if reading.splits else ""
    exclude = [
        f"{above}{_pattern(name)}/**"
        for name in folders.children[reading.top]
        if reading.splits and not reading.split_below_class and name not in reading.splits
    ]
    if any(name.startswith(".") or "/." in name for name in tree.folders):
        exclude.append("**/.*/**")
    shared = {
        "files": [FILE],
        **({"split": "{split}"} if split else {}),
        **({"exclude": exclude} if exclude else {}),
        **({"suffixes": list(suffixes)} if suffixes else {}),
    }

    def layout(pattern: str, label: str = "{class}") -> dict[str, Any]:
        of = {"pattern": above + pattern, "labels": {"class": label}}
        return {"family": "class-folders", **of, **shared}

    if reading.split_below_class:
        return layout("{class}/{split}/**")
    if reading.classes == "first":
        return layout(split + "{class}/**")
    if reading.classes == "last":
        return layout(split + "**/{class}/*")
    depths = {
        len(leaf[len(root) :].strip("/").split("/"))
        for root in reading.roots()
        for leaf in folders.leaves(root)
        if leaf != root
    }
    fields = {depth: [f"{{folder{n}}}" for n in range(1, depth + 1)] for depth in sorted(depths)}
    parts = [layout(f"{split}{'/'.join(of)}/*", "/".join(of)) for of in fields.values()]
    return parts[0] if len(parts) == 1 else {"family": "combined", "parts": parts}


def _pattern(folder: str) -> str:
    """Return a folder as a pattern, in which some characters have a meaning."""
    return SPECIAL.sub("*", folder)


def _read(folder: Path, tree: Tree, layout: Mapping[str, Any]) -> tuple[list[RawSample], list[str]]:
    """Return the samples that indexing will find, and lines about what they leave out."""
    listing = folder_listing(folder, tree)
    container = Container(MemberReader(DataRoot(folder), FILE), FILE, Kind(), listing)
    read: Layout = TypeAdapter(AnyLayout).validate_python(dict(layout))
    samples = list(read.read({FILE: container}))
    used = {FILE: {sample.member for sample in samples}}
    accounts = account(read, [FILE], {FILE: container}, used, {})
    return samples, not_used(folder.resolve().name, accounts)


def _rule(reading: Reading, samples: Sequence[RawSample]) -> dict[str, Any]:
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    for folder, split in reading.splits.items():
        names[split].append(folder)
    present = {reading.splits.get(sample.split or "") for sample in samples}
    if {"train", "test"} <= present:
        return {"rule": "official", **{split: of for split, of in names.items() if of}}
    # Without a test part all images are divided anew, those of a val folder too.
    return {"rule": "random", "test_fraction": TEST_FRACTION}
