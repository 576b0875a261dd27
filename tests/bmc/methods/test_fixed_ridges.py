"""Methods of analytic learning against the recursions of their papers, in full and float64."""

import pytest
import torch
from small import learned, small_config, small_stream, tensors
from torch.nn import functional

STREAM = small_stream()
TASKS = tensors(STREAM)
C = STREAM.n_classes


class Recursion:
    """Recursive least squares as published: R from I / gamma, W from 0, batch by batch."""

    def __init__(self, width: int, gamma: float) -> None:
        self.inverse = torch.eye(width, dtype=torch.float64) / gamma
        self.weight = torch.zeros(width, C, dtype=torch.float64)

    def take(self, h: torch.Tensor, y: torch.Tensor) -> None:
        R, eye = self.inverse, torch.eye(len(h), dtype=torch.float64)
        self.inverse = R - R @ h.T @ torch.linalg.inv(eye + h @ R @ h.T) @ h @ R
        self.weight = self.weight + self.inverse @ h.T @ (y - h @ self.weight)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(labels, C).double()


def agree(scores: torch.Tensor, expected: torch.Tensor) -> None:
    # sums are stored as float32
    torch.testing.assert_close(scores.double(), expected, rtol=0, atol=2e-4)
    assert expected.std() > 0.05


X = torch.cat([task.test.features for task in TASKS]).double()


@pytest.mark.parametrize("batch", [10, 64])
def test_foal_is_the_recursion_over_batches_of_smooth_projections(batch):
    method = learned("foal", STREAM, small_config("foal", gamma=0.5, balanced=False))
    W = method.projection.double()
    recursion = Recursion(256, 0.5)
    for task in TASKS:
        for rows in torch.split(torch.arange(len(task.train)), batch):
            h = 1 / (1 + torch.exp(-(task.train.features[rows].double() @ W)))
            recursion.take(h, one_hot(task.train.labels[rows]))
    expected = torch.sigmoid(X @ W) @ recursion.weight
    agree(method.scores(X), expected)
    assert method.projection.std() == pytest.approx(1.0, abs=0.02)
