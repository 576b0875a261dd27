"""Patterns and groups of the shipped manifests against several real names each, not one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autods.core.patterns import Pattern, filler
from autods.layouts import Layout
from autods.layouts.class_folders import PathLabels
from autods.layouts.combined import Combined
from autods.layouts.listed import ListedSamples
from autods.manifest.catalogue import Catalogue

FILE = Path(__file__).with_name("published_names.yaml")
PUBLISHED: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
ENOUGH = 3  # names for each pattern


def parts(layout: Layout) -> list[Layout]:
    return list(layout.parts) if isinstance(layout, Combined) else [layout]


def fields(part: Layout, name: dict[str, Any]) -> dict[str, str] | None:
    """Return the fields that a layout takes out of a path or of the columns of a row."""
    if isinstance(part, PathLabels):
        return Pattern(part.pattern).match(name["path"]) if "path" in name else None
    if not isinstance(part, ListedSamples) or "row" not in name:
        return None
    found = dict(name["row"])
    for column, pattern in part.take.items():
        found |= Pattern(pattern).match(found[column]) or {}
    return found


def read(dataset: str, name: dict[str, Any]) -> dict[str, str]:
    """Return label, group and split that the manifest gives a name, as far as it gives them."""
    manifest = Catalogue().dataset(dataset)
    for part in parts(manifest.layout):
        if (found := fields(part, name)) is not None:
            label = part.labels.get(manifest.default_task, next(iter(part.labels.values())))
            templates = {"label": label, "group": part.group}
            templates["split"] = part.split if isinstance(part, PathLabels) else None
            return {key: filler(text)(found) for key, text in templates.items() if text}
    raise AssertionError(f"{dataset}: no pattern takes {name}")


def cases() -> Iterator[Any]:
    for dataset, value in PUBLISHED.items():
        for number, name in enumerate(value["names"]):
            yield pytest.param(dataset, name, id=f"{dataset}-{number}")


@pytest.mark.parametrize(("dataset", "name"), cases())
def test_a_published_name_gives_its_label_group_and_split(dataset, name):
    expected = {key: name[key] for key in ("label", "group", "split") if key in name}
    found = read(dataset, name)
    assert {key: found.get(key) for key in expected} == expected


def test_every_group_is_checked_with_several_names_and_more_than_one_group():
    catalogue = Catalogue()
    for dataset in catalogue.datasets():
        layout = catalogue.dataset(dataset).layout
        if any(getattr(part, "group", None) for part in parts(layout)):
            groups = [name["group"] for name in PUBLISHED[dataset]["names"]]
            assert len(groups) >= ENOUGH and len(set(groups)) > 1, dataset


def test_every_dataset_of_the_file_has_enough_different_names_and_says_where_they_are_from():
    for dataset, value in PUBLISHED.items():
        names = [str(name.get("path", name.get("row"))) for name in value["names"]]
        assert len(set(names)) == len(names) >= ENOUGH, dataset
        assert value["published"], dataset


def test_the_page_shows_every_dataset_and_each_name_of_a_group():
    page = (FILE.parents[3] / "docs" / "benchmarks" / "manifests.md").read_text(encoding="utf-8")
    assert [name for name in Catalogue().datasets() if f"\n| {name} | " not in page] == []
    for dataset, value in PUBLISHED.items():
        for name in value["names"] if "group" in value["names"][0] else ():
            last = (name.get("path") or next(iter(name["row"].values()))).rpartition("/")[2]
            assert f"{last}" in page and f" | {name['group']} |" in page, dataset
