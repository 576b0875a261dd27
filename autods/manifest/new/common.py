"""What the writers of manifests share: the file itself, its checks, the lines for the user."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from autods.containers.base import printable
from autods.core.files import atomic, hash_tree
from autods.core.refusals import refusal
from autods.core.shell import quoted
from autods.core.trees import Tree, list_tree
from autods.errors import LayoutError, UsageError
from autods.manifest.catalogue import Catalogue, load
from autods.manifest.schema import NAME, Manifest

TEST_FRACTION = 0.2  # drawn, stratified, where there is no test part


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


def folder_entry(folder: Path, out_dir: Path, in_place: bool = False) -> dict[str, Any]:
    """Return a folder of images as the file ``images`` of a manifest in ``out_dir``."""
    mirror: dict[str, Any] = {"kind": "file", "url": mirror_to(folder, out_dir)}
    return {
        "name": "images",
        "checksum": f"tree:{hash_tree(folder)}",
        "mirrors": [{**mirror, "in_place": True} if in_place else mirror],
    }


def whether_copied(in_place: bool) -> str:
    """Say what becomes of the images when they are fetched."""
    if in_place:
        return "The images stay where they are; do not change them, `autods verify` would find it."
    return (
        "`autods fetch` copies the images into the data root; `autods new --in-place` leaves them "
        "where they are."
    )


def single_images(classes: Counter[str]) -> list[str]:
    """List the classes with one image, if the test split is drawn."""
    single = sorted(name for name, count in classes.items() if count == 1)
    shown = ", ".join(f"'{name}'" for name in single[:5]) + (", ..." if single[5:] else "")
    told = f"{shown}: one image only, which is for training; nothing is left to test."
    return [told] if single else []


def next_steps(target: Path) -> list[str]:
    """Return the next steps after a manifest was written."""
    where = f" --manifests {quoted(target.parent)}"
    found = []
    if target.stem in Catalogue().datasets():
        found.append(
            f"autods has a dataset '{target.stem}', too: yours takes its place with{where}. "
            "Choose another name if you want both."
        )
    return [*found, f"Next: autods fetch {target.stem}{where}"]


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


def mirror_to(place: Path, out_dir: Path) -> str:
    """Return a path as the manifest writes it: relative to the manifest's folder."""
    return Path(os.path.relpath(place.resolve(), out_dir.resolve())).as_posix()


def listed_tree(folder: Path) -> Tree:
    """List a folder; raise `LayoutError` if it cannot be read or a name is not UTF-8."""
    try:
        tree = list_tree(folder)
    except OSError as error:
        raise LayoutError(
            f"{error.filename or folder} cannot be read: {refusal(error).why}; nothing was "
            f"written. {refusal(error).cure}."
        ) from None
    names = [*(file.name for file in tree.files), *tree.folders, *(name for name, _ in tree.left)]
    for name in [str(folder.resolve()), *names]:
        if (readable := printable(name)) != name:
            raise LayoutError(
                f"'{readable}': expected names in UTF-8; nothing was written. Rename it."
            )
    return tree
