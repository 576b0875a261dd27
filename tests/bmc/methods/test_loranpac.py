"""LoRanPAC against singular value decompositions of whole matrices."""

import math

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS

STREAM = small_stream()
TASKS = tensors(STREAM)
X = torch.cat([task.test.features for task in TASKS]).double()


@pytest.mark.parametrize("options", [
    {"projections": 600, "truncation": 0.25},  # more features than rows
    {"projections": 64, "truncation": 0.4},  # fewer
    {"projections": 600, "truncation": 0.25, "rank": 50},
])  # fmt: skip
def test_loranpac_truncates_the_decomposition_of_what_was_kept_beside_each_task(options):
    config = small_config("loranpac", balanced=False, **options)
    method = learned("loranpac", STREAM, config)
    W, width = method.projection.double(), options["projections"]
    kept = torch.zeros(width, 0, dtype=torch.float64)  # U Sigma
    covariance = torch.zeros(width, STREAM.n_classes, dtype=torch.float64)
    rows = 0
    for task in TASKS:
        H = (task.train.features.double() @ W).relu().T  # one column a sample, as in the paper
        covariance += H @ functional.one_hot(task.train.labels, STREAM.n_classes).double()
        rows += H.shape[1]
        U, values, _ = torch.linalg.svd(torch.cat([kept, H], dim=1), full_matrices=False)
        k = round((1 - options["truncation"]) * min(rows, width))
        k = min(k, options.get("rank", k))
        U, values = U[:, :k], values[:k]
        kept = U * values
    weight = U @ (U.T @ covariance / values[:, None] ** 2)
    expected = (X @ W).relu() @ weight
    assert len(method.values) == k
    torch.testing.assert_close(method.values, values, rtol=1e-4, atol=0)
    torch.testing.assert_close(method.scores(X).double(), expected, rtol=0, atol=2e-3)
    assert expected.std() > 0.05


def test_without_truncation_loranpac_is_the_least_squares_of_minimum_norm():
    config = small_config("loranpac", projections=600, truncation=0.0, balanced=False)
    method = METHODS.get("loranpac")(STREAM.dim, STREAM.n_classes, config, CPU)
    method.learn(TASKS[:2])
    x = torch.cat([task.train.features for task in TASKS[:2]]).double()
    y = torch.cat([task.train.labels for task in TASKS[:2]])
    h = (x @ method.projection.double()).relu()
    weight = torch.linalg.pinv(h) @ functional.one_hot(y, method.seen).double()
    scores = method.scores(X).double()
    expected = (X @ method.projection.double()).relu() @ weight
    torch.testing.assert_close(scores, expected, rtol=0, atol=5e-3)
    assert math.isfinite(scores.abs().max())
