"""The section on answers: accuracy by dataset and class, what was taken for what, mistakes seen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from bmc.report.columns import MISSING
from bmc.report.confusion import Classes, Confusion
from bmc.report.groups import Group
from bmc.report.looks import Entry
from bmc.report.mistakes import FEWER, MOST, Gallery, Mistake

PAIRS = 25  # pairs of classes listed for each method
UNITS = 120  # rows of the largest matrix that the page has
CLASSES = 5_000  # rows of the largest table of classes
LEVELS = 9  # shades of a matrix


class Cell(NamedTuple):
    """A cell of the matrix: a share in per cent as text, and its shade from 0 to `LEVELS`."""

    text: str
    level: int


@dataclass(frozen=True)
class Matrix:
    """Shares of answers of one method: a row for each true unit."""

    name: str
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class AnswersSection:
    """What the template writes of the answers of ``shown`` groups; ``unit`` is what rows are."""

    unit: str
    units: list[str]
    shown: list[Entry]
    matrix: Matrix | None
    matrices: list[dict[str, Any]]  # those of all shown groups, for the page's script
    taken_for: list[tuple[str, list[str]]]
    pairs: list[list[str]]
    classes: list[tuple[str, str, str, list[str]]]
    left_out: int  # classes beyond the table's length
    mistakes: list[tuple[Entry, list[Mistake]]]  # of each that has pictures
    no_pictures: str  # why there are none, if there are none
    most: int = PAIRS


def answers_of(
    groups: Sequence[Group], shown: Sequence[Entry], root: Path | None
) -> AnswersSection | None:
    """Read the answers of the shown groups; ``None`` if none stored them.

    ``root`` is the data root where images may be. Raises `UsageError` if what a run stored is
    damaged.
    """
    classes = Classes([run for g in groups for run in g.runs])
    known = [(e, c) for e in shown if (c := classes.confusion(e.group)) is not None]
    if not known:
        return None
    kind, units, unit = classes.units()
    tables = [(e.name, c.over(unit, len(units))) for e, c in known]
    drawn = tables if len(units) <= UNITS else []
    kept = classes.all[:CLASSES]
    mistakes, why = _mistakes([e for e, _ in known], root)
    recalls = [c.recall() for _, c in known]
    samples = np.max([count for _, count in recalls], axis=0)
    return AnswersSection(
        unit=kind,
        units=units,
        shown=[e for e, _ in known],
        matrix=_matrix(units, *drawn[0]) if drawn else None,
        matrices=[_filled(name, table) for name, table in drawn],
        taken_for=[
            (name, [_most_taken_for(row, table, units) for _, table in tables])
            for row, name in enumerate(units)
        ],
        pairs=[line for e, c in known for line in _pairs(e, c, classes)],
        classes=[
            (c.name, c.dataset, f"{samples[k]:,}", [_percent(r[k]) for r, _ in recalls])
            for k, c in enumerate(kept)
        ],
        left_out=len(classes.all) - len(kept),
        mistakes=mistakes,
        no_pictures=why,
    )


def _mistakes(
    entries: Sequence[Entry], root: Path | None
) -> tuple[list[tuple[Entry, list[Mistake]]], str]:
    """Return the pictures of each entry that has some, or why the best one has none."""
    gallery = Gallery(root)
    found = [(entries[0], gallery.of(entries[0].group.first, MOST))]
    why = "" if found[0][1] else gallery.why
    found += [(e, gallery.of(e.group.first, FEWER)) for e in entries[1:]]
    found = [(e, pictures) for e, pictures in found if pictures]
    return found, "" if found else why


def _percent(share: float) -> str:
    return MISSING if math.isnan(share) else f"{100 * share:.1f}"


def cell(share: float) -> Cell:
    """Return a cell of the share in per cent: empty for nothing, ``<1`` for little.

    Shades follow the square root, so that rare mistakes can be seen. The page's script makes the
    same of `hundredths`.
    """
    known = hundredths(share)
    text = "" if not known else "<1" if known < 100 else str((known + 50) // 100)
    return Cell(text, math.ceil(LEVELS * math.sqrt(known / 10_000) - 1e-9))


def hundredths(share: float) -> int:
    """Return a share in hundredths of a per cent, 0 only if it is."""
    return max(1, round(10_000 * share)) if share else 0


def _matrix(units: Sequence[str], name: str, table: npt.NDArray[np.float64]) -> Matrix:
    rows = [(u, [cell(v) for v in row]) for u, row in zip(units, table.tolist(), strict=True)]
    return Matrix(name, rows)


def _filled(name: str, table: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return a matrix without its empty cells: row, column, `hundredths` of each of the others."""
    cells = []
    for i, j in zip(*(axis.tolist() for axis in np.nonzero(table)), strict=True):
        cells += [i, j, hundredths(float(table[i, j]))]
    return {"name": name, "cells": cells}


def safe_json(value: object) -> Markup:
    """Return JSON that cannot end the script element around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def _most_taken_for(row: int, table: npt.NDArray[np.float64], units: Sequence[str]) -> str:
    others = table[row].copy()
    others[row] = 0
    other = int(others.argmax())
    return f"{units[other]} {100 * others[other]:.1f}" if others[other] else "none"


def _pairs(entry: Entry, confusion: Confusion, classes: Classes) -> list[list[str]]:
    lines = []
    for pair in confusion.mistakes(PAIRS):
        truth, answer = classes.all[pair.label], classes.all[pair.answer]
        lines.append([
            entry.name, truth.name, truth.dataset, answer.name, answer.dataset,
            f"{pair.samples:,}", f"{100 * pair.share:.1f}",
        ])  # fmt: skip
    return lines
