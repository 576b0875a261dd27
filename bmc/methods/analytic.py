"""BMC-Analytic: two-level Gaussian consolidation, one message per task, bounded memory.

In BMC's setting every task is learned by an expert that sees its own rows alone and sends one
message. Here the centre never trains. It tells tasks apart by one covariance that is the mean over
the tasks' (level 1); within a task it uses the head that the task's expert sent (level 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autods.errors import UsageError
from bmc.config import Config, option
from bmc.methods.base import METHODS, Method
from bmc.methods.closed_form import ClosedForm, shrunk_covariance
from bmc.methods.gaussian_message import (
    Table,
    covariance_form,
    degrees_of_freedom,
    known_variance,
    packed_covariance,
    packed_rows,
    rows_form,
    shrunk_means,
    unpacked_covariance,
    unpacked_rows,
)
from bmc.methods.message import COUNTS, Entry, Form, Message, Variant
from bmc.methods.task_head import Expert, Gaussian, Head, head_form, network_of
from bmc.methods.task_record import TaskRecord, packed_records, unpacked_records
from bmc.network.mlp import ResidualMLP
from bmc.train.data import TaskTensors, withheld_rows
from bmc.train.packed import COVARIANCE, to_message
from bmc.train.seeds import generator

GRID = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the shrinkage that the stream chooses


@METHODS.register("bmc-analytic")
class AnalyticConsolidation(ClosedForm):
    """Experts send Gaussian statistics and a head once; the centre only adds and compares.

    Attributes
    ----------
    tasks
        What is kept of each task, in the order of their classes.
    covariance
        float64 [d, d], sum of the covariances that experts sent.
    """

    name = "bmc-analytic"
    title = "BMC-Analytic"
    distributed = True
    across_sites = True
    source = (
        "This project, in BMC's setting; shared covariance as in Deep SLDA, means and predictive "
        "variance as in probabilistic LDA (Ioffe, ECCV 2006)"
    )
    order_free = True
    equation = """
        an expert sends   n_c, x̄_c,  S_t (its largest directions and the trace of the rest), W, b
        S₀ = mean of the S_t;   g = τ n_c / (τ n_c + 1);   v_c = 1 + τ / (τ n_c + 1)
        c_t = mean of the x̄_c of task t;   m_c = g x̄_c + (1 − g) c_t
        level 1   a_c = −(x − m_c)ᵀ ((1 − ε) S₀ + ε s I)⁻¹ (x − m_c) / 2 v_c − δ d log(v_c) / 2
        level 2   W_c = ((1 − e) S_t + e s_t I)⁻¹ (m_c − c_t),  b_c = −(m_c − c_t)·W_c / 2 − c_t·W_c
                  e = 1 − (1 − e_h) f_t / (ν + f_t),  f_t = N_t − k_t;   or a trained head
        score of c in t: log Σ_{j in t} exp(a_j / T) − log k_t + log softmax_j((W_j·x + b_j) / T)
    """
    shared = Method.shared | {
        "epochs", "batch_size", "learning_rate", "weight_decay", "hidden", "inner", "width",
        "dropout", "feature_norm", "capture", "seed",
    }  # fmt: skip

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        shrinkage: float = option(
            0.0,
            "Share of the identity in the pooled covariance, ε; 0: chosen on withheld samples.",
            at_least=0,
            at_most=1,
        )
        withheld_per_class: int = option(
            2, "Samples a class, at most, that experts send to choose the shrinkage.", at_least=1
        )
        rank: int = option(
            64, "Directions of its covariance that an expert sends; 0: all of it.", at_least=0
        )
        trust: float = option(
            0.2, "Variance between classes in units of that within, τ.", above=0, hidden=True
        )
        volume: float = option(
            1.0, "Weight of the predictive variance's volume, δ.", at_least=0, hidden=True
        )
        head_prior: float = option(
            0.1, "Degrees of freedom, per dimension, that the identity has in a head, ν / d.",
            at_least=0, hidden=True,
        )  # fmt: skip
        head_shrinkage: float = option(
            0.2, "Least share of the identity in a head, e_h.", above=0, at_most=1, hidden=True
        )
        temperature: float = option(
            0.01, "Temperature of both levels, per dimension, T / d.", above=0, hidden=True
        )
        trained_from: int = option(
            500, "Samples a class from which on an expert also tries a trained head.", at_least=10
        )

    options: Options

    def __init__(self, dim: int, n_classes: int, config: Config, device: torch.device) -> None:
        super().__init__(dim, n_classes, config, device)
        self.tasks: list[TaskRecord] = []
        self._nets: dict[int, ResidualMLP] = {}  # trained heads by the first class of their task
        self.covariance = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        o = self.options
        self._gaussian = Gaussian(
            o.trust, o.head_prior * dim, o.head_shrinkage, o.temperature * dim
        )

    def learn(self, group: Sequence[TaskTensors]) -> None:
        """Let each task's expert summarise its data, and take in what they send."""
        with self.watch.phase("experts", self.device):
            sent = [self.message(task, group) for task in group]
        self.take_in(group, sent)

    def take_in(self, group: Sequence[TaskTensors], messages: Sequence[Message]) -> None:
        """Take in what the experts of a group sent."""
        self.communication_bytes += sum(message.nbytes for message in messages)
        with self.watch.phase("consolidation", self.device):
            for task, message in zip(group, messages, strict=True):
                self._receive(task.start, message.tensors)
        self.seen = group[-1].stop
        self.settle()

    def message(self, task: TaskTensors, group: Sequence[TaskTensors], part: int = 0) -> Message:
        """Return what the expert of a task sends; its size is that of a safetensors file."""
        if part:
            raise UsageError(
                f"--part {part}: {self.title} does not cut tasks: its expert makes one pass over "
                "all samples; nothing was trained. Leave --part out."
            )

        o, k = self.options, task.n_classes
        table = Table(task.train.features, task.train.labels.to(self.device) - task.start)
        draws = generator(self.config.seed, "withheld", task.name)
        withheld = withheld_rows(table.labels, k, 0 if o.shrinkage else o.withheld_per_class, draws)
        expert = Expert(table, k, withheld, self._gaussian, self.config, o.trained_from, task.name)
        whole, fitted, head = expert.learn()
        message = {
            "counts": whole.counts.int(),
            "means": whole.means.half(),
            **packed_covariance(fitted.values, fitted.vectors, o.rank),
            **head.tensors,
        }
        if not o.shrinkage:
            message |= packed_rows(table.rows(withheld))
            message |= {"row_labels": table.labels[withheld].short()}
        return Message(message, nbytes=len(to_message(message)))

    def message_form(self, classes: int, rows: int) -> Form:
        """Return the form of a message; only tasks of many samples may have a trained head."""
        o, d = self.options, self.dim
        statistics = {
            "counts": Entry(torch.int32, ("k",), COUNTS),
            "means": Entry(torch.float16, ("k", d)),
        }
        groups: list[list[Variant]] = [
            [statistics], covariance_form(d, o.rank),
            *head_form(d, classes, self.config, rows >= o.trained_from * classes),
        ]  # fmt: skip
        if not o.shrinkage:
            groups.append([rows_form(d)])
        most = {"k": classes, "r": d, "m": o.withheld_per_class * classes}
        return Form(groups, most, {"k": classes, "r": 0, "m": 0})

    def _receive(self, start: int, message: dict[str, Tensor]) -> None:
        """Add the covariance of a message and keep the rest of it."""
        tensors = {name: tensor.to(self.device) for name, tensor in message.items()}
        covariance = unpacked_covariance(tensors)
        task = TaskRecord.of(start, tensors)
        self.covariance += task.share_without_rows() * covariance
        self.tasks = sorted([*self.tasks, task], key=lambda known: known.start)

    def solve(self) -> tuple[Tensor, ...]:
        """Return level 1 of all rows: whitening [d, d], whitened m_c [C, d], v_c [C]."""
        whole, shrinkage = self.covariance, self.options.shrinkage
        if not shrinkage:
            shrinkage = self.chosen_shrinkage()
            for task in self.tasks:
                roots = task.without_rows()[2]
                whole = whole + roots.T @ roots / degrees_of_freedom(task.tensors["counts"])
        identity = torch.eye(self.dim, dtype=torch.float64, device=self.device)
        factor = torch.linalg.cholesky(self._shrunk(whole / len(self.tasks), shrinkage))
        white = torch.linalg.solve_triangular(factor, identity, upper=False).T
        statistics = [(t.tensors["counts"], t.tensors["means"].double()) for t in self.tasks]
        means, spread = self._predictive(statistics)
        return white.float(), (means @ white).float(), spread.float()

    def _shrunk(self, covariance: Tensor, shrinkage: float) -> Tensor:
        """Return a covariance [d, d] shrunk to its mean variance, which is never zero."""
        variance = covariance.diagonal().mean()
        known = known_variance(variance, self.dim)
        least = torch.where(known > variance, known, 0.0)
        return shrunk_covariance(covariance, shrinkage, least)

    def _predictive(self, statistics: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return m_c, float64 [C, d], and v_c [C], of the counts and means of all tasks."""
        trust = self.options.trust
        means = torch.cat([shrunk_means(m, n, trust)[0] for n, m in statistics])
        counts = torch.cat([n for n, _ in statistics])
        return means, 1 + trust / (trust * counts + 1)

    def _densities(self, white: Tensor, means: Tensor, spread: Tensor) -> Tensor:
        """Return a_c / T of all classes: whitened [n, d] to [n, C]."""
        distance = white.square().sum(dim=1, keepdim=True) - 2 * white @ means.T
        distance += means.square().sum(dim=1)  # (x - m_c)' S^-1 (x - m_c)
        densities = -0.5 * (distance / spread + self.options.volume * self.dim * spread.log())
        return densities / self._gaussian.temperature

    def _evidence(self, white: Tensor, means: Tensor, spread: Tensor) -> Tensor:
        """Return log mean exp(a_c / T) over the classes of each task: whitened [n, d] to [n, T]."""
        sizes = [len(task.tensors["counts"]) for task in self.tasks]
        parts = torch.split(self._densities(white, means, spread), sizes, dim=1)
        return torch.stack([p.logsumexp(dim=1) - math.log(p.shape[1]) for p in parts], dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """Return log p(task) + log p(class | task) up to a term of the sample: [n, seen]."""
        white, means, spread = self.head()
        rows = self.unit(features)
        evidence = self._evidence(rows @ white, means, spread)
        scores = rows.new_full((len(rows), self.seen), -torch.inf)
        for number, task in enumerate(self.tasks):
            scores[:, task.classes] = evidence[:, number, None] + self._within(task, rows)
        return scores

    def _within(self, task: TaskRecord, rows: Tensor) -> Tensor:
        """Return log p(class | task) by the head that the expert sent, float32 [n, k]."""
        net = self._nets.get(task.start)
        return Head(task.tensors).log_probabilities(rows, net, self.config.feature_norm)

    def chosen_shrinkage(self) -> float:
        """Return the value of `GRID` under which withheld rows belong to their tasks most surely.

        The rows are taken out of covariance, counts and means. What counts is the log posterior
        of a row's task, as a mean over its rows and then over tasks. Which shares of rows are
        right would be too coarse, since few rows decide; the classes within a task do not
        depend on this shrinkage.
        """
        sizes = [task.n_rows for task in self.tasks]
        rows = torch.cat([unpacked_rows(task.tensors) for task in self.tasks])
        repeats = torch.tensor(sizes, device=self.device)
        number = torch.arange(len(sizes), device=self.device).repeat_interleave(repeats)[:, None]
        means, spread = self._predictive([task.without_rows()[:2] for task in self.tasks])
        share = sum(task.share_without_rows() for task in self.tasks)
        values, axes = torch.linalg.eigh(self.covariance / share)
        rows, means, values = rows @ axes, means @ axes, values.clamp(min=0)
        reached = []
        for shrinkage in GRID:
            scale = self._shrunk(values.diag(), shrinkage).diagonal().rsqrt()
            evidence = self._evidence(rows * scale, means * scale, spread)
            posterior = torch.split(evidence.log_softmax(dim=1).gather(1, number), sizes)
            reached.append(sum(float(part.mean()) for part in posterior if len(part)))
        return GRID[reached.index(max(reached))]

    def records(self) -> dict[str, Any]:
        """Return the shrinkage in use and how many heads were trained."""
        shrinkage = self.options.shrinkage or self.chosen_shrinkage()
        return {"shrinkage": shrinkage, "trained_heads": len(self._nets)}

    def state(self) -> dict[str, Tensor]:
        """Return the pooled covariance, and of all tasks one after the other what is kept."""
        covariance = COVARIANCE.pack("covariance", self.covariance, self.seen)
        return covariance | packed_records(self.tasks)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load what `state` returned."""
        state = {name: tensor.to(self.device) for name, tensor in state.items()}
        self.covariance = COVARIANCE.unpack("covariance", state, self.n_classes)
        self.tasks = unpacked_records(state)
        self._nets = {
            task.start: net
            for task in self.tasks
            if (net := network_of(task.tensors, self.dim, self.config)) is not None
        }
        self._head = None
