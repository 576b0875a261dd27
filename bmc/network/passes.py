"""Forward and backward pass of the residual MLP for K stacked copies, written out by hand.

One autograd node for the whole network instead of about eighty: losses stay ordinary autograd
on logits and phi, and everything below costs no more than its matrix products and a few passes
over the activations. On a CPU a step takes 8 to 20 % more time by autograd over the same tensor
of weights (``scripts/bench/passes.py``). K copies, B rows, d the feature width, h, i and w the
widths of the input projection, within the blocks and of their outputs, C classes. Which weight
lies where is in `bmc.network.mlp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.1  # of the running statistics of batch normalisation
EPSILON = 1e-5
WIDE_SUMS = hasattr(torch.ops.aten.bmm, "dtype")  # from torch 2.8 on


@dataclass(frozen=True)
class Norm:
    """Batch normalisation of n channels: all tensors [K, 1, n].

    ``mean`` and ``squares`` take those of a batch in training; see `Train.forward`.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    mean: Tensor
    squares: Tensor

    def by_running(self, z: Tensor) -> Tensor:
        """Normalise z [K, B, n] in place by the running statistics (evaluation)."""
        scale = self.weight * torch.rsqrt(self.running_var + EPSILON)
        shift = torch.addcmul(self.bias, self.running_mean, scale, value=-1)
        return z.mul_(scale).add_(shift)


@dataclass(frozen=True)
class Block:
    """A residual block: relu(norm(relu(norm(u W1)) W2) + norm(u Ws)).

    ``enter`` holds W1 and Ws side by side [K, n_in, i + w], ``norm_enter`` both of their
    normalisations; ``leave`` is W2 [K, i, w]. A bias before a batch normalisation would
    have no effect, so there is none.
    """

    enter: Tensor
    norm_enter: Norm
    leave: Tensor
    norm_leave: Norm


@dataclass(frozen=True)
class Parts:
    """The weights of K copies, as views: project [K, d, h] and [K, 1, h], head [K, C, w]."""

    project: Tensor
    project_bias: Tensor
    block1: Block
    block2: Block
    head: Tensor
    head_bias: Tensor  # [K, 1, C]

    def blocks(self) -> tuple[Block, Block]:
        """Return both blocks."""
        return self.block1, self.block2


def product(a: Tensor, b: Tensor, precision: torch.dtype, bias: Tensor | None = None) -> Tensor:
    """Multiply stacks [K, n, i] and [K, i, m] with factors in ``precision``, sums in float32."""
    if precision == torch.float32:
        return torch.bmm(a, b) if bias is None else torch.baddbmm(bias, a, b)
    result = _rounded_product(a.to(precision), b.to(precision))
    return result if bias is None else result.add_(bias)


def _product_into(out: Tensor, a: Tensor, b: Tensor, precision: torch.dtype) -> None:
    if precision == torch.float32:
        torch.bmm(a, b, out=out)
    else:
        _rounded_product(a.to(precision), b.to(precision), out)


def _rounded_product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply stacks of rounded factors: float32. Without a type torch rounds sums as well."""
    if a.is_cuda and WIDE_SUMS:
        return torch.bmm(a, b, out_dtype=torch.float32, out=out)
    # elsewhere no kernel has such sums: the same numbers, no faster than float32
    return torch.bmm(a.float(), b.float(), out=out)


def evaluate(
    parts: Parts, x: Tensor, precision: torch.dtype, with_head: bool = True
) -> tuple[Tensor, list[Tensor]]:
    """Compute logits [K, B, C] and phi with the running statistics.

    Differentiable in x, but for rounded products on CUDA.
    """
    u = product(x, parts.project, precision, parts.project_bias)
    phi = [u]
    for block in parts.blocks():
        z = block.norm_enter.by_running(product(u, block.enter, precision))
        i = block.leave.shape[1]
        out = block.norm_leave.by_running(product(z[..., :i].relu(), block.leave, precision))
        u = out.add_(z[..., i:]).relu_()
        phi.append(u)
    if not with_head:
        return u, phi
    return product(u, parts.head.transpose(1, 2), precision, parts.head_bias), phi


class Train(torch.autograd.Function):
    """The pass in training: batch statistics, dropout by given masks, gradients by hand."""

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, net: Any, x: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits and the three phi; ``mask`` [K, B, 2w] multiplies activations."""
        parts, low, precision = net.parts(), net.rounded(), net.precision
        masks = (None, None) if mask is None else mask.chunk(2, dim=-1)
        kept: list[Tensor | None] = [x]
        u = phi0 = product(x, low.project, precision, parts.project_bias)
        outs = []
        for block, block_low, own in zip(parts.blocks(), low.blocks(), masks, strict=True):
            z = product(u, block_low.enter, precision)
            z, centred, scale, inverse = _normalise(z, block.norm_enter)
            i = block.leave.shape[1]
            hidden = z[..., :i].relu()
            out, centred2, scale2, inverse2 = _normalise(
                product(hidden, block_low.leave, precision), block.norm_leave
            )
            out = out.add_(z[..., i:]).relu_()
            kept += [u, centred, scale, inverse, hidden, centred2, scale2, inverse2, out, own]
            outs.append(out)
            u = out if own is None else out * own
        logits = product(u, low.head.transpose(1, 2), precision, parts.head_bias)
        net.move_statistics(x.shape[1])
        # not as attributes: among them are outputs, which hold this node
        ctx.save_for_backward(*kept, u)
        ctx.net, ctx.low = net, low
        ctx.set_materialize_grads(False)
        return logits, phi0, outs[0], outs[1]

    @staticmethod
    def backward(
        ctx: Any, d_logits: Tensor | None, *d_phi: Tensor | None
    ) -> tuple[None, None, Tensor | None, None]:
        """Add the gradient of all weights to ``weights.grad``; return that of x where wanted.

        Autograd would want a tensor of its own for it, with new views, in every update.
        """
        net, low, precision = ctx.net, ctx.low, ctx.net.precision
        x, *kept, last = ctx.saved_tensors
        first = net.weights.grad is None
        flat, grad = net.gradient() if first else net.new_gradient()
        if d_logits is None:
            grad.head.zero_()
            grad.head_bias.zero_()
            du = torch.zeros_like(last)
        else:
            _product_into(grad.head, d_logits.transpose(1, 2), last, precision)
            torch.sum(d_logits, dim=1, keepdim=True, out=grad.head_bias)
            du = product(d_logits, low.head, precision)
        net.clear_rest(flat)
        for i in (1, 0):
            block, own = low.blocks()[i], grad.blocks()[i]
            u, centred, scale, inverse, hidden, centred2, scale2, inverse2, out, mask = kept[
                10 * i : 10 * i + 10
            ]
            if mask is not None:
                du.mul_(mask)
            if (extra := d_phi[i + 1]) is not None:
                du.add_(extra)
            _relu_backward(du, out)
            dz = _normalise_backward(du, centred2, scale2, inverse2, own.norm_leave)
            _product_into(own.leave, hidden.transpose(1, 2), dz, precision)
            dh = product(dz, block.leave.transpose(1, 2), precision)
            both = torch.cat([_relu_backward(dh, hidden), du], dim=-1)
            dz = _normalise_backward(both, centred, scale, inverse, own.norm_enter)
            _product_into(own.enter, u.transpose(1, 2), dz, precision)
            du = product(dz, block.enter.transpose(1, 2), precision)
        if d_phi[0] is not None:
            du.add_(d_phi[0])
        _product_into(grad.project, x.transpose(1, 2), du, precision)
        torch.sum(du, dim=1, keepdim=True, out=grad.project_bias)
        net.weights.grad = flat if first else net.weights.grad + flat
        if not ctx.needs_input_grad[2]:
            return None, None, None, None
        return None, None, product(du, low.project.transpose(1, 2), precision), None


def _relu_backward(d: Tensor, out: Tensor) -> Tensor:
    """Set to zero, in place, the gradients at outputs that relu set to zero."""
    result: Tensor = torch.ops.aten.threshold_backward.grad_input(d, out, 0, grad_input=d)
    return result


def _normalise(z: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise z [K, B, n] over its rows and note the batch's statistics; z is consumed.

    Also returns z - mean, scale = weight / deviation, and 1 / deviation, for the way back.
    """
    torch.mean(z, dim=1, keepdim=True, out=norm.mean)
    centred = z.sub_(norm.mean)
    # sums of squares: the Welford recursion of torch.var_mean takes thirty times as long
    torch.sum(centred * centred, dim=1, keepdim=True, out=norm.squares)
    inverse = torch.div(norm.squares, z.shape[1]).add_(EPSILON).rsqrt_()
    scale = norm.weight * inverse
    return torch.addcmul(norm.bias, centred, scale), centred, scale, inverse


def _normalise_backward(
    dy: Tensor, centred: Tensor, scale: Tensor, inverse: Tensor, grad: Norm
) -> Tensor:
    """Return dz of `_normalise`; writes the gradients of weight and bias.

    With s = scale, i = 1 / deviation, a = sum dy, b = i sum dy centred:
    dz = s (dy - (a + centred b i) / B); d weight = b, d bias = a.
    """
    torch.sum(dy, dim=1, keepdim=True, out=grad.bias)
    rest = dy * centred
    torch.mul(rest.sum(dim=1, keepdim=True), inverse, out=grad.weight)
    torch.addcmul(grad.bias, centred, grad.weight * inverse, out=rest)
    return torch.sub(dy, rest, alpha=1 / dy.shape[1], out=rest).mul_(scale)
