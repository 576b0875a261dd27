"""Frozen-feature references against their own mathematics."""

import math
from dataclasses import replace

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS
from bmc.methods.fecam import contrasts, inverse_factors, shrunk_correlation
from bmc.methods.ridge import HELD_OUT, RIDGES
from bmc.train.data import Split, TaskTensors
from bmc.train.seeds import generator

STREAM = small_stream()
REFERENCES = (
    "acil", "fecam", "fecam-shared", "klda", "knn", "ncm", "ranpac", "ridge", "slda",
)  # fmt: skip


def task_of(features: list[list[float]], labels: list[int]) -> TaskTensors:
    """One task of 2-d features; its classes are 0 ... max(labels)."""
    data = Split(torch.tensor(features), torch.tensor(labels))
    return TaskTensors(0, "hand", "hand", 0, max(labels) + 1, data, data, data)


def learned_by_hand(name, features, labels, **changes):
    return unrounded(name, [task_of(features, labels)], **changes)


def unrounded(name, tasks, **changes):
    """Learn with statistics in working precision: formulas are compared before packing."""
    dim, n_classes = tasks[0].train.features.shape[1], max(task.stop for task in tasks)
    method = METHODS.get(name)(dim, n_classes, small_config(name, **changes), CPU)
    for task in tasks:
        method.receive(task)
        method.seen = max(method.seen, task.stop)
    return method


def everything(method, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All training data of the stream as float64: lifted [n, width] and one-hot [n, C]."""
    parts = [task.train for task in tensors(STREAM)]
    x = torch.cat([method.lift(part.features) for part in parts]).double()
    y = functional.one_hot(torch.cat([part.labels for part in parts]), STREAM.n_classes).double()
    assert x.shape[1] == width
    return x, y


def batch_ridge(x: torch.Tensor, y: torch.Tensor, ridge: float) -> torch.Tensor:
    """Minimise |x W - y|^2 + ridge |W|^2 as least squares with further rows; no Gram matrix."""
    width = x.shape[1]
    rows = torch.cat([x, math.sqrt(ridge) * torch.eye(width, dtype=x.dtype)])
    aims = torch.cat([y, torch.zeros(width, y.shape[1], dtype=y.dtype)])
    return torch.linalg.lstsq(rows, aims).solution


def test_ncm_is_the_cosine_to_the_mean_by_hand():
    features = [[3.0, 0.0], [0.0, 3.0], [0.0, 1.0]]  # means (1.5, 1.5) and (0, 1)
    method = learned_by_hand("ncm", features, [0, 0, 1])
    scores = method.scores(torch.tensor([[2.0, 0.0], [3.0, 4.0]]))
    expected = [[math.sqrt(0.5), 0.0], [0.7 * math.sqrt(2), 0.8]]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_knn_sums_the_votes_of_the_nearest_by_hand():
    features = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 2.0], [-5.0, 0.0]]
    method = learned_by_hand("knn", features, [0, 1, 1, 2, 3], neighbours=3, temperature=0.5)
    votes = method.scores(torch.tensor([[7.0, 0.0]])).exp()[0]
    votes = votes / votes[0]  # votes mean something relative to each other
    # cosines 1, 0.8, 0.6, 0, -1; the first three vote, classes 2 and 3 rank by their nearest
    expected = [1.0, math.exp(-0.4) + math.exp(-0.8), math.exp(-2.0), math.exp(-4.0)]
    torch.testing.assert_close(votes, torch.tensor(expected))
    assert votes.argmax() == 1  # two votes outweigh the nearest


def test_knn_keeps_every_row_while_its_table_grows():
    method = METHODS.get("knn")(STREAM.dim, STREAM.n_classes, small_config("knn"), CPU)
    for task in tensors(STREAM):
        method.learn([task])
    state, data = method.state(), [task.train for task in tensors(STREAM)]
    assert torch.equal(state["labels"].long(), torch.cat([part.labels for part in data]))
    torch.testing.assert_close(
        state["features"].float(), torch.cat([part.features for part in data]).float(),
        rtol=0, atol=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ridge", "ranpac"])
def test_streaming_ridge_and_ranpac_equal_batch_ridge(name):
    method = learned(name, STREAM, small_config(name, balanced=False))
    x, y = everything(method, method.width)
    expected = batch_ridge(x, y, method.ridge())
    test = torch.cat([task.test.features for task in tensors(STREAM)])
    scores = method.scores(test).double()
    torch.testing.assert_close(scores, method.lift(test).double() @ expected, rtol=0, atol=1e-5)
    assert scores.abs().max() > 0.5


def test_ranpac_projects_before_the_rectifier():
    method = learned("ranpac", STREAM, small_config("ranpac"))
    x = tensors(STREAM)[0].test.features
    expected = (x.float() @ method.projection).clamp(min=0)
    assert torch.equal(method.lift(x), expected)
    assert method.projection.std() == pytest.approx(1.0, abs=0.02)
    other = learned("ranpac", STREAM, small_config("ranpac", seed=1))
    assert not torch.equal(other.projection, method.projection)


@pytest.mark.parametrize("projections", [40, 256])  # fewer and more columns than rows
def test_the_ridge_is_the_best_of_held_out_training_samples_of_each_task(projections):
    config = small_config("ranpac", projections=projections, balanced=False)
    method = learned("ranpac", STREAM, config)
    expected = torch.zeros(len(RIDGES), dtype=torch.float64)
    for task in tensors(STREAM):
        draws = generator(config.seed, "held out", task.name)
        order = torch.randperm(len(task.train), generator=draws)
        count = len(order) // HELD_OUT
        x = method.lift(task.train.features[order]).double()
        y = functional.one_hot(task.train.labels[order] - task.start).double()
        for number, ridge in enumerate(RIDGES):
            weight = batch_ridge(x[count:], y[count:], ridge)
            expected[number] += (x[:count] @ weight - y[:count]).square().sum()
    # below 1e-6 the Gram matrix of either side has lost the smallest singular values
    torch.testing.assert_close(method.errors[2:], expected[2:], rtol=1e-5, atol=0)
    assert method.ridge() == RIDGES[int(expected.argmin())]


def test_no_reference_reads_development_or_test_samples():
    for name in REFERENCES:
        method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, small_config(name), CPU)
        for task in tensors(STREAM):
            absent = Split(torch.full_like(task.dev.features, math.nan), task.dev.labels)
            method.learn([replace(task, dev=absent, test=absent)])
        expected = learned(name, STREAM, small_config(name)).state()
        for key, value in method.state().items():
            assert torch.equal(value, expected[key]), (name, key)


def test_balanced_ridge_does_not_count_the_samples_of_a_class():
    features = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]
    often = features + [features[2]] * 5
    for balanced in (True, False):
        few = learned_by_hand("ridge", features, [0, 0, 1], balanced=balanced)
        many = learned_by_hand("ridge", often, [0, 0, 1, 1, 1, 1, 1, 1], balanced=balanced)
        assert torch.allclose(few.gram, many.gram) == balanced
        assert torch.allclose(few.targets, many.targets) == balanced
    # the mean of h h^T of each class, added up
    by_hand = learned_by_hand("ridge", features, [0, 0, 1], balanced=True).gram
    expected = torch.tensor([[0.68, 0.24], [0.24, 1.32]], dtype=torch.float64)
    torch.testing.assert_close(by_hand, expected, rtol=1e-6, atol=0)


def test_covariance_is_shrunk_and_scaled_to_correlations_by_hand():
    covariance = torch.tensor([[4.0, 1.0], [1.0, 2.0]])  # V1 = 3, V2 = 1
    rho = 2 / math.sqrt(7 * 5)  # of [[4 + 3, 1 + 1], [1 + 1, 2 + 3]]
    expected = torch.tensor([[1.0, rho], [rho, 1.0]])
    torch.testing.assert_close(shrunk_correlation(covariance, 1.0), expected)
    assert torch.equal(covariance, torch.tensor([[4.0, 1.0], [1.0, 2.0]]))


def quadratic(away: tuple[float, float], rho: float) -> float:
    """Mahalanobis distance in two dimensions by the formula of the correlation's inverse."""
    a, b = away
    return (a * a - 2 * rho * a * b + b * b) / (1 - rho * rho)


# class 0: mean (3, 0), scatter [[6, 3], [3, 6]]; class 1: mean (2, 2), scatter [[2, -2], [-2, 8]]
CROSS = [[5.0, 1.0], [2.0, 1.0], [2.0, -2.0], [3.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
DIAGONAL = math.sqrt(0.5)  # both coordinates of the mean of class 1 at length 1
CROSS_LABELS = [0, 0, 0, 1, 1, 1]


def test_fecam_is_the_mahalanobis_distance_by_each_classs_correlation():
    x = torch.tensor(CROSS)
    method = learned_by_hand("fecam", CROSS, CROSS_LABELS, shrinkage=1.0)
    distances = []
    for c, mean in enumerate([(1.0, 0.0), (DIAGONAL, DIAGONAL)]):
        own = x[torch.tensor(CROSS_LABELS) == c]
        (s11, s12), (_, s22) = torch.cov(own.T).tolist()
        v1, v2 = (s11 + s22) / 2, s12
        rho = (s12 + v2) / math.sqrt((s11 + v1) * (s22 + v1))
        distances.append(quadratic((0.6 - mean[0], 0.8 - mean[1]), rho))
    scores = method.scores(torch.tensor([[6.0, 8.0]]))
    torch.testing.assert_close(scores, -torch.tensor([distances]))
    assert abs(distances[0] - distances[1]) > 0.1


@pytest.mark.parametrize("part", [-0.7, 0.5])  # features fall against each other, or together
def test_fecams_distance_by_few_rows_is_that_by_the_whole_correlation(part):
    draws = torch.Generator().manual_seed(0)
    roots = torch.randn(7, 50, generator=draws)
    roots = roots + part * roots.mean(dim=1, keepdim=True)
    roots = roots.double()
    inverse = torch.linalg.inv(shrunk_correlation(roots.T @ roots, 0.7))
    q, H, signs = inverse_factors(roots, 0.7)
    torch.testing.assert_close(q.diag() - (H.T * signs) @ H, inverse, rtol=1e-9, atol=1e-9)


def test_shared_fecam_is_the_mahalanobis_distance_by_the_pooled_correlation():
    x, labels = torch.tensor(CROSS), torch.tensor(CROSS_LABELS)
    method = learned_by_hand("fecam-shared", CROSS, CROSS_LABELS, shrinkage=1.0, balanced=False)
    centred = torch.cat([x[labels == c] - x[labels == c].mean(dim=0) for c in (0, 1)])
    (s11, s12), (_, s22) = (centred.T @ centred / (6 - 2)).tolist()
    v1, v2 = (s11 + s22) / 2, s12
    rho = (s12 + v2) / math.sqrt((s11 + v1) * (s22 + v1))
    first, second = quadratic((-0.4, 0.8), rho), quadratic((0.6 - DIAGONAL, 0.8 - DIAGONAL), rho)
    scores = method.scores(torch.tensor([[6.0, 8.0]]))[0]
    # a term of the sample is left out of the scores: only their difference is the distances'
    assert (scores[0] - scores[1]).item() == pytest.approx((second - first) / 2, rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_fecams_contrasts_have_the_scatter_of_the_rows_and_are_one_fewer(n):
    x = torch.randn(n, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    rows, centred = contrasts(x), x - x.mean(dim=0)
    assert rows.shape == (n - 1, 7)
    torch.testing.assert_close(rows.T @ rows, centred.T @ centred)


def test_fecam_keeps_the_scatter_of_all_samples_in_no_more_rows_than_these():
    draws = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 20, dtype=torch.float64, generator=draws) for n in (6, 1, 2, 30)]
    method = METHODS.get("fecam")(20, 1, small_config("fecam"), CPU)
    for k, part in enumerate(parts, start=1):
        method._merge(part, 0)
        x = torch.cat(parts[:k])
        centred, roots = x - x.mean(dim=0), method.roots[0].double()
        assert len(roots) <= min(len(x), 20)
        torch.testing.assert_close(roots.T @ roots, centred.T @ centred, rtol=1e-5, atol=1e-5)


def test_fecam_takes_a_class_of_one_sample():
    method = learned_by_hand("fecam", [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    scores = method.scores(torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(scores, torch.tensor([[-0.8, -0.4]]))  # Euclidean


def test_klda_equals_slda_on_the_explicit_features():
    fixed = {"shrinkage": 0.1}  # the twin would withhold lifted features, in float16
    method = learned("klda", STREAM, small_config("klda", **fixed))
    twin = METHODS.get("slda")(256, STREAM.n_classes, small_config("slda", **fixed), CPU)
    for task in tensors(STREAM):
        lifted = method.lift(task.train.features)
        twin.learn([replace(task, train=replace(task.train, features=lifted))])
    test = torch.cat([task.test.features for task in tensors(STREAM)])
    expected = twin.scores(method.lift(test))
    torch.testing.assert_close(method.scores(test), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(method.scores(test).argmax(dim=1), expected.argmax(dim=1))


def test_products_of_kldas_features_approach_the_kernel():
    config = small_config("klda", projections=4000, gamma=0.7)
    method = METHODS.get("klda")(2, 1, config, CPU)
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    product = (method.lift(x) @ method.lift(y).T).item()
    # a mean of 4,000 draws with a deviation below 1; gamma / 2 or 2 gamma are off by 0.19
    assert product == pytest.approx(math.exp(-0.7 * 2), abs=0.05)


def test_acils_recursion_equals_the_joint_ridge():
    method = unrounded("acil", tensors(STREAM), gamma=0.3, balanced=False)
    x, y = everything(method, 256)
    torch.testing.assert_close(method.weight, batch_ridge(x, y, 0.3), rtol=0, atol=1e-8)
    gram = x.T @ x + 0.3 * torch.eye(256, dtype=torch.float64)
    eye = torch.eye(256, dtype=torch.float64)
    torch.testing.assert_close(method.inverse @ gram, eye, rtol=0, atol=1e-8)


def shuffled_parts(task: TaskTensors) -> list[TaskTensors]:
    """Return the task in parts of 17 training rows, in another order."""
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(0))
    return [
        replace(task, train=Split(task.train.features[rows], task.train.labels[rows]))
        for rows in torch.split(order, 17)
    ]


@pytest.mark.parametrize("name", REFERENCES)
def test_references_do_not_depend_on_the_order_or_the_batching_of_samples(name):
    # samples are withheld from, and the sizes of classes counted in, a whole task
    plain = {"shrinkage": 1.0 if name.startswith("fecam") else 0.1, "balanced": False}
    whole = unrounded(name, tensors(STREAM), **plain)
    parts = [part for task in tensors(STREAM) for part in shuffled_parts(task)]
    twin = unrounded(name, parts, **plain)
    if name in ("ridge", "ranpac"):
        twin.errors = whole.errors  # which samples are held out is drawn for each part
    test = torch.cat([task.test.features for task in tensors(STREAM)])
    expected = whole.scores(test)
    # scores are float32, and their sizes differ from method to method
    scale = expected.std().item()
    torch.testing.assert_close(twin.scores(test), expected, rtol=0, atol=1e-4 * scale)
    assert twin.memory_bytes() == whole.memory_bytes()
