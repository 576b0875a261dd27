"""Gradients of single samples by torch's own layers and autograd, which tests compare with."""

import torch
from torch import Tensor
from torch.nn import functional

from bmc.network.gradients import Value
from bmc.network.mlp import ResidualMLP
from bmc.network.passes import Norm, Parts


def plain_logits(parts: Parts, x: Tensor) -> Tensor:
    """The evaluation pass of one copy with torch's own layers."""

    def norm(z: Tensor, n: Norm) -> Tensor:
        moments = n.running_mean[0, 0], n.running_var[0, 0]
        return functional.batch_norm(z, *moments, n.weight[0, 0], n.bias[0, 0])

    u = functional.linear(x, parts.project[0].T, parts.project_bias[0, 0])
    for block in parts.blocks():
        both = norm(u @ block.enter[0], block.norm_enter)
        inner, shortcut = both.tensor_split([block.leave.shape[1]], dim=-1)
        u = torch.relu(norm(torch.relu(inner) @ block.leave[0], block.norm_leave) + shortcut)
    return functional.linear(u, parts.head[0], parts.head_bias[0, 0])


def written_out(net: ResidualMLP, classes: int, x: Tensor, labels: Tensor, value: Value) -> Tensor:
    """Gradient of each sample by autograd, one after the other: [n, P']."""
    rows = []
    for n in range(len(x)):
        weights = net.weights.data[:, : net.size(classes)].clone().requires_grad_()
        logits = plain_logits(net.views(weights), x[n : n + 1])
        value(logits, labels[n : n + 1]).sum().backward()
        rows.append(weights.grad[0])
    return torch.stack(rows)
