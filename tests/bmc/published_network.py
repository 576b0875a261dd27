"""The published network written from its description, with torch's own layers.

An input projection d -> 128; two residual blocks of expansion 2 and inner width 128: linear to
128, batch norm, ReLU, linear to 256, batch norm, plus a shortcut (linear to 256 without bias,
batch norm), ReLU; dropout 0.3 after each block; a head to all classes. Nothing here reads
`bmc.network`.
"""

import torch
from torch import Tensor, nn

HIDDEN, INNER, EXPANSION, DROPOUT = 128, 128, 2, 0.3


class PublishedBlock(nn.Module):
    def __init__(self, n_in: int) -> None:
        super().__init__()
        n_out = EXPANSION * INNER
        self.enter, self.norm_enter = nn.Linear(n_in, INNER), nn.BatchNorm1d(INNER)
        self.leave, self.norm_leave = nn.Linear(INNER, n_out), nn.BatchNorm1d(n_out)
        self.shortcut = nn.Linear(n_in, n_out, bias=False)
        self.norm_shortcut = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm_enter(self.enter(x)))
        return torch.relu(self.norm_leave(self.leave(inner)) + self.norm_shortcut(self.shortcut(x)))


class PublishedNetwork(nn.Module):
    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, HIDDEN)
        self.blocks = nn.ModuleList([PublishedBlock(HIDDEN), PublishedBlock(EXPANSION * INNER)])
        self.head = nn.Linear(EXPANSION * INNER, classes)
        self.masks: list[Tensor] = []  # of each block: what survives dropout, bool [B, 256]

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if self.training:
                x = x * self.masks[i] / (1 - DROPOUT)
        return self.head(x)

    def trunk_parameters(self) -> int:
        head = sum(p.numel() for p in self.head.parameters())
        return sum(p.numel() for p in self.parameters()) - head

    def biases_before_norms(self) -> int:
        """Biases that a batch normalisation takes away again."""
        return sum(b.enter.bias.numel() + b.leave.bias.numel() for b in self.blocks)
