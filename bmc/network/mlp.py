"""The residual MLP of the paper, written once for K stacked copies.

All weights of a copy lie in one row of one tensor [K, P], so that K experts train as one
batched program, an optimiser sees one tensor, and a copy is moved by moving a row; K = 1 is the
base model. B is the batch, d the feature width. The passes are in `bmc.network.passes`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bmc.network.passes import MOMENTUM, Block, Norm, Parts, Train, evaluate

ALIGN = 32  # the head's weights begin at a multiple of it: matrix units want aligned rows


class ResidualMLP(nn.Module):
    """K copies of the published network: d -> 128 -> 256 -> 256 -> classes.

    ``hidden`` is the width of the input projection, ``inner`` that between the two linear maps
    of a residual block, ``width`` that of a block's output. With ``bf16`` the factors of matrix
    products are rounded to bfloat16; weights, sums of products and everything else stay float32.
    ``phi``, which distillation compares, are the outputs of the projection and of both blocks,
    before dropout: [K, B, 128], [K, B, 256], [K, B, 256].

    Attributes
    ----------
    weights
        float32 [K, P]. A row holds project, both blocks, the biases of the head, and last the
        weights of the head class by class: those of the first c classes are a prefix of it.
    statistics
        float32 [K, S], the running means of batch normalisation, then the variances.
    """

    statistics: Tensor
    _noted: Tensor  # of the batch in training: means, then sums of squares around them

    def __init__(
        self,
        dim: int,
        n_classes: int,
        copies: int = 1,
        *,
        hidden: int = 128,
        inner: int = 128,
        width: int = 256,
        dropout: float = 0.3,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.dim, self.n_classes = dim, n_classes
        self.hidden, self.inner, self.width = hidden, inner, width
        self.dropout = dropout
        self.precision = torch.bfloat16 if precision == "bf16" else torch.float32
        self._layout = _layout(dim, n_classes, hidden, inner, width)
        self._parts: tuple[tuple[int, ...], Parts] | None = None
        self._gradient: tuple[tuple[int, ...], Tensor, Parts] | None = None
        size, n_statistics = self.size(n_classes), 2 * 2 * self._channels
        self.weights = nn.Parameter(torch.zeros(copies, size))
        self.register_buffer("statistics", torch.zeros(copies, n_statistics))
        self.register_buffer("_noted", torch.zeros(copies, n_statistics), persistent=False)
        with torch.no_grad():
            for block in self.parts().blocks():
                for norm in (block.norm_enter, block.norm_leave):
                    norm.weight.fill_(1.0)
                    norm.running_var.fill_(1.0)

    @property
    def copies(self) -> int:
        """K, the number of stacked copies."""
        return self.weights.shape[0]

    @property
    def _channels(self) -> int:
        """Channels that a block normalises: those of W1, of the shortcut, and of W2."""
        return self.inner + 2 * self.width

    @property
    def dropout_width(self) -> int:
        """Number of activations per sample that dropout acts on."""
        return 2 * self.width

    @property
    def phi_widths(self) -> list[int]:
        """Widths of the layers of phi."""
        return [self.hidden, self.width, self.width]

    @property
    def trunk(self) -> int:
        """How many numbers of a row come before the head."""
        return self._layout["head_bias"][0]

    def size(self, classes: int) -> int:
        """Return how many numbers of a row belong to the trunk and the first ``classes``."""
        return self._layout["head"][0] + classes * self.width

    def views(self, flat: Tensor, statistics: Tensor | None = None) -> Parts:
        """Return the parts of rows laid out as `weights`; a shorter row has fewer classes.

        ``statistics`` are those of the same copies; default: of those that the net holds.
        """
        statistics = self.statistics if statistics is None else statistics
        noted = self._noted[: len(flat)]
        classes = (flat.shape[1] - self._layout["head"][0]) // self.width

        def part(name: str) -> Tensor:
            start, rows, columns = self._layout[name]
            if name == "head":
                rows = classes
            if name == "head_bias":
                columns = classes
            shape, stride = (len(flat), rows, columns), (flat.stride(0), columns, 1)
            return flat.as_strided(shape, stride, flat.storage_offset() + start)

        def norm(name: str, first: int, n: int) -> Norm:
            own = slice(first, first + n)
            parts = [half[:, None, own] for half in (*statistics.chunk(2, 1), *noted.chunk(2, 1))]
            return Norm(part(f"{name}.weight"), part(f"{name}.bias"), *parts)

        def block(name: str, first: int) -> Block:
            entering = self.inner + self.width
            return Block(
                part(f"{name}.enter"),
                norm(f"{name}.norm_enter", first, entering),
                part(f"{name}.leave"),
                norm(f"{name}.norm_leave", first + entering, self.width),
            )

        return Parts(
            part("project"), part("project_bias"),
            block("block1", 0), block("block2", self._channels),
            part("head"), part("head_bias"),
        )  # fmt: skip

    def parts(self) -> Parts:
        """Return the parts of `weights`, for as long as these stay where they are."""
        weights, statistics = self.weights.data, self.statistics
        key = (weights.data_ptr(), *weights.shape, statistics.data_ptr())
        if self._parts is None or self._parts[0] != key:
            self._parts = key, self.views(weights)
        return self._parts[1]

    def gradient(self) -> tuple[Tensor, Parts]:
        """Return where the gradient of `weights` is written, the same place in every update."""
        weights = self.weights.data
        key = (weights.data_ptr(), *weights.shape)
        if self._gradient is None or self._gradient[0] != key:
            self._gradient = key, *self.new_gradient()
        return self._gradient[1:]

    def new_gradient(self) -> tuple[Tensor, Parts]:
        """Return another place for a gradient of `weights`."""
        flat = torch.empty_like(self.weights.data, memory_format=torch.contiguous_format)
        return flat, self.views(flat)

    def move_statistics(self, rows: int) -> None:
        """Move the running statistics towards those that a batch of so many rows left."""
        noted = self._noted[: self.copies]
        noted[:, noted.shape[1] // 2 :].div_(max(rows - 1, 1))
        self.statistics.lerp_(noted, MOMENTUM)

    def rounded(self) -> Parts:
        """Return the parts with the weights in the precision of products."""
        if self.precision == torch.float32:
            return self.parts()
        return self.views(self.weights.data.to(self.precision))

    def clear_rest(self, flat: Tensor) -> None:
        """Set to zero the head's biases of classes that ``flat`` has no weights for."""
        start, _, columns = self._layout["head_bias"]
        classes = (flat.shape[1] - self._layout["head"][0]) // self.width
        flat[:, start + classes : start + columns] = 0

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw Xavier-normal weights from a CPU generator, the same for all copies.

        W1 and Ws are drawn as the two linear maps that they are. Biases are zero.
        """
        parts, inner = self.parts(), self.inner
        for block in parts.blocks():
            for linear in (block.enter[..., :inner], block.enter[..., inner:], block.leave):
                _xavier(linear, generator)
        _xavier(parts.project, generator)
        _xavier(parts.head, generator)

    def phi(self, x: Tensor, k: int = 0) -> Tensor:
        """Return phi of copy ``k`` for x [B, d], the layers side by side: float32 [B, widths]."""
        one = slice(k, k + 1)
        parts = self.views(self.weights.data[one], self.statistics[one])
        return torch.cat(evaluate(parts, x[None], self.precision, with_head=False)[1], dim=-1)[0]

    def forward(
        self, x: Tensor, keep: Tensor | None = None, classes: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute logits [K, B, classes] and the three phi of x, float32 [K, B, d].

        ``keep``, bool [K, B, dropout_width], says which activations survive dropout in training,
        ``None``: all. It is given, not drawn here, so that a copy sees the same noise whatever
        other copies are stacked with it. In evaluation the weights get no gradients,
        and only the first ``classes`` of the head's outputs may be computed.
        """
        if self.training:
            # from uint8: a conversion from bool takes seven times as long
            share = 1 / (1 - self.dropout)
            mask = None if keep is None else keep.view(torch.uint8).float().mul_(share)
            logits, *phi = Train.apply(self.weights, self, x, mask)
            return logits, phi
        if classes is None:
            return evaluate(self.parts(), x, self.precision)
        parts = self.views(self.weights.data[:, : self.size(classes)])
        return evaluate(parts, x, self.precision)


def _layout(
    dim: int, classes: int, hidden: int, inner: int, width: int
) -> dict[str, tuple[int, int, int]]:
    """Return where each part begins in a row, and its shape."""
    shapes = {"project": (dim, hidden), "project_bias": (1, hidden)}
    for name, n_in in (("block1", hidden), ("block2", width)):
        shapes |= {
            f"{name}.enter": (n_in, inner + width),
            f"{name}.norm_enter.weight": (1, inner + width),
            f"{name}.norm_enter.bias": (1, inner + width),
            f"{name}.leave": (inner, width),
            f"{name}.norm_leave.weight": (1, width),
            f"{name}.norm_leave.bias": (1, width),
        }
    shapes |= {"head_bias": (1, -(-classes // ALIGN) * ALIGN), "head": (classes, width)}
    layout, start = {}, 0
    for name, (rows, columns) in shapes.items():
        layout[name] = (start, rows, columns)
        start += rows * columns
    return layout


def _xavier(linear: Tensor, generator: torch.Generator) -> None:
    _, rows, columns = linear.shape
    weight = torch.randn(rows, columns, generator=generator) * (2.0 / (rows + columns)) ** 0.5
    linear.copy_(weight.expand_as(linear))
