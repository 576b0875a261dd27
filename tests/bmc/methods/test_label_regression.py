"""Methods of analytic learning against the recursions of their papers, in full and float64."""

import pytest
import torch
from small import learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods.label_regression import regressed
from bmc.train.packed import GRAM

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
    assert expected.std() > 0.03


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


def test_dsals_second_stream_is_taught_what_the_first_one_misses_of_new_classes():
    options = {"gamma": 0.5, "residual_gamma": 0.2, "compensation": 0.7, "balanced": False}
    method = learned("dsal", STREAM, small_config("dsal", **options))
    W = method.projection.double()
    main, compensation = Recursion(256, 0.5), Recursion(256, 0.2)
    for task in TASKS:
        z, y = task.train.features.double() @ W, one_hot(task.train.labels)
        main.take(z.relu(), y)
        left = y - z.relu() @ main.weight
        left[:, : task.start] = 0  # previous label cleansing
        compensation.take(z.tanh(), left)
    z = X @ W
    expected = z.relu() @ main.weight + 0.7 * z.tanh() @ compensation.weight
    agree(method.scores(X), expected)
    without = z.relu() @ main.weight
    assert (expected - without).abs().max() > 0.05


@pytest.mark.parametrize("centres", [8, 40])  # fewer and more than the first task has rows
def test_gkeal_is_the_recursion_on_gaussian_kernels_around_rows_of_the_first_task(centres):
    options = {"gamma": 0.5, "sigma": 0.8, "projections": centres, "balanced": False}
    method = learned("gkeal", STREAM, small_config("gkeal", **options))
    first = functional.normalize(TASKS[0].train.features.double())
    near = torch.cdist(method.centres.double(), first)
    assert (near.min(dim=1).values < 1e-3).sum() == min(centres, len(first))
    if centres > len(first):  # the others lie between two rows
        ends = near.topk(2, largest=False).values.sum(dim=1)[len(first) :]
        assert (ends > 1e-3).all()
    recursion = Recursion(centres, 0.5)

    def kernels(x: torch.Tensor) -> torch.Tensor:
        away = functional.normalize(x.double())[:, None] - method.centres.double()
        return torch.exp(-away.square().sum(dim=2) / (2 * 0.8**2))

    for task in TASKS:
        recursion.take(kernels(task.train.features), one_hot(task.train.labels))
    agree(method.scores(X), kernels(X) @ recursion.weight)


def test_a_gamma_lost_in_the_rounding_of_the_stored_sums_is_raised_to_it():
    draws = torch.Generator().manual_seed(0)
    alike = 1 + 1e-4 * torch.randn(30, 40, generator=draws).double()
    gram = (alike.T @ alike).float().double()
    assert torch.linalg.eigvalsh(gram).min() < -1e-9  # rounding alone does it
    weight = regressed(gram, torch.ones(40, 1).double(), 1e-12, GRAM)
    assert weight.isfinite().all()
