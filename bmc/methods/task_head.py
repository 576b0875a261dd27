"""How an expert of BMC-Analytic tells the classes of its task apart: a Gaussian or trained head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.config import Config
from bmc.methods.gaussian_message import Statistics, Table, degrees_of_freedom, shrunk_means
from bmc.methods.message import INSIDE, Entry, Variant
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.data import is_on, network_input, take
from bmc.train.loop import Course, by_loss, train_stacked
from bmc.train.losses import task_loss
from bmc.train.sampling import Shuffled, steps_for
from bmc.train.seeds import Noise, generator

SHARES = (0.0, 0.1, 0.3, 1.0)  # of the Gaussian head, beside a trained network
TEMPERATURES = tuple(0.25 * 1.25**i for i in range(21))  # of a trained network, up to 21.7
LEAST_STEPS = 500  # updates that a trained head gets, however few rows a task has


@dataclass(frozen=True)
class Gaussian:
    """What the Gaussian head of a task follows from; see `AnalyticConsolidation.equation`."""

    trust: float  # tau
    prior: float  # nu, in degrees of freedom
    shrinkage: float  # e_h
    temperature: float  # T

    def head(self, of: Statistics, offset: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return W [k, d] and b [k], float64: W x + b are tempered log-odds of the classes.

        The covariance is shrunk to its mean variance, the more the fewer rows there are. With
        ``offset`` 1 the classes have the prior probability of their counts, with 0 all the same.
        """
        means, centre = shrunk_means(of.means, of.counts, self.trust)
        away = means - centre
        freedom = degrees_of_freedom(of.counts)
        e = 1 - (1 - self.shrinkage) * freedom / (self.prior + freedom)
        floor = e * of.variance
        along = away @ of.vectors.T  # [k, q]
        weight = along * (1 / ((1 - e) * of.values + floor) - 1 / floor) @ of.vectors + away / floor
        bias = -0.5 * (away * weight).sum(dim=1) - weight @ centre
        bias += offset * of.counts.clamp(min=1).double().log()
        return weight / self.temperature, bias / self.temperature


@dataclass(frozen=True)
class Head:
    """The head of one task, as it is sent: W x + b, and a trained network's logits times a scale.

    Attributes
    ----------
    tensors
        ``weight`` float16 [k, d] and ``bias`` float32 [k]; of a network also ``network`` float16
        [P], its ``statistics`` float32 [S] and its ``scale`` float32 [].
    """

    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, network: dict[str, Tensor] | None = None) -> Head:
        """Round W and b to what is sent."""
        return cls({"weight": weight.half(), "bias": bias.float(), **(network or {})})

    def log_probabilities(self, rows: Tensor, net: ResidualMLP | None, norm: float) -> Tensor:
        """Return log softmax of the head at rows of length 1 [n, d]: float32 [n, k]."""
        scores = rows @ self.tensors["weight"].float().T + self.tensors["bias"]
        if net is not None:
            scores = scores + self.tensors["scale"] * logits(net, rows, norm)
        return scores.log_softmax(dim=1)


def head_form(dim: int, k: int, config: Config, trained: bool) -> list[list[Variant]]:
    """Return the form of a head of k classes, ``trained``: perhaps with a network."""
    linear = {
        "weight": Entry(torch.float16, ("k", dim)),
        "bias": Entry(torch.float32, ("k",)),
    }
    if not trained:
        return [[linear]]
    net = ResidualMLP(dim, k, **config.network())
    network = {
        "network": Entry(torch.float16, (net.size(k),), INSIDE),
        "statistics": Entry(torch.float32, tuple(net.statistics[0].shape)),
        "scale": Entry(torch.float32, ()),
    }
    return [[linear], [network, {}]]


def logits(net: ResidualMLP, rows: Tensor, norm: float) -> Tensor:
    """Return the network's logits of rows of length 1 [n, d], without a gradient."""
    with torch.no_grad():
        out: Tensor = net(rows[None] * norm)[0][0]
    return out


def network_of(sent: dict[str, Tensor], dim: int, config: Config) -> ResidualMLP | None:
    """Return the trained network that a head was sent with, if there is one."""
    if "network" not in sent:
        return None
    net = ResidualMLP(dim, len(sent["bias"]), **config.network()).to(sent["bias"].device)
    with torch.no_grad():
        net.weights.copy_(sent["network"][None])
    net.statistics.copy_(sent["statistics"][None])
    return net.eval()


def trained(table: Table, index: Tensor, k: int, config: Config, key: str) -> ResidualMLP:
    """Train a network on rows ``index`` of a task; the learning rate falls to zero."""
    net = ResidualMLP(table.features.shape[1], k, **config.network()).to(table.labels.device)
    net.reset(generator(config.seed, "head weights", key))
    steps = max(LEAST_STEPS, steps_for(len(index), config.epochs, config.batch_size))
    sampler = Shuffled(len(index), generator(config.seed, "head batches", key))
    course = Course(sampler, steps, Noise(config.seed, "head dropout", key))

    on_host, device = index.cpu(), table.labels.device
    here = is_on(table.features, device)

    def gather(rows: Tensor) -> tuple[Tensor, ...]:
        return take(table.features, rows, device), take(table.labels, rows, device)

    def fetch(rows: Tensor, _: Sequence[int]) -> tuple[Tensor, ...]:
        rows = on_host[rows]
        return (rows,) if here else gather(rows)

    def loss(batch: Batch) -> Tensor:
        x, labels = batch.data
        return task_loss(net(network_input(x, config.feature_norm), batch.keep)[0], labels)

    train_stacked(
        net.eval(), [course], fetch, by_loss(loss), config,
        gather=gather if here else None, schedule=lambda done: 1 - done,
    )  # fmt: skip
    with torch.no_grad():  # what is judged is what is sent
        net.weights.copy_(net.weights.half())
    return net.eval()


@dataclass(frozen=True)
class Expert:
    """The expert of one task: what it makes of its own rows.

    Attributes
    ----------
    withheld
        int64 [m], rows that it sends, so that the centre can choose its shrinkage.
    trained_from
        Rows a class from which on it also tries an offset by class counts and a trained network.
    key
        Names its random draws.
    """

    table: Table
    k: int
    withheld: Tensor
    gaussian: Gaussian
    config: Config
    trained_from: int
    key: str

    @property
    def has_many_rows(self) -> bool:
        """Whether a trained head may pay."""
        return len(self.table.labels) >= self.trained_from * self.k

    def learn(self) -> tuple[Statistics, Statistics, Head]:
        """Return statistics of all rows and of those that are not set aside, and the head."""
        everything = torch.arange(len(self.table.labels), device=self.table.labels.device)
        aside = self._set_aside(everything)
        rest = everything[~torch.isin(everything, aside)]
        fitted = Statistics.of(self.table, rest, self.k)
        whole = Statistics.of(self.table, everything, self.k) if len(aside) else fitted
        if self.has_many_rows:
            return whole, fitted, self._best(aside, rest, fitted, whole)
        return whole, fitted, Head.of(*self.gaussian.head(whole))

    def _set_aside(self, everything: Tensor) -> Tensor:
        """Return the rows that judge the head: the withheld ones, of many rows also a tenth."""
        if not self.has_many_rows:
            return self.withheld
        drawn = torch.randperm(len(everything), generator=self._draws("rows set aside"))
        chosen = torch.zeros(len(everything), dtype=torch.bool, device=everything.device)
        chosen[self.withheld] = True
        chosen[drawn[: len(drawn) // 10].to(everything)] = True
        return everything[chosen]

    def _draws(self, purpose: str) -> torch.Generator:
        return generator(self.config.seed, purpose, self.key)

    def _best(self, aside: Tensor, rest: Tensor, fitted: Statistics, whole: Statistics) -> Head:
        """Choose on rows set aside; return the head of all rows.

        What is more than the plain Gaussian head must be better by a standard error.
        """
        rows, labels = self.table.rows(aside), self.table.labels[aside]
        plain, counted = (self.gaussian.head(fitted, offset) for offset in (0.0, 1.0))
        right = [(rows.double() @ W.T + b).argmax(dim=1) == labels for W, b in (plain, counted)]
        offset = 1.0 if is_better(right[1], right[0]) else 0.0
        chosen, reference = (plain, counted)[int(offset)], right[int(offset)]
        net = trained(self.table, rest, self.k, self.config, self.key)
        tempered = (rows.double() @ chosen[0].T + chosen[1]).float()
        share, scale = _blend(tempered, logits(net, rows, self.config.feature_norm), labels)
        blended = share * tempered + scale * logits(net, rows, self.config.feature_norm)
        final = self.gaussian.head(whole, offset)
        if not is_better(blended.argmax(dim=1) == labels, reference):
            return Head.of(*final)
        network = {
            "network": net.weights.detach()[0].half(),
            "statistics": net.statistics[0].clone(),
            "scale": torch.tensor(scale, device=rows.device),
        }
        return Head.of(share * final[0], share * final[1], network)


def is_better(right: Tensor, reference: Tensor) -> bool:
    """Tell whether bool [n] beats the reference by more than a standard error of the difference."""
    gain = int(right.sum()) - int(reference.sum())
    return bool(gain > float((right != reference).sum()) ** 0.5)


def _blend(gaussian: Tensor, network: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the factors of tempered Gaussian scores and of a network's logits [n, k].

    The share of the Gaussian and a temperature have the least cross-entropy; then both are scaled
    so that the head is as sure of its choice, on average, as the Gaussian head is: how a task
    competes with others was tuned for that.
    """
    options = [
        (float(functional.cross_entropy((share * gaussian + network) / t, labels)), share, t)
        for share in SHARES
        for t in TEMPERATURES
    ]
    _, share, _ = min(options)
    sure = _sureness(gaussian)
    mixed = share * gaussian + network
    factor = min((1 / t for t in TEMPERATURES), key=lambda f: abs(_sureness(f * mixed) - sure))
    return share * factor, factor


def _sureness(scores: Tensor) -> float:
    """Return the mean log-probability of the class chosen."""
    return float(scores.log_softmax(dim=1).amax(dim=1).mean())
