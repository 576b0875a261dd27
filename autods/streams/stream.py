"""Streams: ordered tasks over feature sets, with one owner of label numbering.

Here are the types, usable for features from anywhere; how a stream is put together from
stored features is in `autods.streams.open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autods.core.registry import unknown
from autods.errors import FeaturesMissing, ImagesMissing, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from autods.core.root import DataRoot
    from autods.manifest.catalogue import Catalogue
    from autods.manifest.schema import StreamItem, StreamSpec
    from autods.streams.images import ImageSet

SCENARIOS = ("class-il", "task-il")
SPLITS = ("train", "dev", "test")
SYNTHETIC = ("scale", "seed", "classes", "per_class", "dim")  # what sizes a generated stream
SERIAL = 32_768  # numbers that torch converts without waking its thread pool
GATHERED = 256  # rows fetched at once: amortises the calls, stays in the processor's cache

# name of a list of templates -> float32 [c, d], see `Task.texts`; small, and can be pickled
TextSource = Callable[[str], npt.NDArray[np.float32]]
# split, and the options of an ImageSet by their names -> the images, see `Task.images`
ImageSource = Callable[..., "ImageSet"]


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet:
    """Features and labels of one split of one task.

    Attributes
    ----------
    features
        Array [n, d], float16; may be memory-mapped.
    labels
        int64 [n], global class numbers of the stream.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return int(self.features.shape[1])

    def batches(
        self, batch_size: int, seed: int | Sequence[int], dtype: torch.dtype | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of shuffled batches; every sample exactly once, the last may be short.

        Parameters
        ----------
        batch_size
            Samples per batch, b.
        seed
            Seed of the order; pass ``(seed, epoch)`` for another order in every epoch.
        dtype
            Type of the features; default float32.

        Yields
        ------
        Features [b, d] of ``dtype`` and labels int64 [b], CPU tensors; never the stored memory.
        """
        import torch

        features, labels = self.features, torch.from_numpy(self.labels)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(self))
        rows = batch_size * max(1, GATHERED // batch_size)
        # One buffer for all: fresh memory for every gather would be paged in again and again.
        buffer = np.empty((min(rows, len(order)), self.dim), features.dtype)
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            gathered = buffer[: len(chosen)]
            np.take(features, chosen, axis=0, out=gathered, mode="clip")  # "raise" would buffer
            x = torch.empty(gathered.shape, dtype=dtype or torch.float32)  # [rows, d]
            # One thread outruns the memory; waiting for a second one that is busy elsewhere
            # (another run, a worker) was measured to cost a factor of 50.
            pieces = torch.split(torch.from_numpy(gathered).view(-1), SERIAL)
            for target, piece in zip(torch.split(x.view(-1), SERIAL), pieces, strict=True):
                target.copy_(piece)
            y = labels[torch.from_numpy(chosen)]  # [rows]
            yield from zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True)


class StoredFeatureSet(FeatureSet):
    """A feature set whose features are read when they are first asked for, then kept.

    Parameters
    ----------
    load
        Returns the features, [n, d].
    labels
        int64 [n], global class numbers.
    dim
        Width d, known without loading.
    """

    _load: Callable[[], npt.NDArray[Any]]
    _dim: int

    def __init__(
        self, load: Callable[[], npt.NDArray[Any]], labels: npt.NDArray[np.int64], dim: int
    ) -> None:
        object.__setattr__(self, "labels", labels)  # the base class is frozen
        object.__setattr__(self, "_load", load)
        object.__setattr__(self, "_dim", dim)

    @cached_property
    def features(self) -> npt.NDArray[Any]:
        """Array [n, d], float16; a view of the memory map where nothing had to be changed."""
        return self._load()

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return self._dim


@dataclass(frozen=True)
class Task:
    """One task of a stream; its classes are numbered from ``class_offset`` on.

    ``text_source`` reads the embedded class names, ``image_source`` opens the images; ``None``
    where there are none. ``label_set`` is the dataset's labelling, ``item`` the definition of
    this task alone; a task made by hand has none.
    """

    name: str
    dataset: str
    index: int
    class_names: list[str]
    class_offset: int
    train: FeatureSet
    dev: FeatureSet
    test: FeatureSet
    text_source: TextSource | None = None
    image_source: ImageSource | None = None
    label_set: str = ""
    item: StreamItem | None = None

    def texts(self, templates: str = "default-v1") -> npt.NDArray[np.float32]:
        """Load the embedded names of this task's classes: float32 [c, d], rows of length 1.

        Row k belongs to class ``class_offset + k``.

        Raises
        ------
        FeaturesMissing
            When they were not embedded, or the features do not come from a data root.
        FeatureMismatch, StoreError
            See `autods.features.class_names.load_text`.
        """
        if self.text_source is None:
            raise FeaturesMissing(
                f"task '{self.name}' has no class names that could be embedded: its features do "
                "not come from a data root. Zero-shot classification needs features that were "
                "extracted or imported."
            )
        return self.text_source(templates)

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
            See `autods.streams.images.ImageSet`, which is a map-style dataset of torch.

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


@dataclass(frozen=True)
class Stream:
    """Tasks in order. ``normalize`` says what was done to the features: ``l2`` or ``none``."""

    name: str
    scenario: str
    tasks: list[Task]
    normalize: str
    provenance: dict[str, Any]

    @classmethod
    def open(
        cls,
        name_or_spec: str | StreamSpec,
        root: DataRoot | None = None,
        encoder: str | None = None,
        *,
        scenario: str | None = None,
        protocol: str | None = None,
        order: str | int | Sequence[str] = "paper",
        normalize: str | None = None,
        catalogue: Catalogue | None = None,
        classes_per_task: int | None = None,
        max_tasks: int | None = None,
    ) -> Stream:
        """Open a stream over stored features; they are read when a task is first used.

        Parameters
        ----------
        name_or_spec
            A stream's name, YAML file or definition; or comma-separated names of datasets
            with a manifest or with features under the root; or ``all`` or a glob pattern
            over the latter; or ``synthetic``, which is generated.
        root
            Where the features lie; ``None``: the default data root.
        encoder
            Name of the encoder whose features are used, ``<model>.<pretrained>``.
        scenario
            ``class-il`` or ``task-il``. Labels are global in both; at test, ``task-il`` is
            told the task.
        protocol
            ``clean`` drops, per dataset, training and development samples that also occur in
            test, copies of a sample, and samples that stand under two labels; ``paper`` keeps
            everything, split as published.
        order
            ``paper``: as defined; an integer: tasks permuted by that seed (PCG64); or all
            task or dataset names in the order wanted.
        normalize
            ``l2``: rows of length 1 (computed in float32, kept in float16; zero rows stay
            zero); ``none``: as stored, neighbouring rows without a copy.
        catalogue
            Manifests and streams that can be named; default: the shipped ones.
        classes_per_task
            Cut every dataset into tasks of about so many classes, where the stream's
            definition does not say.
        max_tasks
            Keep only the first tasks of the order.

        Notes
        -----
        ``None`` for encoder, scenario, protocol, normalize or max_tasks is what the stream's
        definition says, else no encoder, ``class-il``, ``clean``, ``l2`` and all tasks.

        Raises
        ------
        UnknownName, UsageError
            When a name or an option is not one of those that exist.
        FeaturesMissing, FeatureMismatch, StoreError
            When features are absent, of different encoders, or damaged.
        """
        from autods.streams.open import assemble

        return assemble(
            name_or_spec,
            root,
            encoder,
            scenario=scenario,
            protocol=protocol,
            order=order,
            normalize=normalize,
            catalogue=catalogue,
            classes_per_task=classes_per_task,
            max_tasks=max_tasks,
        )

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
            byhand = next(task.name for task in self.tasks if task.item is None)
            raise UsageError(
                f"task '{byhand}' of stream '{self.name}' was made by hand: expected tasks of a "
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
            The file, which `Stream.open` and ``--stream`` take in place of a name.

        Raises
        ------
        UsageError
            As of `spec`.
        """
        from pathlib import Path

        return self.spec().write(Path(path))

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


def l2_normalize(features: npt.NDArray[Any], block: int = 8192) -> npt.NDArray[np.float16]:
    """Scale rows [n, d] to length 1, in float32 by blocks of rows; zero rows stay zero."""
    out = np.empty(features.shape, np.float16)
    for start in range(0, len(features), block):
        part = features[start : start + block].astype(np.float32)
        length = np.sqrt(np.einsum("nd,nd->n", part, part))[:, None]
        out[start : start + block] = part / np.where(length > 0, length, 1)
    return out
