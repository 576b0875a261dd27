"""Streams and tasks: ordered tasks over feature sets, with one owner of label numbering.

These types hold features from anywhere; `autods.open_stream` makes a stream of stored ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.core.splits import SPLITS
from autods.errors import FeaturesMissing, ImagesMissing, UsageError
from autods.streams.feature_set import FeatureSet

if TYPE_CHECKING:
    from PIL import Image

    from autods.manifest.schema import StreamItem, StreamSpec
    from autods.pages.contact_sheet import ContactSheet
    from autods.streams.images import ImageSet

SCENARIOS = ("class-il", "task-il")
SYNTHETIC = ("scale", "seed", "classes", "per_class", "dim")  # what sizes a generated stream
SHOWN = 3  # tasks at the start and at the end of a stream that is printed
ROWS = 20  # tasks in the table of a notebook; of more, the first and the last are shown

# name of a list of templates -> float32 [c, d], see `Task.class_embeddings`; can be pickled
ClassEmbeddingSource = Callable[[str], npt.NDArray[np.float32]]
# split, and the options of an ImageSet by their names -> the images, see `Task.images`
ImageSource = Callable[..., "ImageSet"]


@dataclass(frozen=True, repr=False)
class Task:
    """One task of a stream.

    Attributes
    ----------
    dataset
        The dataset that its classes come from.
    index
        Its place in the stream, from 0.
    class_names
        Names of its c classes.
    class_offset
        Global number of its first class; class ``class_offset + k`` is ``class_names[k]``.
    train, dev, test
        Features and labels of each split.
    class_embedding_source
        Reads the embedded class names; ``None`` if there are none.
    image_source
        Opens the images; ``None`` if there are none.
    label_set
        The dataset's labelling.
    item
        The definition of this task alone; ``None`` for a task made by hand.
    """

    name: str
    dataset: str
    index: int
    class_names: list[str]
    class_offset: int
    train: FeatureSet
    dev: FeatureSet
    test: FeatureSet
    class_embedding_source: ClassEmbeddingSource | None = None
    image_source: ImageSource | None = None
    label_set: str = ""
    item: StreamItem | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(getattr(self, split)):,} {split}" for split in SPLITS)
        return (
            f"Task({self.index}, {self.name!r}, {len(self.class_names):,} classes "
            f"from {self.class_offset}, {counts})"
        )

    def class_embeddings(self, templates: str = "default-v1") -> npt.NDArray[np.float32]:
        """Load the embedded names of the task's classes: float32 [c, d], rows of length 1.

        Row k belongs to class ``class_offset + k``.

        Raises
        ------
        FeaturesMissing
            When they were not embedded, or the features do not come from a data root.
        FeatureMismatch, StoreError
            See `autods.features.class_names.load_text`.
        """
        return class_embeddings_of(self.name, self.class_embedding_source, templates)

    def images(
        self,
        split: str = "train",
        transform: Callable[[Image.Image], Any] | None = None,
        *,
        workers: int = 0,
        rgb: bool = True,
    ) -> ImageSet:
        """Open the images of a split: the rows, order and labels of its features.

        Parameters
        ----------
        split
            ``train``, ``dev`` or ``test``.
        transform, workers, rgb
            See `autods.streams.image_set.ImageSet`, a map-style dataset of torch.

        Raises
        ------
        ImagesMissing
            When the features do not come from images under a data root.
        IndexMissing, FeatureMismatch
            When the dataset is not indexed, or not as it was when features were extracted.
        """
        if self.image_source is None:
            raise ImagesMissing(
                f"task '{self.name}' has no images: its features do not come from a data root. "
                "Images need features that were extracted under one."
            )
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return self.image_source(split, transform=transform, workers=workers, rgb=rgb)

    def preview(self, per_row: int = 8, seed: int = 0) -> ContactSheet:
        """Return a contact sheet, a row for each class; a notebook shows it as a picture.

        ``sheet.write("task.html")`` writes a page, ``sheet.write("task.png")`` the picture.

        Raises
        ------
        ImagesMissing, IndexMissing, FeatureMismatch
            As of `images`.
        """
        from autods.streams.preview import preview_task

        return preview_task(self, per_row, seed)


def class_embeddings_of(
    task: str, source: ClassEmbeddingSource | None, templates: str
) -> npt.NDArray[np.float32]:
    """Load the embedded class names of a task, as `Task.class_embeddings` does."""
    if source is None:
        raise FeaturesMissing(
            f"task '{task}' has no class names that could be embedded: its features do not come "
            "from a data root. Zero-shot classification needs features that were extracted or "
            "imported."
        )
    return source(templates)


@dataclass(frozen=True, repr=False)
class Stream:
    """Tasks in order; ``for task in stream`` and ``len(stream)`` are those of its tasks.

    Attributes
    ----------
    scenario
        ``class-il`` or ``task-il``.
    normalize
        What was done to the features: ``l2`` or ``none``.
    provenance
        Where the numbers come from; ``provenance["fingerprint"]`` changes when they do.
    """

    name: str
    scenario: str
    tasks: list[Task]
    normalize: str
    provenance: dict[str, Any]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.tasks)

    def __repr__(self) -> str:
        lines = [f"Stream {self.name}", *(f"{k:<9} {v}" for k, v in self._summary().items())]
        first, last = self.tasks[:SHOWN], self.tasks[SHOWN:][-SHOWN:]
        for place, tasks in (("first", first), ("last", last)):
            if tasks:
                lines.append(f"{place:<9} {', '.join(_shortened(task.name) for task in tasks)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return what `print` shows and a table of the tasks, as notebooks show it."""
        rows = [[_cell(value) for value in row.values()] for row in self.describe()]
        if len(rows) > ROWS:
            rows[ROWS // 2 : -(ROWS // 2)] = [[_cell("…")] * len(rows[0])]
        facts = "<br>".join(f"{k}: {escape(v)}" for k, v in self._summary().items())
        head = "".join(f"<th>{key}</th>" for key in self.describe()[0])
        body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
        return (
            f"<p><b>Stream {escape(self.name)}</b><br>{facts}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _summary(self) -> dict[str, str]:
        """Return what a reader wants to know first, one line each."""
        seed, known = self.provenance.get("order_seed"), self.provenance.get
        totals = {split: sum(len(getattr(task, split)) for task in self.tasks) for split in SPLITS}
        return {
            "scenario": f"{self.scenario}, protocol {known('protocol', 'unknown')}",
            "encoder": f"{known('encoder_name', 'none')}, normalization {self.normalize}",
            "order": "as listed" if seed is None else f"drawn with seed {seed}",
            "tasks": f"{len(self.tasks):,} with {self.n_classes:,} classes",
            "samples": ", ".join(f"{count:,} {split}" for split, count in totals.items()),
        }

    @property
    def n_classes(self) -> int:
        """Number of classes over all tasks."""
        return sum(len(task.class_names) for task in self.tasks)

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return self.tasks[0].train.dim

    def spec(self) -> StreamSpec:
        """Return the definition that opens this very stream again, task for task.

        Raises
        ------
        UsageError
            When a task was made by hand, so that no definition can name it.
        """
        from autods.manifest.stream import StreamSpec, SyntheticData

        items = [task.item for task in self.tasks if task.item is not None]
        if len(items) < len(self.tasks):
            by_hand = next(task.name for task in self.tasks if task.item is None)
            raise UsageError(
                f"task '{by_hand}' of stream '{self.name}' was made by hand: expected tasks of a "
                "stream that was opened; nothing was written. Import its features first, see "
                "`autods import-features`."
            )
        synthetic = None
        if "parameters" in self.provenance:
            known = {key: self.provenance["parameters"].get(key) for key in SYNTHETIC}
            synthetic = SyntheticData(**known)
        return StreamSpec.model_validate(
            {
                "name": self.name,
                "encoder": self.provenance.get("encoder_name"),
                "scenario": self.scenario,
                "protocol": self.provenance.get("protocol"),
                "normalize": self.normalize,
                "synthetic": synthetic,
                "datasets": items,
            }
        )

    def write(self, path: str | Path) -> Path:
        """Write the definition that opens this very stream again as a YAML file.

        Returns
        -------
        Path
            The file, which `autods.open_stream` and ``--stream`` take in place of a name.

        Raises
        ------
        UsageError
            As of `spec`.
        """
        return self.spec().write(Path(path))

    def preview(self, per_row: int = 8, seed: int = 0) -> ContactSheet:
        """Return a contact sheet, a row for each task; a notebook shows it as a picture.

        Tasks whose images are not at hand have a row without images that says why.
        """
        from autods.streams.preview import preview_tasks

        counted = [{s: len(getattr(task, s)) for s in SPLITS} for task in self.tasks]
        pairs = list(zip(self.tasks, counted, strict=True))
        return preview_tasks(self.name, pairs, per_row, seed)

    def describe(self) -> list[dict[str, str | int]]:
        """Return one row per task: task, dataset, and the numbers of classes and samples."""
        return [
            {
                "task": task.name,
                "dataset": task.dataset,
                "classes": len(task.class_names),
                "train": len(task.train),
                "dev": len(task.dev),
                "test": len(task.test),
            }
            for task in self.tasks
        ]


def _shortened(name: str, width: int = 30) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _cell(value: str | int) -> str:
    return f"<td>{escape(f'{value:,}' if isinstance(value, int) else value)}</td>"
