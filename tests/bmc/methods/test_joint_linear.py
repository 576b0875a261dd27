"""The joint linear probe against gradient descent on the loss as written."""

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS
from bmc.train.data import Split, TaskTensors

STREAM = small_stream()


def hand_task(first: list[list[float]], labels: list[int], start: int, stop: int) -> TaskTensors:
    data = Split(torch.tensor(first), torch.tensor(labels))
    return TaskTensors(0, "hand", "hand", start, stop, data, data, data)


TASKS = [
    hand_task([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.28, 0.96]], [0, 0, 0, 1], 0, 2),
    hand_task([[-1.0, 0.0], [0.0, -1.0]], [2, 2], 2, 3),
]


def descended(balanced: bool, penalty: float, norm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise the loss by plain gradient descent in float64, its gradient written out."""
    x = torch.cat([task.train.features for task in TASKS]).double() * norm
    y = functional.one_hot(torch.cat([task.train.labels for task in TASKS]), 3).double()
    a = (y / y.sum(dim=0) / 3).sum(dim=1) if balanced else torch.full((6,), 1 / 6).double()
    weight, bias = torch.zeros(2, 3).double(), torch.zeros(3).double()
    for _ in range(60_000):
        error = a[:, None] * ((x @ weight + bias).softmax(dim=1) - y)
        weight -= 0.3 * (x.T @ error + penalty * weight)
        bias -= 0.3 * error.sum(dim=0)
    return weight, bias


@pytest.mark.parametrize("balanced", [True, False])
def test_the_joint_probe_is_the_optimum_of_the_loss_over_all_tasks(balanced):
    config = small_config("joint-linear", balanced=balanced, penalty=0.01, feature_norm=2.0)
    method = METHODS.get("joint-linear")(2, 3, config, CPU)
    method.learn(TASKS)
    weight, bias = descended(balanced, 0.01, 2.0)
    torch.testing.assert_close(method.weight.double(), weight, rtol=0, atol=2e-3)
    # a constant on all outputs changes no loss
    centred = [b.double() - b.double().mean() for b in (method.bias, bias)]
    torch.testing.assert_close(centred[0], centred[1], rtol=0, atol=2e-3)
    x = torch.tensor([[0.6, -0.8]])
    expected = 2 * x @ method.weight + method.bias
    torch.testing.assert_close(method.scores(x), expected)


def test_the_joint_probe_learns_all_tasks_at_once_and_counts_their_data():
    method = learned("joint-linear", STREAM, small_config("joint-linear"))
    assert METHODS.get("joint-linear").reference
    assert method.group_size(len(STREAM.tasks)) == len(STREAM.tasks)
    rows = sum(len(task.train) for task in tensors(STREAM))
    assert method.memory_bytes() == rows * (2 * STREAM.dim + 4)
