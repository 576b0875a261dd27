"""What experts send about a task beside samples with phi: Gaussian statistics, and rows of 8 bits.

BMC-Analytic sends all of it, BMC + Gaussian replay the means and a sketch of the covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.methods.closed_form import BLOCK
from bmc.methods.message import LABELS, NOT_NEGATIVE, Entry, Variant
from bmc.train.movement import moved
from bmc.train.packed import SCALE, Packing
from bmc.train.rows import Features

UNKNOWN = 0.01  # variance within classes where none is known; rows of length 1 have 1 / d at most
TINY = 1e-12  # share of the largest eigenvalue below which a direction counts as without any
# a covariance is sent once, so it needs no more bits than that lose no accuracy
SENT = Packing(torch.float16, torch.float64, symmetric=True)
LEVELS = 127  # of a sample's largest magnitude: what a sample of 8 bits is rounded to


@dataclass(frozen=True)
class Table:
    """Training rows of one task, read in blocks: stored features [N, d], labels [N] from 0."""

    features: Features
    labels: Tensor

    def rows(self, index: Tensor) -> Tensor:
        """Return rows of length 1: float32 [n, d], where the labels are."""
        stored = self.features[index.to(self.features.device)]
        return functional.normalize(stored.to(self.labels.device).float(), dim=1)

    def blocks(self, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows, float64 [n, d], and their labels [n]."""
        for number, block in enumerate(torch.split(index, BLOCK)):
            moved(number * BLOCK, len(index), "samples")
            yield self.rows(block).double(), self.labels[block]


@dataclass(frozen=True)
class Statistics:
    """Class means of rows of one task, and the eigenvectors of their covariance within classes.

    S = V^T diag(e) V is the scatter within classes, divided by its degrees of freedom.
    """

    counts: Tensor  # int64 [k]
    means: Tensor  # float64 [k, d]; zero for a class without rows
    values: Tensor  # float64 [q], eigenvalues e, falling; q <= min(n, d)
    vectors: Tensor  # float64 [q, d], V

    @classmethod
    def of(cls, table: Table, index: Tensor, k: int) -> Statistics:
        """Summarise the rows ``index`` [n] of a task of k classes."""
        counts = torch.bincount(table.labels[index], minlength=k)
        d = table.features.shape[1]
        sums = torch.zeros(k, d, dtype=torch.float64, device=counts.device)
        for x, labels in table.blocks(index):
            # a product, not index_add_: sums in a fixed order on CUDA too
            sums += functional.one_hot(labels, k).double().T @ x
        means = sums / counts.clamp(min=1)[:, None]
        centred = (x - means[labels] for x, labels in table.blocks(index))
        values, vectors = _eigen(centred, len(index), d)
        return cls(counts, means, values / degrees_of_freedom(counts), vectors)

    @property
    def variance(self) -> Tensor:
        """The mean variance s = tr S / d, float64 []; never zero."""
        d = self.means.shape[1]
        return known_variance(self.values.sum() / d, d)


def known_variance(variance: Tensor, d: int) -> Tensor:
    """Return a mean variance [], or a small one if there is none: if no class has two rows.

    A much smaller one would make scores that differ by more than float32 can add.
    """
    return torch.where(variance > TINY, variance, UNKNOWN / d)


def degrees_of_freedom(counts: Tensor) -> int:
    """Return the number of rows less that of classes with rows, at least 1: counts is int [k]."""
    return max(1, int(counts.sum() - (counts > 0).sum()))


def _eigen(blocks: Iterator[Tensor], n: int, d: int) -> tuple[Tensor, Tensor]:
    """Return eigenvalues [q], falling, and eigenvectors [q, d] of the scatter of n rows."""
    if n < d:  # the products of rows have the same eigenvalues as the scatter
        rows = torch.cat(list(blocks))
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        directions = vectors.flip(1).T @ rows
    else:
        first = next(blocks)
        scatter = first.T @ first
        for block in blocks:
            scatter += block.T @ block
        values, vectors = torch.linalg.eigh(scatter)
        directions = vectors.flip(1).T
    values = values.flip(0)  # they came rising
    known = int((values > TINY * values[:1]).sum())
    return values[:known], functional.normalize(directions[:known], dim=1)


def shrunk_means(means: Tensor, counts: Tensor, trust: float) -> tuple[Tensor, Tensor]:
    """Draw the class means [k, d] of a task towards their mean c [d] if they are of few samples.

    Returns m_c = g xbar_c + (1 - g) c with g = tau n_c / (tau n_c + 1), and c. That is the
    posterior mean if tau is the variance between classes in units of that within.
    """
    centre = means.mean(dim=0)
    share = trust * counts / (trust * counts + 1)
    return centre + share[:, None] * (means - centre), centre


def packed_covariance(values: Tensor, vectors: Tensor, rank: int) -> dict[str, Tensor]:
    """Return V^T diag(e) V as it is sent: its largest directions; all of it if that is smaller.

    ``vectors`` float16 [r, d], ``values`` float32 [r] and ``rest`` float32 [], the trace of what
    is left out; or the ``covariance``'s upper triangle in float16 with its scale. Rank 0: all.
    """
    if not rank or 2 * min(rank, len(values)) > vectors.shape[1]:
        return SENT.pack("covariance", vectors.T * values @ vectors, 0)
    kept, cut = values[:rank].float(), values[rank:].sum().float()
    return {"vectors": vectors[:rank].half(), "values": kept, "rest": cut}


def unpacked_covariance(sent: dict[str, Tensor]) -> Tensor:
    """Return the matrix of `packed_covariance`, the rest spread evenly: float64 [d, d]."""
    if "covariance" in sent:
        return SENT.unpack("covariance", sent, 0)
    vectors = sent["vectors"].double()
    whole: Tensor = vectors.T * sent["values"].double() @ vectors
    whole.diagonal().add_(sent["rest"].double() / len(whole))
    return whole


def covariance_form(dim: int, rank: int, prefix: str = "") -> list[Variant]:
    """Return the forms that `packed_covariance` has; of ``r`` directions, if not whole."""
    whole = {
        "covariance": Entry(torch.float16, (dim * (dim + 1) // 2,)),
        "covariance" + SCALE: Entry(torch.float32, (), NOT_NEGATIVE),
    }
    some = {
        "vectors": Entry(torch.float16, ("r", dim)),
        "values": Entry(torch.float32, ("r",), NOT_NEGATIVE),
        "rest": Entry(torch.float32, (), NOT_NEGATIVE),
    }
    return [{prefix + n: e for n, e in form.items()} for form in (whole, some)[: 2 if rank else 1]]


def packed_rows(rows: Tensor) -> dict[str, Tensor]:
    """Return rows [n, d] in 8 bits: ``rows`` int8 and ``row_scale`` float16 [n, 1]."""
    scale = (rows.abs().amax(dim=1, keepdim=True) / LEVELS).half()
    levels = (rows / scale.clamp(min=1e-6)).round().clamp(-LEVELS, LEVELS)
    return {"rows": levels.char(), "row_scale": scale}


def rows_form(dim: int) -> Variant:
    """Return the form of ``m`` withheld rows, with the number of each one's class."""
    return {
        "rows": Entry(torch.int8, ("m", dim)),
        "row_scale": Entry(torch.float16, ("m", 1), NOT_NEGATIVE),
        "row_labels": Entry(torch.int16, ("m",), LABELS),
    }


def unpacked_rows(sent: dict[str, Tensor]) -> Tensor:
    """Return the rows of `packed_rows`, float64 [n, d]."""
    return sent["rows"].double() * sent["row_scale"].double()
