"""Test samples that a run got wrong, with a small picture of each where the images are at hand."""

from __future__ import annotations

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

MOST = 24  # pictures on a page
SIDE = 96  # pixels of a picture


class Mistake(NamedTuple):
    """One sample: its class and dataset, those of the answer, and its picture as an address."""

    label: str
    label_dataset: str
    answer: str
    answer_dataset: str
    picture: str


def mistakes_of(run: Run, root: Path | None) -> list[Mistake]:
    """Return a sample of each of the most frequent mistakes; empty if images are not at hand.

    Images are looked for under ``root``, by default that of ``AUTODS_ROOT``, and shown only if
    the features there are those that the run was measured on.
    """
    answers = run.answers()
    if answers is None or not all(task.class_names for task in run.tasks):
        return []
    from autods.pages.thumbnails import Album

    names, shown, album = Classes([run]).all, [], Album(side=SIDE)
    try:
        images = _images(run, answers, root)
        for task, place, label, answer in _typical(run, answers):
            truth, said = names[label], names[answer]
            picture = album.of(images[task].decode(place)).source
            shown.append(Mistake(truth.name, truth.dataset, said.name, said.dataset, picture))
    except AutodsError:  # a report needs no images: it shows those that can be read
        return shown
    return shown


def _typical(run: Run, answers: Mapping[str, Answers]) -> list[tuple[str, int, int, int]]:
    """Return (task, place in its split, class, answer) of one sample of each frequent mistake."""
    first: dict[tuple[int, int], tuple[str, int]] = {}
    count: dict[tuple[int, int], int] = {}
    for task in run.tasks:
        said = answers[task.name]
        for place in np.flatnonzero(said.answer != said.label).tolist():
            pair = int(said.label[place]), int(said.answer[place])
            first.setdefault(pair, (task.name, place))
            count[pair] = count.get(pair, 0) + 1
    frequent = sorted(count, key=lambda pair: (-count[pair], pair))[:MOST]
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
