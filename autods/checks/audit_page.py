"""The findings of audits as a page with thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autods.checks.audit_report import LEGEND, pixels_line, row
from autods.core.root import DataRoot
from autods.pages.page import write_page
from autods.pages.thumbnails import Album, Pictures, Thumbnail

SHOWN = 24  # pairs, and labels, of one dataset; the JSON names more
ALIKE = 12  # pairs with near features but other pixels
COPIES = 6  # examples of exact copies of one dataset
BROKEN = 20  # unreadable images that are named

Findings = dict[str, Any]


def write_audit_page(
    out: Path,
    root: DataRoot,
    audits: Sequence[Findings],
    by_features: Findings | None = None,
    command: str = "",
) -> Path:
    """Write a page about audits, and what features say (`audit_features`) if that is given.

    Raises `UsageError` if jinja2 is not installed.
    """
    features = by_features or {
        "datasets": {},
        "between": [],
        "examples": [],
        "pixels": {"alike": []},
    }
    names = list(dict.fromkeys([*(a["dataset"] for a in audits), *features["datasets"]]))
    shots = _Shots(root, len(names))
    exact = {findings["dataset"]: findings for findings in audits}
    sections = [
        _section(name, exact.get(name), features["datasets"].get(name), shots) for name in names
    ]
    between = [shots.pair(pair) for pair in features["examples"][:SHOWN]]
    alike = [shots.pair(pair) for pair in features["pixels"]["alike"][:ALIKE]]
    title = f"Audit of {names[0]}" if len(names) == 1 else f"Audit of {len(names)} datasets"
    return write_page(
        out,
        "audit.html.jinja",
        "a page of an audit",
        title=title,
        command=command,
        legend=LEGEND,
        rows=[row(findings) for findings in audits],
        features=by_features,
        pixels=pixels_line(by_features["pixels"]) if by_features else "",
        between=between,
        alike=alike,
        sections=sections,
        left_out=shots.album.left_out,
    )


def _section(
    name: str, exact: Findings | None, features: Findings | None, shots: _Shots
) -> Findings:
    near = features["near"]["examples"] if features else []
    labels = features["labels"]["list"] if features and features["labels"] else []
    return {
        "name": name,
        "exact": exact,
        "duplicates": exact["protocols"]["clean"]["duplicates"] if exact else None,
        "copies": _copies(exact, shots) if exact else [],
        "broken": exact["unreadable"]["paths"][:BROKEN] if exact else [],
        "features": features,
        "near": [shots.pair(pair) for pair in near[:SHOWN]],
        "labels": [(label, shots.image(label)) for label in labels[:SHOWN]],
    }


def _copies(exact: Findings, shots: _Shots) -> list[tuple[str, list[tuple[str, Thumbnail]]]]:
    """Return kind of finding, and path and thumbnail of each of its images, for a few."""
    examples = exact["protocols"]["clean"]["duplicates"]["examples"]
    found = [(kind, paths) for kind, several in examples.items() for paths in several[:2]]
    return [
        (kind, [(path, shots.at(exact["dataset"], path)) for path in paths])
        for kind, paths in found[:COPIES]
    ]


class _Shots:
    """Thumbnails by dataset and sample; each dataset has a fair share of the page."""

    def __init__(self, root: DataRoot, datasets: int) -> None:
        self.root, self.album = root, Album()
        self._pictures: dict[str, Pictures] = {}
        self._places: dict[str, dict[str, int]] = {}

    def image(self, image: Findings) -> Thumbnail:
        pictures = self._of(image["dataset"])
        if not image["path"]:  # which image a row of imported features is of is not known
            return Thumbnail(why=pictures.why or "not known")
        return self.album.of(pictures.image(image["sample"]))

    def pair(self, pair: Findings) -> Findings:
        return {**pair, "images": [(image, self.image(image)) for image in pair["images"]]}

    def at(self, dataset: str, path: str) -> Thumbnail:
        """Return the thumbnail of a path; those of conflicts end in the class."""
        pictures = self._of(dataset)
        if pictures.index is None:
            return Thumbnail(why=pictures.why)
        if dataset not in self._places:
            column = pictures.index.table["path"].to_pylist()
            self._places[dataset] = {path: sample for sample, path in enumerate(column)}
        places = self._places[dataset]
        sample = places.get(path, places.get(path.rpartition(" (")[0], -1))
        return self.album.of(pictures.image(sample) if sample >= 0 else "not in the index")

    def _of(self, dataset: str) -> Pictures:
        if dataset not in self._pictures:
            self._pictures[dataset] = Pictures(self.root, dataset)
        return self._pictures[dataset]
