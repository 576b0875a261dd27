"""Gradients of single samples of the residual MLP in evaluation mode, never written out.

Of a linear map the gradient of sample n is the outer product of its input a_n and of delta_n,
the gradient at its output. One forward and one backward pass give all a and delta, and sums of
squares, sums of magnitudes and inner products follow from these without n x P numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bmc.network.mlp import ResidualMLP
from bmc.network.passes import EPSILON, Norm, Parts

ROWS = 1024  # samples of one pass where many are summed; bounds what is held at once
TINY = 1e-12  # a length below which a gradient counts as zero

# logits [n, C] and labels int64 [n] -> [n], the scalar of each sample whose gradient is taken;
# that of one sample must not depend on the others
Value = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-probability of each label, [n]: a `Value`."""
    return functional.cross_entropy(logits, labels, reduction="none")


def squared_length(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the squared l2 norm of each row of logits, [n]: a `Value`."""
    return logits.square().sum(dim=1)


@dataclass(frozen=True)
class SampleGradients:
    """Gradients of n samples, factored."""

    maps: list[tuple[Tensor, Tensor]]  # of each weight matrix: inputs a [n, i], deltas [n, o]
    vectors: list[Tensor]  # of each other weight: the gradients [n, o] themselves

    def add_to(self, parts: Parts, each: Callable[[Tensor], Tensor]) -> None:
        """Add sum_n each(g_n) to ``parts``, of one copy, laid out as the weights.

        ``each`` acts on single numbers and each(x y) = each(x) each(y), as of squares and
        magnitudes: then that of an outer product is the outer product.
        """
        for matrix, (a, delta) in zip(_matrices(parts), self.maps, strict=True):
            matrix.addmm_(each(a).T, each(delta))
        for vector, own in zip(_vectors(parts), self.vectors, strict=True):
            vector.add_(each(own).sum(dim=0))

    def products(self, other: SampleGradients) -> Tensor:
        """Return the inner products <g_n, h_m> with the gradients of m samples, [n, m]."""
        terms = [v @ w.T for v, w in zip(self.vectors, other.vectors, strict=True)]
        for (a, delta), (b, epsilon) in zip(self.maps, other.maps, strict=True):
            terms.append((a @ b.T) * (delta @ epsilon.T))
        return torch.stack(terms).sum(dim=0)

    def lengths(self) -> Tensor:
        """Return the l2 norms of the gradients, [n]."""
        terms = [v.square().sum(dim=1) for v in self.vectors]
        terms += [a.square().sum(dim=1) * d.square().sum(dim=1) for a, d in self.maps]
        return torch.stack(terms).sum(dim=0).sqrt()

    def cosines(self, other: SampleGradients) -> Tensor:
        """Return the cosines of the angles between gradients, [n, m]; 0 where one is zero."""
        lengths = self.lengths()[:, None] * other.lengths()
        return self.products(other) / lengths.clamp(min=TINY)

    def split(self, first: int) -> tuple[SampleGradients, SampleGradients]:
        """Return those of the first so many samples and those of the others."""

        def those(rows: slice) -> SampleGradients:
            maps = [(a[rows], delta[rows]) for a, delta in self.maps]
            return SampleGradients(maps, [vector[rows] for vector in self.vectors])

        return those(slice(first)), those(slice(first, None))


def sample_gradients(parts: Parts, x: Tensor, labels: Tensor, value: Value) -> SampleGradients:
    """Compute the gradients of single samples with the running statistics, without dropout.

    ``parts`` are the weights of one copy, and logits those of the classes that they hold; x
    [n, d] is what the network reads, in their precision, and ``labels`` are int64 [n].
    """
    inputs = [x]
    normalised: list[Tensor] = []
    outputs: list[Tensor] = []
    with torch.enable_grad():
        # constants so far: with this leaf begins what is differentiated
        u = torch.addmm(parts.project_bias[0], x, parts.project[0]).requires_grad_()
        outputs.append(u)
        for block in parts.blocks():
            z = _normalise(u @ block.enter[0], block.norm_enter, normalised, outputs)
            i = block.leave.shape[1]
            hidden = z[:, :i].relu()
            out = _normalise(hidden @ block.leave[0], block.norm_leave, normalised, outputs)
            inputs += [u.detach(), hidden.detach()]
            u = (out + z[:, i:]).relu()
        logits = torch.addmm(parts.head_bias[0], u, parts.head[0].T)
        inputs.append(u.detach())
        outputs.append(logits)
        first, *middle, last = torch.autograd.grad(value(logits, labels).sum(), outputs)
    deltas, vectors = [first], [first]
    for delta, own, norm in zip(middle, normalised, _norms(parts), strict=True):
        deltas.append(delta * norm.weight[0] * _inverse(norm))
        vectors += [delta * own, delta]
    return SampleGradients(list(zip(inputs, [*deltas, last], strict=True)), [*vectors, last])


def mean_over_samples(
    net: ResidualMLP,
    classes: int,
    batches: Iterable[tuple[Tensor, Tensor]],
    value: Value,
    each: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the mean of each(g_n) over all samples, with a network of one copy.

    It is float32 [1, P'], laid out as the prefix of ``net.weights`` with so many classes, whose
    logits alone are computed. See `sample_gradients` and `SampleGradients.add_to`.
    """
    size = net.size(classes)
    parts = net.views(net.weights.data[:, :size])
    total = torch.zeros(1, size, device=net.weights.device)
    sums, n = net.views(total), 0
    for x, labels in batches:
        sample_gradients(parts, x, labels, value).add_to(sums, each)
        n += len(x)
    return total.div_(n)


def _normalise(z: Tensor, norm: Norm, normalised: list[Tensor], outputs: list[Tensor]) -> Tensor:
    """Normalise z [n, o] by the running statistics; note what its gradients need."""
    own = (z - norm.running_mean[0]) * _inverse(norm)
    out = own * norm.weight[0] + norm.bias[0]
    normalised.append(own.detach())
    outputs.append(out)
    return out


def _inverse(norm: Norm) -> Tensor:
    return torch.rsqrt(norm.running_var[0] + EPSILON)


def _norms(parts: Parts) -> list[Norm]:
    return [norm for block in parts.blocks() for norm in (block.norm_enter, block.norm_leave)]


def _matrices(parts: Parts) -> list[Tensor]:
    """Return the weight matrices [i, o] in the order of `SampleGradients.maps`."""
    inner = [matrix[0] for block in parts.blocks() for matrix in (block.enter, block.leave)]
    return [parts.project[0], *inner, parts.head[0].T]


def _vectors(parts: Parts) -> list[Tensor]:
    """Return the other weights [o] in the order of `SampleGradients.vectors`."""
    inner = [vector[0, 0] for norm in _norms(parts) for vector in (norm.weight, norm.bias)]
    return [parts.project_bias[0, 0], *inner, parts.head_bias[0, 0]]
