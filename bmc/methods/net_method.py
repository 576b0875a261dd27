"""What methods share that train the residual MLP: passes over a task, one loss, the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autods.streams.stream import Stream
from bmc.config import Config
from bmc.methods.base import Method
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.copies import StackedCopies
from bmc.train.data import (
    Split,
    TaskTensors,
    dev_data,
    is_on,
    network_input,
    take,
    training_data,
)  # fmt: skip
from bmc.train.loop import Course, by_loss, train_stacked
from bmc.train.losses import task_loss
from bmc.train.moments import Moments
from bmc.train.plateau import Plateau, judge_by_loss
from bmc.train.rows import Features
from bmc.train.sampling import Shuffled, rows_per_pass, steps_for
from bmc.train.seeds import Noise, generator


class NetMethod(Method):
    """A method that trains one residual MLP on the current task; plain fine-tuning.

    Subclasses change what they need to: `begin_group`, `draw` and `gather` (what a batch consists
    of), `loss` or, where one loss will not do, `observe`, then `end_group` and the state.
    """

    shared = Method.shared | {
        "epochs", "batch_size", "learning_rate", "weight_decay", "hidden", "inner", "width",
        "dropout", "feature_norm", "outputs", "capture", "seed", "moments",
        "plateau", "plateau_threshold", "early_stopping", "drop_last",
    }  # fmt: skip
    extra_rows = 0  # rows beside a batch's own that need dropout noise: replayed ones
    one_by_one = True  # whether some batches consist of one task's own samples alone
    capturable = True  # whether `observe` may be recorded as a CUDA graph: it draws nothing then

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.net = self.new_net(n_classes, "initial weights")
        # AdamW's, where they outlive a task
        self.moments: Moments | None = None
        if self.reads("moments") and self.config.moments == "kept":
            self.moments = Moments.new(self.net)

    def new_net(self, n_classes: int, *keys: int | str) -> ResidualMLP:
        """Return a network of so many classes; its weights are drawn from the stream ``keys``."""
        net = ResidualMLP(self.dim, n_classes, **self.config.network()).to(self.device)
        net.reset(generator(self.config.seed, *keys))
        return net.eval()

    @classmethod
    def unfit(cls, stream: Stream, config: Config) -> str | None:
        """Refuse tasks of one training sample, of which batch normalisation leaves nothing."""
        small = [task.name for task in stream.tasks if len(task.train) == 1]
        if not small or not cls.one_by_one:
            return None
        return (
            f"{cls.title} learns tasks one by one with batch normalisation, which needs at least 2 "
            f"different training samples, but task '{small[0]}' has 1. Leave it out of the stream, "
            "or add samples."
        )

    @property
    def outputs(self) -> int:
        """How many classes compete, in training and in prediction: 0 ... outputs - 1."""
        return self.n_classes if self.config.outputs == "all" else self.seen

    def inputs(self, features: Tensor) -> Tensor:
        """Turn stored feature rows [..., d] into what the network reads, on the device."""
        return network_input(features.to(self.device), self.config.feature_norm)

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Train on the group's training data for ``epochs`` passes."""
        self.seen = group[-1].stop
        data, first = training_data(group), group[0].index
        course = self.course(data, ("batches", first), ("dropout", first))
        self.begin_group(group)

        gather = partial(self.gather, data)

        def fetch(rows: Tensor, _: Sequence[int]) -> tuple[Tensor, ...]:
            return self.draw(rows) if here else self.fetch(data, rows)

        def step(update: StackedCopies, batch: Batch) -> None:
            features, labels, *drawn = batch.data
            self.observe(update, self.inputs(features), labels, batch.keep, *drawn)

        # a `fetch` of the method's own makes the batches, wherever the table is
        here = is_on(data.features, self.device) and type(self).fetch is NetMethod.fetch
        with self.watch.phase("train", self.device):
            made = train_stacked(
                self.net, [course], fetch, step, self.config, gather=gather if here else None,
                classes=self.outputs, extra_rows=self.extra_rows, capture=self.capturable,
                moments=self.moments, **self.judged(self.net, dev_data(group)),
            )  # fmt: skip
        self.steps += sum(made)
        self.keep_moments()
        with self.watch.phase("memory", self.device):
            self.end_group(group)

    def course(
        self, data: Split, batches: Sequence[int | str], dropout: Sequence[int | str]
    ) -> Course:
        """Return what the network trains on in a group; arguments as of `passes`."""
        return self.passes(len(data), self.config.epochs, batches, dropout)

    def keep_moments(self) -> None:
        """Go on with AdamW's moments as they are stored, so that a resumed run does the same."""
        if self.moments is not None:
            self.moments.load_state(self.moments.state(self.net.size(self.outputs)))

    def passes(
        self, rows: int, epochs: int, batches: Sequence[int | str], dropout: Sequence[int | str]
    ) -> Course:
        """Return shuffled passes over so many rows; the keys name the streams of its draws."""
        config, seed, size = self.config, self.config.seed, self.config.batch_size
        drawn = rows_per_pass(rows, size, config.drop_last)
        return Course(
            sampler=Shuffled(rows, generator(seed, *batches), drawn),
            steps=steps_for(drawn, epochs, size),
            noise=Noise(seed, *dropout),
            judged_every=steps_for(drawn, 1, size),
        )

    def judged(self, net: ResidualMLP, held_out: Split) -> dict[str, Any]:
        """Return the options of `train_stacked` by which these samples lower the learning rate.

        Labels are as the net's head counts them; without samples, or if the configuration has
        no plateau, there are none.
        """
        plateau = Plateau.of(self.config, ends=self.reads("early_stopping"))
        if plateau is None or not len(held_out):
            return {}
        return {"plateau": plateau, "judge": judge_by_loss(net, [held_out], self.config)}

    def fit(
        self,
        net: ResidualMLP,
        tables: Sequence[Features],
        course: Course,
        loss: Callable[[Batch], Tensor] | None = None,
        prepare: Callable[..., tuple[Tensor, ...]] | None = None,
        **options: Any,
    ) -> None:
        """Train a network on rows of the tables [n, ...], with options of `train_stacked`.

        The default loss is the task loss; the tables are then features and labels. ``prepare``
        makes of the rows of several batches what the loss takes.
        """

        def gather(rows: Tensor) -> tuple[Tensor, ...]:
            return tuple(take(table, rows, self.device) for table in tables)

        def fetch(rows: Tensor, _: Sequence[int]) -> tuple[Tensor, ...]:
            if prepare is not None:
                return prepare(*gather(rows))
            return (rows,) if here else gather(rows)

        def of_task(batch: Batch) -> Tensor:
            features, labels = batch.data
            return task_loss(net(self.inputs(features), batch.keep)[0], labels)

        here = prepare is None and is_on(tables[0], self.device)
        made = train_stacked(
            net, [course], fetch, by_loss(loss or of_task), self.config,
            gather=gather if here else None, **options,
        )  # fmt: skip
        self.steps += sum(made)

    def begin_group(self, group: Sequence[TaskTensors]) -> None:
        """Prepare for a group; nothing by default."""

    def end_group(self, group: Sequence[TaskTensors]) -> None:
        """Remember what the method needs of a group; nothing by default."""

    def fetch(self, data: Split, rows: Tensor) -> tuple[Tensor, ...]:
        """Return what n batches consist of, from the task's rows [n, 1, B] of each.

        Asked where the table is not on the device; of a method that overrides it, everywhere. The
        result is then copied to the captured update, which `gather` would be part of.
        """
        return self.gather(data, *self.draw(rows))

    def draw(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return all that the host decides of n batches, from the task's rows [n, 1, B] of each.

        Tensors [k, 1, ...] on the host, first these rows, of the first k <= n batches: those
        whose tensors have the same shapes, at least one. An update draws nothing itself.
        """
        return (rows,)

    def gather(self, data: Split, rows: Tensor, *drawn: Tensor) -> tuple[Tensor, ...]:
        """Return features [n, 1, B, d], labels [n, 1, B] and what else `observe` takes.

        Of what `draw` returned; it runs within the captured update and asks the host nothing.
        """
        own = tuple(take(table, rows, self.device) for table in (data.features, data.labels))
        return (*own, *drawn)

    def observe(
        self, update: StackedCopies, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor
    ) -> None:
        """Make one update with a batch: x [1, B, d], labels [1, B], and what else was drawn.

        ``keep`` is bool [1, B + extra_rows, dropout_width], the activations that survive.
        """
        update.descend(self.loss(x, labels, keep, *drawn))

    def loss(self, x: Tensor, labels: Tensor, keep: Tensor, *drawn: Tensor) -> Tensor:
        """Return the loss [1] of one batch; arguments as of `observe`."""
        logits, _ = self.net(x, keep[:, : x.shape[1]])
        return task_loss(logits, labels)

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits of the classes that compete, float32 [n, outputs]."""
        logits: Tensor = self.net(self.inputs(features)[None], classes=self.outputs)[0]
        return logits[0]

    def unseen_scores(self, features: Tensor, start: int, stop: int) -> Tensor | None:
        """Return what the head's outputs for classes not met say, float32 [n, stop - start].

        A method that scores in another way than by these outputs has none.
        """
        if type(self).scores is not NetMethod.scores:
            return None
        logits: Tensor = self.net(self.inputs(features)[None], classes=stop)[0]
        return logits[0, :, start:]

    def state(self) -> dict[str, Tensor]:
        """Return the network's parameters and running statistics, and AdamW's moments if kept."""
        state = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        if self.moments is not None:
            state |= self.moments.state(self.net.size(self.outputs))
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load the network."""
        self.net.load_state_dict(
            {name[4:]: tensor for name, tensor in state.items() if name.startswith("net.")}
        )
        if self.moments is not None:
            self.moments.load_state(state)
