"""What a tree of folders with images says: wrappers, splits, classes; and where it is unclear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autods.core.registry import unknown
from autods.core.shell import quoted
from autods.errors import LayoutError, UsageError
from autods.manifest.new.split_names import splits_of

Classes = Literal["first", "last", "path"]
NAMED = 5  # folders that a message names
NOTHING = "nothing was written"


@dataclass
class Folders:
    """Folders with images below them, and the images that lie directly in each.

    Folders are POSIX paths, ``""`` is the whole; ``empty`` are those without any image.
    """

    children: dict[str, list[str]] = field(default_factory=dict)  # names, sorted
    direct: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, images: Sequence[str], folders: Sequence[str]) -> Folders:
        """Arrange images and folders, both POSIX paths below one folder."""
        direct = Counter(name.rpartition("/")[0] for name in images)
        filled = {"": None}
        for folder in direct:
            parts = folder.split("/")
            filled |= dict.fromkeys("/".join(parts[: n + 1]) for n in range(len(parts)) if folder)
        children: dict[str, list[str]] = {folder: [] for folder in filled}
        for folder in sorted(filled):
            if folder:
                parent, _, name = folder.rpartition("/")
                children[parent].append(name)
        return cls(children, direct, [name for name in folders if name not in children])

    def leaves(self, folder: str) -> list[str]:
        """Return the folders with images directly in them, from ``folder`` on down."""
        prefix = f"{folder}/" if folder else ""
        return [name for name in self.direct if name == folder or name.startswith(prefix)]

    def images(self, folder: str, name: str) -> int:
        """Return the number of images in a folder of ``folder``, on all levels."""
        return sum(self.direct[leaf] for leaf in self.leaves(joined(folder, name)))

    def is_flat(self, folder: str) -> bool:
        """Tell whether all images of a folder lie directly in it."""
        return not self.children[folder]


@dataclass
class Reading:
    """How a folder of images is read: ``top`` is below wrappers, ``""`` for the folder itself."""

    top: str = ""
    splits: dict[str, str] = field(default_factory=dict)  # folder name to train, dev or test
    split_below_class: bool = False  # cat/train and not train/cat
    classes: Classes = "first"

    def roots(self) -> list[str]:
        """Return the folders whose folders are classes."""
        if self.split_below_class or not self.splits:
            return [self.top]
        return [joined(self.top, name) for name in self.splits]


def joined(folder: str, name: str) -> str:
    """Return a path below a folder that may be ``""``."""
    return f"{folder}/{name}" if folder else name


def read_folders(
    shown: Path,
    folders: Folders,
    splits: Mapping[str, str] | None,
    classes: Classes | None,
) -> Reading:
    """Return how the folders are to be read; `LayoutError` names the option where it is unclear.

    ``splits`` (folder to split) and ``classes`` are what the user decided; empty ``splits``:
    no folder is a split.
    """
    top, found = _find_splits(shown, folders, splits)
    if found or splits is not None:
        reading = Reading(top, found)
    elif below := _below_classes(folders, top):
        reading = Reading(top, below, split_below_class=True)
    else:
        reading = Reading(top)
    if classes is not None:
        reading.classes = classes
    elif not reading.split_below_class:
        _check_depth(shown, folders, reading)
    return reading


def _find_splits(
    shown: Path, folders: Folders, given: Mapping[str, str] | None
) -> tuple[str, dict[str, str]]:
    """Go down through wrappers; return the folder below them, and the splits in it."""
    top = ""
    while names := folders.children[top]:
        if given and set(given) <= set(names):
            return top, dict(given)
        if given is None and (found := _splits(shown, folders, top)):
            return top, found
        is_wrapper = len(names) == 1 and not folders.direct[top]
        if not is_wrapper or folders.is_flat(joined(top, names[0])):
            break
        top = joined(top, names[0])
    if not names:
        raise LayoutError(
            f"{shown}: expected images in class folders (<class>/image.jpg or "
            f"train/<class>/image.jpg), got none; {NOTHING}. Use --csv for images with labels "
            "in a table."
        )
    if given:
        strange = next(name for name in given if name not in names)
        raise UsageError(f"--splits: {unknown('folder', strange, names)}; {NOTHING}.")
    return top, {}


def _splits(shown: Path, folders: Folders, top: str) -> dict[str, str]:
    """Return the splits that the folders in ``top`` are; refuse folders that may be some."""
    names = folders.children[top]
    hollow_names = [name for name in folders.empty if name.rpartition("/")[0] == top]
    found = splits_of([*names, *(name.rpartition("/")[2] for name in hollow_names)])
    filled = {name: split for name, split in found.items() if name in names}
    deep = {name: s for name, s in filled.items() if not folders.is_flat(joined(top, name))}
    flat = [name for name in filled if name not in deep]
    others = [name for name in names if name not in filled]
    hollow = [name for name in found if name not in filled]
    choice = ",".join(f"{split}={name}" for name, split in deep.items())
    if "train" not in filled.values():
        if deep and len(names) > 1:
            raise _unclear(shown, f"{_listed([*deep])} may be no class but a split", "none")
        return {}
    if not deep and others and len(filled) == 1:  # a class may be called train
        return {}
    if not deep:
        what = f"{_listed(flat)}: images, but no class folders"
        raise _unclear(shown, what, "none", "if they are classes (labels in a table: --csv)")
    if others:
        raise LayoutError(
            f"{shown}: expected train and test folders only, or class folders only; found "
            f"{_listed(others)} beside them; {NOTHING}. Add --splits {quoted(choice)} to leave "
            "them out, or --splits none if all are classes."
        )
    if hollow or flat:
        what = "no images" if hollow else "images, but no class folders"
        what = f"{_listed(hollow or flat)}: {what}"
        raise _unclear(shown, what, choice, "to go on without it")
    return filled


def _below_classes(folders: Folders, top: str) -> dict[str, str]:
    """Return the splits that lie below every class (``cat/train``), none if it is not so."""
    classes = [joined(top, name) for name in folders.children[top]]
    names = sorted({name for folder in classes for name in folders.children[folder]})
    found = splits_of(names)
    whole = all(folders.children[folder] and not folders.direct[folder] for folder in classes)
    return found if whole and len(found) == len(names) and "train" in found.values() else {}


def _check_depth(shown: Path, folders: Folders, reading: Reading) -> None:
    """Refuse a tree that is deeper than one folder per class, where it matters."""
    tops: dict[str, set[str]] = {}  # first folder to the folders of images, from there on
    for root in reading.roots():
        for name in folders.children[root]:
            place = joined(root, name)
            leaves = (leaf[len(place) :] for leaf in folders.leaves(place))
            tops.setdefault(name, set()).update(leaves)
    if not any(len(leaves) > 1 and "" not in leaves for leaves in tops.values()):
        return
    names = sorted(tops)
    deeper = [name for name in names if tops[name] - {""}]
    last = {(name + leaf).rpartition("/")[2] for name in names for leaf in tops[name]}
    inner = [{leaf.split("/")[1] for leaf in tops[name] if leaf} for name in names]
    splits = ""
    if len(names) > 1 and not reading.splits and all(one == inner[0] for one in inner):
        large, small = sorted(names, key=lambda name: -folders.images(reading.top, name))[:2]
        choice = quoted(f"train={large},test={small}")
        splits = f" If they are splits: for example --splits {choice}."
    raise LayoutError(
        f"{shown}: expected one folder of images per class, got folders of folders below "
        f"{_listed(deeper)}; {NOTHING}. Add --classes first ({len(names)} classes, by the first "
        f"folder), --classes last ({len(last)}, by the folder that holds the image) or --classes "
        f"path ({sum(map(len, tops.values()))}, by all folders).{splits}"
    )


def _unclear(shown: Path, what: str, choice: str, when: str = "if they are classes") -> LayoutError:
    return LayoutError(
        f"{shown}: {what}; {NOTHING}. Add --splits {quoted(choice)} {when}, or name the "
        "splits with --splits train=FOLDER,test=FOLDER."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
