"""Mammoth: a stream as a dataset class that Mammoth registers, with a network for features.

Mammoth is run from its own folder. A file in its ``datasets``, such as
``docs/examples/mammoth_dataset.py``, calls `stream_dataset`. What it asks of a dataset:
https://aimagelab.github.io/mammoth/datasets/build_a_dataset.html
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from autods.errors import UsageError
from autods.interop.arrays import class_names, feature_set
from autods.streams.stream import Stream, Task

BACKBONE = "autods-mlp"


class FeatureRows(Dataset[tuple[Any, ...]]):
    """Samples of some tasks, as Mammoth's wrapper takes them.

    ``data`` are the stored features [n, d], ``targets`` global class numbers int64 [n].
    """

    def __init__(self, tasks: list[Task], split: str) -> None:
        sets = [feature_set(task, split) for task in tasks]
        self.data: npt.NDArray[Any] = np.concatenate([part.features for part in sets])
        self.targets: Any = np.concatenate([part.labels for part in sets])
        self.train = split == "train"

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return features float32 [d] and label, in training the features once more.

        The third is the sample without augmentation, which is what methods with a memory keep;
        features are not augmented.
        """
        x = torch.from_numpy(self.data[index].astype(np.float32))
        return (x, self.targets[index], x.clone()) if self.train else (x, self.targets[index])


def stream_dataset(
    stream: Stream,
    *,
    name: str = "autods",
    epochs: int = 10,
    batch_size: int = 64,
    hidden: int = 256,
) -> type[Any]:
    """Return a stream as a ``ContinualDataset`` of Mammoth, and register a network for it.

    Assigned to a name in a module of Mammoth's ``datasets``, Mammoth finds the class as
    ``--dataset NAME``. Tasks, class numbers and order are the stream's. Both scenarios are
    ``class-il`` to Mammoth: it measures task-il beside it. The development part stays unused;
    ``--validation`` of Mammoth takes its own share of train. ``hidden`` is the width of both
    hidden layers of the network ``autods-mlp``. Outside Mammoth's folder: `UsageError`.
    """
    mammoth, backbones, defaults = _mammoth()
    _register_backbone(backbones, stream, hidden)

    # Mammoth is imported where it is installed: for the type checker its classes are unknown
    class StreamDataset(mammoth.ContinualDataset):  # type: ignore[misc,name-defined]
        """A stream of features; see `autods.interop.mammoth.stream_dataset`."""

        NAME = name
        SETTING = "class-il"
        N_TASKS = len(stream.tasks)
        # a list of the class, where Mammoth reads it
        N_CLASSES_PER_TASK = [len(task.class_names) for task in stream.tasks]  # noqa: RUF012
        N_CLASSES = stream.n_classes
        SIZE = (stream.dim,)
        TRANSFORM = None
        TEST_TRANSFORM = None

        # Mammoth reads the defaults of its options where the class is made.
        get_backbone = defaults.set_default_from_args("backbone")(lambda _: BACKBONE)
        get_epochs = defaults.set_default_from_args("n_epochs")(lambda _: epochs)
        get_batch_size = defaults.set_default_from_args("batch_size")(lambda _: batch_size)
        get_loss = staticmethod(lambda: nn.functional.cross_entropy)
        # Features are not augmented, and the stream has normalised them.
        get_transform = staticmethod(lambda: None)
        get_normalization_transform = staticmethod(lambda: None)
        get_denormalization_transform = staticmethod(lambda: None)

        def get_data_loaders(self) -> Any:
            """Return the loaders of the next task's training and test data."""
            tasks = _tasks_of(stream, self.args, self.c_task + 1)
            train, test = FeatureRows(tasks, "train"), FeatureRows(tasks, "test")
            return mammoth.store_masked_loaders(train, test, self)

        def get_class_names(self) -> list[str]:
            """Return the names of all classes, by label."""
            self.class_names = class_names(stream)
            return self.class_names

    return StreamDataset


def _mammoth() -> tuple[Any, Any, Any]:
    """Return Mammoth's modules of datasets, of networks, and of default options."""
    try:
        names = ("datasets.utils.continual_dataset", "backbone", "datasets.utils")
        mammoth, backbones, defaults = (import_module(name) for name in names)
    except ImportError as missing:
        raise UsageError(
            f"Mammoth was not found ({missing}); no dataset was made. Put the file that calls "
            "stream_dataset into Mammoth's folder datasets/ and run Mammoth from its own folder."
        ) from None
    return mammoth, backbones, defaults


def _tasks_of(stream: Stream, args: Any, current: int) -> list[Task]:
    """Return the tasks whose samples Mammoth chooses from, given its options."""
    if args.permute_classes:
        raise UsageError(
            "the order of classes is the stream's; run Mammoth with --permute_classes=0 and open "
            "the stream in another order."
        )
    if args.joint:
        return stream.tasks
    first = 0 if args.validation_mode == "complete" else current
    return stream.tasks[first : current + 1]


def _register_backbone(backbones: Any, stream: Stream, hidden: int) -> None:
    """Register an MLP from features to all classes of a stream."""

    # unknown to the type checker, as Mammoth's dataset class above
    class FeatureMLP(backbones.MammothBackbone):  # type: ignore[misc]
        """d -> hidden -> hidden -> classes, as Mammoth calls its networks."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(stream.dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
            )
            self.classifier = nn.Linear(hidden, stream.n_classes)

        def forward(self, x: Tensor, returnt: str = "out") -> Any:
            """Return logits [b, C], the last hidden layer [b, hidden], or both."""
            features = self.body(x)
            if returnt == "features":
                return features
            out = self.classifier(features)
            return out if returnt == "out" else (out, features)

    backbones.register_backbone(BACKBONE)(FeatureMLP)
