"""Write a manifest for a folder of images that lie in class folders."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from autods.containers.base import printable
from autods.core.files import atomic, hash_tree
from autods.errors import LayoutError, UsageError
from autods.layouts.base import is_image
from autods.manifest.catalogue import Catalogue, load
from autods.manifest.schema import NAME, Manifest

USUAL = {  # split to its names in folders and tables
    "train": ("train", "training"),
    "dev": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
TEST_FRACTION = 0.2  # drawn, stratified, where the folder has no test part


def manifest_from_folder(name: str, folder: Path, out_dir: Path) -> tuple[Path, list[str]]:
    """Write ``<out_dir>/<name>.yaml`` for images in ``folder/<class>/``.

    One more level of folders, ``train``, ``test`` and perhaps ``val`` (or their usual
    other names), is taken for official splits. Without a test folder a stratified fifth
    of each class becomes the test split. Deeper folders belong to their class. The folder is
    fetched from where it is and checked by its tree checksum. The lines returned are for the user.
    """
    target = out_dir / f"{name}.yaml"
    check_target(name, target)
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder of images; nothing was written.")
    check_names(folder)
    splits = _official_splits(folder)
    pattern = "{split}/{class}/**" if splits else "{class}/**"
    layout = {
        "family": "class-folders",
        "files": ["images"],
        "pattern": pattern,
        "labels": {"class": "{class}"},
        **({"split": "{split}"} if splits else {}),
    }
    _check_classes(folder, splits)
    write_manifest(
        target,
        title=f"Images of {folder.resolve().name}",
        files=[folder_entry(folder, out_dir)],
        layout=layout,
        splits={"clean": _rule(splits)},
    )
    return target, _remarks(target, folder, splits)


def write_manifest(target: Path, **content: Any) -> None:
    """Write a manifest of one task ``class``, and check it.

    ``content`` are the keys that differ from those of somebody's own open data.
    """
    whole = {
        "name": target.stem,
        "title": None,
        "homepage": None,
        "citation": None,
        "licence": None,
        "access": "open",
        "files": None,
        "layout": None,
        "tasks": {"class": {"classes": None}},
        "default_task": "class",
        "splits": None,
        **content,
    }
    with atomic(target) as temporary:
        text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)
        temporary.write_text(text, encoding="utf-8")
    load(target, Manifest)


def folder_entry(folder: Path, out_dir: Path) -> dict[str, Any]:
    """Return a folder of images as the file ``images`` of a manifest in ``out_dir``."""
    return {
        "name": "images",
        "checksum": f"tree:{hash_tree(folder)}",
        "mirrors": [{"kind": "file", "url": mirror_to(folder, out_dir)}],
    }


def _remarks(target: Path, folder: Path, splits: dict[str, list[str]]) -> list[str]:
    depth = 2 if splits else 1  # folders above an image: split and class, or class
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    used = [path for path in files if len(path.parts) > depth and is_image(path.name)]
    other = sorted(path for path in {*files} - {*used} if not path.name.startswith("."))
    classes = Counter(path.parts[depth - 1] for path in used)
    text = f"{counted(len(used), 'image')} in {counted(len(classes), 'class', 'classes')}"
    if other:
        text += f"; left out: {counted(len(other), 'file')}, for example '{other[0].as_posix()}'"
    singles = [] if splits.get("test") else single_images(classes)
    return [f"{text}.", *singles, *next_steps(target)]


def single_images(classes: Counter[str]) -> list[str]:
    """List the classes with one image, if the test split is drawn."""
    single = sorted(name for name, count in classes.items() if count == 1)
    shown = ", ".join(f"'{name}'" for name in single[:5]) + (", ..." if single[5:] else "")
    told = f"{shown}: one image only, which is for training; nothing is left to test."
    return [told] if single else []


def next_steps(target: Path) -> list[str]:
    """Return the next steps after a manifest was written."""
    where = f" --manifests {shlex.quote(str(target.parent))}"
    found = []
    if target.stem in Catalogue().datasets():
        found.append(
            f"autods has a dataset '{target.stem}', too: yours takes its place with{where}. "
            "Choose another name if you want both."
        )
    return [*found, f"Next: autods fetch {target.stem}{where}"]


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def check_target(name: str, target: Path) -> None:
    """Raise `UsageError` unless a manifest of this name can be written there."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"name '{name}': expected lower-case letters, digits, '_' and '-'; nothing was "
            "written. Choose another name."
        )
    if target.parent.exists() and not target.parent.is_dir():
        raise UsageError(
            f"{target.parent}: expected a folder for the manifest, got a file; nothing was "
            "written. Correct --out."
        )
    if target.exists():
        raise UsageError(
            f"{target} exists already and was left as it is. Delete it or choose another name."
        )


def check_names(folder: Path) -> None:
    """Raise `LayoutError` for a name below a folder that is not UTF-8."""
    for path in [folder.resolve(), *folder.rglob("*")]:
        if (readable := printable(str(path))) != str(path):
            raise LayoutError(
                f"'{readable}': expected names in UTF-8; nothing was written. Rename it."
            )


def _official_splits(folder: Path) -> dict[str, list[str]]:
    """Return split to folder names if every folder at the top belongs to a split."""
    names = _folders(folder)
    splits = {s: [n for n in names if n.lower() in usual] for s, usual in USUAL.items()}
    others = [name for name in names if not any(name in found for found in splits.values())]
    if splits["train"] and splits["test"] and others:
        raise LayoutError(
            f"{folder}: expected train and test folders only, or class folders only; found "
            f"{', '.join(others[:5])} beside them; nothing was written. Move them elsewhere."
        )
    return splits if splits["train"] and not others else {}


def _check_classes(folder: Path, splits: dict[str, list[str]]) -> None:
    parents = [folder / name for names in splits.values() for name in names] or [folder]
    for parent in parents:
        for name in _folders(parent):
            if any(is_image(path.name) for path in (parent / name).rglob("*")):
                return
    raise LayoutError(
        f"{folder}: expected images in class folders (<class>/image.jpg or "
        "train/<class>/image.jpg), got none; nothing was written."
    )


def _folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _rule(splits: dict[str, list[str]]) -> dict[str, Any]:
    if splits.get("test"):
        return {"rule": "official", **splits}
    # Without a test part all images are divided anew, those of a val folder too.
    return {"rule": "random", "test_fraction": TEST_FRACTION}


def mirror_to(place: Path, out_dir: Path) -> str:
    """Return a path as the manifest writes it: relative to the manifest's folder."""
    return Path(os.path.relpath(place.resolve(), out_dir.resolve())).as_posix()
