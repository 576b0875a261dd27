"""What every method is: it learns groups of tasks, scores samples, saves its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from autods.errors import UsageError
from autods.streams.stream import Stream
from bmc.config import Config, OptionSet
from bmc.engines.base import Engine
from bmc.engines.local_engine import LocalEngine
from bmc.methods.message import Form, Message
from bmc.methods.plugins import PluginRegistry
from bmc.train.costs import samples_bytes
from bmc.train.data import TaskTensors
from bmc.train.phases import Stopwatch


class Method:
    """One continual-learning method.

    Parameters
    ----------
    dim
        Width d of the features.
    n_classes
        Classes of the whole stream.
    config
        Hyper-parameters; without ``config.options`` the method's defaults are filled in.
    device
        Where the method's tensors live.

    Attributes
    ----------
    options
        The method's own options, ``config.options``.
    seen
        Number of classes met so far; their numbers are ``0 ... seen - 1``.
    steps
        Updates of a network made so far.
    communication_bytes
        Bytes sent from experts to the centre so far.
    broadcast_bytes
        Bytes sent from the centre to experts so far.
    engine
        Where experts train; methods without ``has_experts`` have no use for it.
    watch
        Wall seconds per phase; what a method gives no name while it learns is ``train``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str] = ""  # where it is published
    equation: ClassVar[str] = ""  # as the code computes it; φ, θ, M, C as in docs/methods.md
    has_experts: ClassVar[bool] = False
    order_free: ClassVar[bool] = False  # whether any order of the tasks gives the same result
    reference: ClassVar[bool] = False  # sees all data at once: shown beside the others, not ranked
    # messages carry what is learned, so that training data stay where they are
    distributed: ClassVar[bool] = False
    uncounted: ClassVar[frozenset[str]] = frozenset()  # tensors of `state` that are no memory
    across_sites: ClassVar[bool] = False  # whether `message`, `message_form`, `take_in` work
    # the fields of `Config` that a method reads; every run reads these
    shared: ClassVar[frozenset[str]] = frozenset(
        {"evaluate_every", "evaluate_on", "measure_ahead", "precision"}
    )

    @dataclass(frozen=True)
    class Options(OptionSet):
        """The method's own options, each declared by `bmc.config.option`; here none."""

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        self.dim = dim
        self.n_classes = n_classes
        self.config = self.configured(config)
        self.options = self.config.options
        self.device = torch.empty(0, device=device).device  # as tensors name it; see `take`
        self.seen = 0
        self.steps = 0
        self.communication_bytes = 0
        self.broadcast_bytes = 0
        self.engine: Engine = LocalEngine()
        self.watch = Stopwatch()

    @classmethod
    def configured(cls, config: Config) -> Config:
        """Fill in the method's default options, unless ``config`` has options.

        Raises
        ------
        UsageError
            When they are those of another method.
        """
        if config.options is None:
            return replace(config, options=cls.Options())
        if not isinstance(config.options, cls.Options):
            raise UsageError(
                f"options: expected those of {cls.title}, got {type(config.options).__qualname__}; "
                "nothing was run. Make them with `bmc.methods.config_for`."
            )
        return config

    @classmethod
    def reads(cls, field: str) -> bool:
        """Tell whether the method reads a field of `Config`."""
        return field in cls.shared or (field == "memory_mb" and "memory" in cls.shared)

    @classmethod
    def sample_bytes(cls, dim: int, n_classes: int, config: Config) -> int:
        """Return how many bytes one sample of the memory takes, at most; here row and label."""
        return samples_bytes(1, dim)

    @classmethod
    def unfit(cls, stream: Stream, config: Config) -> str | None:
        """Say why this method cannot learn a stream, and what to do; ``None``: it can.

        Whole sentences to which the caller adds what follows from it.
        """
        return None

    def group_size(self, n_tasks: int) -> int:
        """Return how many of the stream's tasks are learned at once."""
        return 1

    def group_ends(self, n_tasks: int) -> list[int]:
        """Return after how many tasks each group ends; a smaller last group is learned, too."""
        size = self.group_size(n_tasks)
        return [*range(size, n_tasks, size), n_tasks]

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Learn the next group of tasks."""
        raise NotImplementedError

    def message(self, task: TaskTensors, group: Sequence[TaskTensors], part: int = 0) -> Message:
        """Return what the expert of a task sends, where the data of this task alone are.

        If the method cuts large tasks, that of one ``part``, counted from 1; with 0 of all.
        ``group`` are the tasks learned at once; the others need no samples. If experts begin with
        the base model (``has_experts``), it must be the centre's.
        """
        raise NotImplementedError

    def message_form(self, classes: int, rows: int) -> Form:
        """Return the form of the message about a task of so many classes and training samples."""
        raise NotImplementedError

    def take_in(self, group: Sequence[TaskTensors], messages: Sequence[Message]) -> None:
        """Learn the next group from one message about each of its tasks, which need no samples.

        The messages have the form of `message_form`; the result is that of `learn`, bit for bit.
        """
        raise NotImplementedError

    def scores(self, features: Tensor) -> Tensor:
        """Score samples [n, d] against the seen classes: float32 [n, seen].

        With ``outputs="all"`` a network scores all classes of the stream, [n, n_classes]. On a
        CPU several threads may ask at once, after a first call has returned.
        """
        raise NotImplementedError

    def unseen_scores(self, features: Tensor, start: int, stop: int) -> Tensor | None:
        """Score samples [n, d] against classes not met: float32 [n, stop - start].

        ``None``, the default: this method has no scores for them.
        """
        return None

    def memory_bytes(self) -> int:
        """Bytes kept between tasks beside the network itself: of the tensors of `state`.

        Those of the network, ``net.*``, and of ``uncounted`` are left out.
        """
        kept = (
            tensor.nbytes
            for name, tensor in self.state().items()
            if not name.startswith("net.") and name not in self.uncounted
        )
        return sum(kept)

    def records(self) -> dict[str, Any]:
        """Return what else the results say about this method; nothing by default."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return all that is needed to go on, as named tensors."""
        raise NotImplementedError

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        raise NotImplementedError


METHODS = PluginRegistry(
    "method", Method, needed=("name", "title", "learn", "scores", "state", "load_state")
)
