"""Test samples that a run got wrong, with a small picture of each where the images are at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autods.errors import AutodsError
from bmc.report.confusion import Classes
from bmc.report.finished import Run
from bmc.runs.samples import Answers

if TYPE_CHECKING:
    from autods.streams.images import ImageSet

MOST = 24  # pictures of the best method
FEWER = 12  # of each of the others
SIDE = 96  # pixels of a picture
FULL = 600_000  # characters of all pictures of a page


class Mistake(NamedTuple):
    """One sample: its class and dataset, those of the answer, and its picture as an address."""

    label: str
    label_dataset: str
    answer: str
    answer_dataset: str
    picture: str


class Gallery:
    """Pictures of what runs got wrong, for one page; images of runs that share them open once.

    Images are looked for under ``root``, by default that of ``AUTODS_ROOT``, and shown only if
    the features there are those that a run was measured on. ``why`` says of the last run why it
    has no pictures.
    """

    def __init__(self, root: Path | None) -> None:
        from autods.pages.thumbnails import Album

        self.why = ""
        self._root, self._album = root, Album(FULL, SIDE)
        self._opened: dict[str, Mapping[str, ImageSet] | AutodsError] = {}

    def of(self, run: Run, most: int = MOST) -> list[Mistake]:
        """Return a sample of each of a run's most frequent mistakes; empty without images."""
        answers, self.why = run.answers(), ""
        if answers is None or not all(task.class_names for task in run.tasks):
            self.why = "the run has not stored its answers, or the names of its classes"
            return []
        names, shown = Classes([run]).all, []
        try:
            images = self._images(run, answers)
            for task, place, label, answer in _typical(run, answers, most):
                truth, said = names[label], names[answer]
                picture = self._album.of(images[task].decode(place)).source
                if picture:  # else the page is full
                    shown.append(
                        Mistake(truth.name, truth.dataset, said.name, said.dataset, picture)
                    )
        except AutodsError as error:  # a report needs no images: it shows those that can be read
            self.why = str(error).removesuffix(".")
        return shown

    def _images(self, run: Run, answers: Mapping[str, Answers]) -> Mapping[str, ImageSet]:
        """Open the images of the run's tasks. Raises `AutodsError` if they are not at hand."""
        tasks = [task.model_dump(mode="json") for task in run.tasks]
        stream = [run.stream, run.scenario, run.protocol, run.config.get("evaluate_on"), tasks]
        key = json.dumps([stream, run.provenance], sort_keys=True, default=str)
        if key not in self._opened:
            try:
                self._opened[key] = _images(run, answers, self._root)
            except AutodsError as error:
                self._opened[key] = error
        found = self._opened[key]
        if isinstance(found, AutodsError):
            raise found
        return found


def _typical(
    run: Run, answers: Mapping[str, Answers], most: int
) -> list[tuple[str, int, int, int]]:
    """Return (task, place in its split, class, answer) of one sample of each frequent mistake."""
    first: dict[tuple[int, int], tuple[str, int]] = {}
    count: dict[tuple[int, int], int] = {}
    for task in run.tasks:
        said = answers[task.name]
        for place in np.flatnonzero(said.answer != said.label).tolist():
            pair = int(said.label[place]), int(said.answer[place])
            first.setdefault(pair, (task.name, place))
            count[pair] = count.get(pair, 0) + 1
    frequent = sorted(count, key=lambda pair: (-count[pair], pair))[:most]
    return [(*first[pair], *pair) for pair in frequent]


def _images(run: Run, answers: Mapping[str, Answers], root: Path | None) -> Mapping[str, ImageSet]:
    """Open the images of the run's tasks. Raises `AutodsError` if they are not at hand."""
    from autods.errors import ImagesMissing
    from autods.manifest.stream import StreamItem, StreamSpec
    from autods.streams.open import open_stream

    if not run.encoder or "features" not in run.provenance:
        raise ImagesMissing(f"the features of {run.stream} come from no data root.")
    items = [
        StreamItem(dataset=t.dataset, task=t.label_set or None, classes=t.class_names, name=t.name)
        for t in run.tasks
    ]
    spec = StreamSpec(name=run.stream, datasets=items)
    stream = open_stream(
        spec, root, run.encoder, scenario=run.scenario, protocol=run.protocol,
        normalize=run.provenance.get("normalize"),
    )  # fmt: skip
    split = run.config.get("evaluate_on", "test")
    images = {task.name: task.images(split) for task in stream.tasks}
    same = stream.provenance["features"] == run.provenance["features"]
    if not same or any(len(images[name]) != len(said.label) for name, said in answers.items()):
        raise ImagesMissing(f"the features of {run.stream} are others than those of the run.")
    return images
