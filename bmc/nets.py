"""The residual MLP of the paper, written once for K stacked copies.

Every parameter carries a leading axis of size K, so that K experts train as one
batched program; K = 1 is the base model. B is the batch, d the feature width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOMENTUM = 0.1  # of the running statistics of batch normalisation
EPSILON = 1e-5


class StackedLinear(nn.Module):
    """K linear maps: [K, B, in] to [K, B, out]."""

    def __init__(self, copies: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(copies, n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(copies, 1, n_out))

    def reset(self, generator: torch.Generator) -> None:
        """Draw Xavier-normal weights, the same for all K copies; biases are zero."""
        _, n_in, n_out = self.weight.shape
        weight = torch.randn(n_in, n_out, generator=generator) * (2.0 / (n_in + n_out)) ** 0.5
        with torch.no_grad():
            self.weight.copy_(weight.expand_as(self.weight))
            self.bias.zero_()

    def forward(self, x: Tensor, columns: slice = slice(None)) -> Tensor:
        """Apply the maps; ``columns`` selects outputs before they are computed."""
        return torch.baddbmm(self.bias[..., columns], x, self.weight[..., columns])


class StackedBatchNorm(nn.Module):
    """Batch normalisation of K copies, each with its own statistics: [K, B, width]."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, copies: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(copies, 1, width))
        self.bias = nn.Parameter(torch.zeros(copies, 1, width))
        self.register_buffer("running_mean", torch.zeros(copies, 1, width))
        self.register_buffer("running_var", torch.ones(copies, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the batch axis (training) or by running statistics."""
        if self.training:
            var, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)  # [K, 1, width]
            with torch.no_grad():
                n = x.shape[1]
                self.running_mean.lerp_(mean, MOMENTUM)
                self.running_var.lerp_(var * (n / max(n - 1, 1)), MOMENTUM)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(var + EPSILON)
        return torch.addcmul(self.bias - mean * scale, x, scale)


class ResidualBlock(nn.Module):
    """linear, norm, ReLU, linear, norm, plus a normalised linear shortcut, ReLU."""

    def __init__(self, copies: int, n_in: int, width: int) -> None:
        super().__init__()
        self.linear1 = StackedLinear(copies, n_in, width)
        self.norm1 = StackedBatchNorm(copies, width)
        self.linear2 = StackedLinear(copies, width, width)
        self.norm2 = StackedBatchNorm(copies, width)
        self.shortcut = StackedLinear(copies, n_in, width)
        self.norm_shortcut = StackedBatchNorm(copies, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [K, B, n_in] to [K, B, width]."""
        h = torch.relu(self.norm1(self.linear1(x)))
        return torch.relu(self.norm2(self.linear2(h)) + self.norm_shortcut(self.shortcut(x)))


class ResidualMLP(nn.Module):
    """K copies of the published network: d -> 128 -> 256 -> 256 -> classes.

    Parameters
    ----------
    dim
        Width d of the input features.
    n_classes
        Outputs of the linear head. For a bank of experts this is the largest slice.
    copies
        K, the number of stacked copies.
    hidden, width
        Width of the input projection and of the two residual blocks.
    dropout
        Probability of zeroing an activation after each residual block in training.

    Notes
    -----
    The intermediate features ``phi`` used by the stability loss and the batched
    distillation are the outputs of the input projection and of both blocks, before
    dropout: [K, B, 128], [K, B, 256], [K, B, 256].
    """

    def __init__(
        self,
        dim: int,
        n_classes: int,
        copies: int = 1,
        *,
        hidden: int = 128,
        width: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.project = StackedLinear(copies, dim, hidden)
        self.block1 = ResidualBlock(copies, hidden, width)
        self.block2 = ResidualBlock(copies, width, width)
        self.head = StackedLinear(copies, width, n_classes)

    @property
    def copies(self) -> int:
        """K, the number of stacked copies."""
        return self.head.weight.shape[0]

    @property
    def dropout_width(self) -> int:
        """Number of activations per sample that dropout acts on."""
        return 2 * self.head.weight.shape[1]

    def reset(self, generator: torch.Generator) -> None:
        """Initialise all weights (Xavier-normal; biases zero) from a CPU generator."""
        for module in self.modules():
            if isinstance(module, StackedLinear):
                module.reset(generator)

    def single(self, k: int) -> ResidualMLP:
        """Return copy ``k`` alone, in evaluation mode; it shares no memory with the stack."""
        _, dim, hidden = self.project.weight.shape
        _, width, n_classes = self.head.weight.shape
        copy = ResidualMLP(dim, n_classes, hidden=hidden, width=width, dropout=self.dropout)
        copy.to(self.head.weight.device)
        copy.load_state_dict({n: t[k : k + 1] for n, t in self.state_dict().items()})
        return copy.eval()

    def features(self, x: Tensor, keep: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Compute everything below the head.

        Parameters
        ----------
        x
            float32 [K, B, d].
        keep
            bool [K, B, dropout_width], which activations survive dropout; ``None``
            outside training. It is given, not drawn here, so that a copy sees the same
            noise whatever other copies are stacked with it.

        Returns
        -------
        The head's input [K, B, width] and phi, a list of three tensors.
        """
        phi0 = self.project(x)
        phi1 = self.block1(phi0)
        h = phi1
        if keep is not None:
            keep1, keep2 = keep.chunk(2, dim=-1)
            h = h * keep1 / (1.0 - self.dropout)
        phi2 = self.block2(h)
        h = phi2 if keep is None else phi2 * keep2 / (1.0 - self.dropout)
        return h, [phi0, phi1, phi2]

    def forward(
        self, x: Tensor, keep: Tensor | None = None, columns: slice = slice(None)
    ) -> tuple[Tensor, list[Tensor]]:
        """Return logits [K, B, classes of ``columns``] and phi."""
        h, phi = self.features(x, keep)
        return self.head(h, columns), phi
