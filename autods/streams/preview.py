"""Contact sheets of tasks and streams, for notebooks: of the images behind the features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from autods.core.splits import SPLITS
from autods.errors import AutodsError
from autods.pages.contact_sheet import ContactSheet, Row, Shot
from autods.pages.thumbnails import decoded

if TYPE_CHECKING:
    from autods.streams.image_set import ImageSet

ROWS = 300  # rows of a sheet

Rows = npt.NDArray[np.int64]


class Previewed(Protocol):
    """What a sheet needs of a `autods.streams.stream.Task`, which imports this module."""

    @property
    def name(self) -> str: ...  # noqa: D102 (as of a task)
    @property
    def dataset(self) -> str: ...  # noqa: D102
    @property
    def class_names(self) -> list[str]: ...  # noqa: D102
    @property
    def class_offset(self) -> int: ...  # noqa: D102
    def images(self, split: str) -> ImageSet: ...  # noqa: D102


def preview_task(task: Previewed, per_row: int, seed: int) -> ContactSheet:
    """Return a row for each class of a task."""
    images = {split: task.images(split) for split in SPLITS}
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for number, name in enumerate(task.class_names[:ROWS]):
        own = {
            split: np.flatnonzero(of.labels == task.class_offset + number)
            for split, of in images.items()
        }
        counts = {split: len(of) for split, of in own.items()}
        rows.append(Row(name, counts, _shots(images, own, per_row, generator)))
    facts = {"dataset": task.dataset, "classes": f"{len(task.class_names):,}"}
    facts |= {split: f"{len(of):,}" for split, of in images.items() if len(of)}
    left = len(task.class_names) - ROWS
    notes = [f"{left:,} more classes are not shown."] if left > 0 else []
    return ContactSheet(f"Task {task.name}", facts, rows, notes)


def preview_tasks(
    name: str, tasks: Sequence[tuple[Previewed, dict[str, int]]], per_row: int, seed: int
) -> ContactSheet:
    """Return a row for each task of a stream, given with its samples by split."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for task, counts in tasks[:ROWS]:
        detail = f"{len(task.class_names):,} classes"
        try:
            images = {split: task.images(split) for split in SPLITS}
        except AutodsError as error:  # the others are shown
            rows.append(Row(task.name, counts, [Shot(f"{error}"[:120])], detail))
            continue
        own = {split: np.arange(len(of)) for split, of in images.items()}
        rows.append(Row(task.name, counts, _shots(images, own, per_row, generator), detail))
    classes = sum(len(task.class_names) for task, _ in tasks)
    facts = {"tasks": f"{len(tasks):,}", "classes": f"{classes:,}"}
    left = len(tasks) - ROWS
    notes = [f"{left:,} more tasks are not shown."] if left > 0 else []
    return ContactSheet(f"Stream {name}", facts, rows, notes)


def _shots(
    images: dict[str, ImageSet], own: dict[str, Rows], count: int, generator: np.random.Generator
) -> list[Shot]:
    """Draw images of some rows of each split: one of each first, train for the rest."""
    drawn = [(split, i) for split, of in own.items() for i in generator.permutation(of).tolist()]
    seen: set[str] = set()
    first: list[tuple[str, int]] = []
    rest: list[tuple[str, int]] = []
    for split, i in drawn:
        (rest if split in seen else first).append((split, i))
        seen.add(split)
    chosen = sorted([*first, *rest][:count], key=lambda pair: SPLITS.index(pair[0]))
    return [
        Shot.of(decoded(partial(images[split].read, i)), split, images[split].path(i))
        for split, i in chosen
    ]
