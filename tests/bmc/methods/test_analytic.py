"""BMC-Analytic against its own equations, written naively."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors

from bmc.config import Config
from bmc.methods import METHODS
from bmc.methods.analytic import GRID
from bmc.methods.gaussian_message import (
    Statistics,
    Table,
    packed_covariance,
    packed_rows,
    unpacked_covariance,
    unpacked_rows,
)
from bmc.runs.evaluate import evaluate
from bmc.train.data import Split, TaskTensors, withheld_rows
from bmc.train.seeds import generator

STREAM = small_stream()
D, C = STREAM.dim, STREAM.n_classes
ANALYTIC = METHODS.get("bmc-analytic")


def naive_scores(stream, x, tau, delta, nu, e_h, T, eps):
    """Score rows of length 1 by the equations of the method, a task and a class at a time."""

    def shrunk(S, e):
        return (1 - e) * S + e * np.trace(S) / len(S) * np.eye(len(S))

    def unit(rows):
        rows = rows.double().numpy()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    tasks, S0, x = [], np.zeros((D, D)), unit(x)
    for task in tensors(stream):
        rows, labels = unit(task.train.features), task.train.labels.numpy() - task.start
        k = task.n_classes
        n = np.bincount(labels, minlength=k)
        mean = np.stack([rows[labels == c].mean(axis=0) for c in range(k)])
        dof = len(rows) - k
        S = (rows - mean[labels]).T @ (rows - mean[labels]) / dof
        S0 += S / len(stream.tasks)
        g = (tau * n / (tau * n + 1))[:, None]
        centre = mean.mean(axis=0)
        tasks.append((g * mean + (1 - g) * centre, centre, 1 + tau / (tau * n + 1), S, dof))
    inverse, scores = np.linalg.inv(shrunk(S0, eps)), []
    for m, centre, v, S, dof in tasks:
        away = x[:, None] - m  # [n, k, d]
        distance = np.einsum("nkd,de,nke->nk", away, inverse, away)
        a = -distance / (2 * v) - delta * D * np.log(v) / 2
        A = shrunk(S, 1 - (1 - e_h) * dof / (nu + dof))
        W = np.linalg.solve(A, (m - centre).T)
        h = (x @ W - ((m - centre).T * W).sum(axis=0) / 2 - centre @ W) / T
        evidence = np.log(np.exp(a / T).mean(axis=1, keepdims=True))
        scores.append(evidence + h - np.log(np.exp(h).sum(axis=1, keepdims=True)))
    return np.concatenate(scores, axis=1)


def test_with_whole_covariances_the_scores_are_those_of_the_equations():
    config = small_config(
        "bmc-analytic", rank=0, shrinkage=0.3, trust=0.4, volume=0.7, head_prior=0.5,
        head_shrinkage=0.1, temperature=0.2,
    )  # fmt: skip
    x = torch.cat([task.test.features for task in tensors(STREAM)])
    expected = naive_scores(STREAM, x, 0.4, 0.7, 0.5 * D, 0.1, 0.2 * D, 0.3)
    scores = learned("bmc-analytic", STREAM, config).scores(x).double().numpy()
    scores += (expected - scores).mean(axis=1, keepdims=True)  # equal up to a term of the row
    assert (scores.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99
    # float16 means, heads and covariances against float64 ones
    np.testing.assert_allclose(scores, expected, rtol=0.02, atol=0.02 * expected.std())


def table_of(task):
    return Table(task.train.features, task.train.labels - task.start)


@pytest.mark.parametrize("size", [20, 200])  # fewer and more rows than dimensions
def test_statistics_are_the_means_and_the_covariance_within_classes(size):
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(size, 32, generator=draws), torch.arange(size) % 3
    x = torch.nn.functional.normalize(x + y[:, None], dim=1)
    made = Statistics.of(Table(x, y), torch.arange(size), 3)
    means = torch.stack([x[y == c].double().mean(dim=0) for c in range(3)])
    away = x.double() - means[y]
    torch.testing.assert_close(made.means, means, rtol=1e-6, atol=1e-7)
    covariance = made.vectors.T * made.values @ made.vectors
    torch.testing.assert_close(covariance, away.T @ away / (size - 3), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rank", [0, 3, 8])
def test_a_covariance_is_sent_with_its_largest_directions_and_its_whole_trace(rank):
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 24, dtype=torch.float64, generator=draws) * torch.arange(1, 25)
    values, vectors = (t.flip(-1) for t in torch.linalg.eigh(rows.T @ rows))
    sent = packed_covariance(values, vectors.T, rank)
    matrix = unpacked_covariance(sent)
    expected = rows.T @ rows
    assert matrix.trace().item() == pytest.approx(expected.trace().item(), rel=1e-3)
    tolerance = values[rank].item() if rank else 1e-3 * values[0].item()
    assert torch.linalg.matrix_norm(matrix - expected, ord=2) <= 1.01 * tolerance
    assert sum(t.numel() * t.element_size() for t in sent.values()) == (
        rank * (2 * 24 + 4) + 4 if rank else 24 * 25 + 4
    )


def test_a_sketch_that_would_be_larger_than_the_covariance_is_not_sent():
    sent = packed_covariance(torch.ones(24), torch.eye(24), 13)
    assert set(sent) == {"covariance", "covariance.scale"}


def test_rows_of_eight_bits_are_within_half_a_level():
    rows = torch.nn.functional.normalize(
        torch.randn(40, 64, generator=torch.Generator().manual_seed(0)), dim=1
    )
    sent = packed_rows(rows)
    error = (unpacked_rows(sent) - rows).abs().amax(dim=1)
    # half a level, and what float16 adds to the scale
    assert (error <= rows.abs().amax(dim=1) * (0.5 / 127 + 2**-11)).all()


def test_the_centre_takes_withheld_rows_out_of_the_statistics_and_puts_them_back():
    method = learned("bmc-analytic", STREAM, small_config("bmc-analytic", rank=0))
    pooled = torch.zeros(D, D, dtype=torch.float64)
    for task, kept in zip(tensors(STREAM), method.tasks, strict=True):
        k, table = task.n_classes, table_of(task)
        withheld = withheld_rows(table.labels, k, 2, generator(0, "withheld", task.name))
        rest = torch.arange(len(task.train))
        rest = rest[~torch.isin(rest, withheld)]
        alone = Statistics.of(table, rest, k)
        counts, means, _ = kept.without_rows()
        assert counts.tolist() == alone.counts.tolist()
        torch.testing.assert_close(means, alone.means, rtol=0, atol=2e-3)  # rows of 8 bits
        whole = Statistics.of(table, torch.arange(len(task.train)), k)
        pooled += whole.vectors.T * whole.values @ whole.vectors / len(method.tasks)
    white = method.solve()[0].double()
    e = method.chosen_shrinkage()
    expected = (1 - e) * pooled
    expected.diagonal().add_(e * pooled.diagonal().mean())
    torch.testing.assert_close(
        white.T @ expected @ white, torch.eye(D, dtype=torch.float64), rtol=0, atol=0.02
    )


def test_the_chosen_shrinkage_is_that_of_a_search_with_refitting_on_withheld_rows():
    draws = torch.Generator().manual_seed(1)
    mix = torch.randn(40, 40, generator=draws) * torch.logspace(0, -1.5, 40)
    tasks, rest = [], []
    for t in range(4):
        y = torch.arange(24) % 3
        x = 0.25 * torch.randn(3, 40, generator=draws)[y]
        x += 0.3 * torch.randn(24, 40, generator=draws) @ mix
        rows = withheld_rows(y, 3, 2, generator(0, "withheld", f"t{t}"))
        others = torch.ones(24, dtype=torch.bool).index_fill(0, rows, False)
        all_rows, held = Split(x, y + 3 * t), Split(x[rows], y[rows] + 3 * t)
        tasks.append(TaskTensors(t, f"t{t}", "d", 3 * t, 3 * t + 3, all_rows, held, held))
        rest.append(replace(tasks[-1], train=Split(x[others], y[others] + 3 * t)))
    method = ANALYTIC(40, 12, small_config("bmc-analytic"), CPU)
    method.learn(tasks)
    reached = {}
    for shrinkage in GRID:
        refitted = ANALYTIC(40, 12, small_config("bmc-analytic", shrinkage=shrinkage), CPU)
        refitted.learn(rest)
        scores = [refitted.scores(task.test.features) for task in tasks]
        posterior = [  # of a row's task: classes within a task sum to one
            s.log_softmax(dim=1)[:, task.start : task.stop].logsumexp(dim=1).mean()
            for s, task in zip(scores, tasks, strict=True)
        ]
        reached[shrinkage] = sum(map(float, posterior))
    best = max(reached, key=reached.__getitem__)
    # rows of 8 bits and statistics of 16 against whole ones
    assert reached[method.chosen_shrinkage()] == pytest.approx(reached[best], rel=0.02)
    assert min(reached.values()) < 1.1 * reached[best]


def test_tasks_may_come_in_any_order_and_their_last_row_is_the_same():
    tasks = tensors(STREAM)
    rows, sent = [], []
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 5, 0, 4, 1, 3]):
        method = ANALYTIC(D, C, small_config("bmc-analytic"), CPU)
        for number in order:
            method.learn([tasks[number]])
            method.seen = C  # the classes of later tasks may have come first
        rows.append(evaluate(method, tasks))
        sent.append(method.communication_bytes)
    assert ANALYTIC.order_free
    assert len(set(sent)) == 1
    for row in rows[1:]:
        np.testing.assert_array_equal(row.class_il, rows[0].class_il)
        np.testing.assert_array_equal(row.task_il, rows[0].task_il)


def test_bytes_are_those_of_messages_and_of_the_state():
    method = learned("bmc-analytic", STREAM, small_config("bmc-analytic", rank=4))
    rows = sum(len(task.tensors["rows"]) for task in method.tasks)
    of_classes = C * (2 * (2 * D) + 4 + 4) + rows * (D + 2 + 2)
    sent = of_classes + 6 * (4 * (2 * D + 4) + 4)
    assert sent < method.communication_bytes < sent + 6 * 900  # headers
    assert method.broadcast_bytes == 0
    assert method.memory_bytes() == of_classes + 3 * D * (D + 1) // 2 + 6 * (8 + 4)
    fixed = learned("bmc-analytic", STREAM, small_config("bmc-analytic", rank=4, shrinkage=0.2))
    assert fixed.memory_bytes() == C * (4 * D + 8) + 3 * D * (D + 1) // 2 + 6 * (8 + 4)


def test_a_class_of_one_sample_and_equal_samples_have_finite_scores():
    same = torch.ones(3, D)
    data = Split(same, torch.tensor([0, 1, 1]))
    method = ANALYTIC(D, 2, small_config("bmc-analytic"), CPU)
    method.learn([TaskTensors(0, "t", "t", 0, 2, data, data, data)])
    assert torch.isfinite(method.scores(same)).all()


def test_classes_of_one_sample_each_are_told_apart_without_any_variance():
    rows = torch.eye(D)[:3]
    data = Split(rows, torch.arange(3))
    method = ANALYTIC(D, 3, small_config("bmc-analytic"), CPU)
    method.learn([TaskTensors(0, "t", "t", 0, 3, data, data, data)])
    assert torch.isfinite(method.scores(rows)).all()
    assert method.scores(rows).argmax(dim=1).tolist() == [0, 1, 2]


def task_of_rings(per_class: int, index: int = 0, rings: bool = True) -> TaskTensors:
    """Two classes of one mean, told apart by the sign of a product of two coordinates."""
    draws = torch.Generator().manual_seed(index)

    def split(n: int) -> Split:
        x = torch.randn(n, 16, generator=draws)
        y = (x[:, 0] * x[:, 1] > 0).long() if rings else (x[:, 0] > 0).long()
        x[:, :2] *= 3
        return Split(torch.nn.functional.normalize(x, dim=1), y + 2 * index)

    train, test = split(2 * per_class), split(400)
    return TaskTensors(index, f"t{index}", "d", 2 * index, 2 * index + 2, train, test, test)


def test_an_expert_with_many_rows_sends_a_trained_head_where_it_beats_the_gaussian_one():
    config = replace(small_config("bmc-analytic"), epochs=10)
    few, many, linear = (ANALYTIC(16, 2, config, CPU) for _ in range(3))
    few.learn([task_of_rings(40)])
    many.learn([task_of_rings(1000)])
    linear.learn([task_of_rings(1000, rings=False)])
    heads = [method.records()["trained_heads"] for method in (few, many, linear)]
    assert heads[:2] == [0, 1]
    test = task_of_rings(1000)
    reached = evaluate(many, [test]).class_il[0]
    assert evaluate(few, [test]).class_il[0] < 0.6 < 0.85 < reached
    twin = ANALYTIC(16, 2, config, CPU)
    twin.load_state({name: tensor.clone() for name, tensor in many.state().items()})
    twin.seen = 2
    assert torch.equal(twin.scores(test.test.features), many.scores(test.test.features))
    weights = sum(
        t.numel() * t.element_size() for t in many.state().values() if t.ndim == 1 and len(t) > 1e4
    )
    assert weights > 0
    assert many.memory_bytes() > few.memory_bytes() + weights
    assert many.communication_bytes > few.communication_bytes + weights


def test_with_many_rows_of_unequal_classes_a_head_knows_which_class_is_frequent():
    draws = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        y = (torch.rand(n, generator=draws) < 0.1).long()
        x = torch.randn(n, 16, generator=draws)
        x[:, 0] += 0.5 * y
        return Split(x, y)

    train, test = split(2000), split(1000)
    task = TaskTensors(0, "t", "d", 0, 2, train, test, test)
    reached = []
    for least in (100, 10_000):
        method = ANALYTIC(16, 2, small_config("bmc-analytic", trained_from=least), CPU)
        method.learn([task])
        reached.append(evaluate(method, [task]).class_il[0])
    assert reached[0] > 0.85 > 0.75 > reached[1]


def test_an_expert_alone_is_the_same_whatever_came_before():
    """Its draws are named by its task: a message does not depend on other tasks."""
    tasks = tensors(STREAM)
    first, second = (ANALYTIC(D, C, Config(), CPU) for _ in range(2))
    second.learn([tasks[0]])
    ours, theirs = (method.message(tasks[3], [tasks[3]]).tensors for method in (first, second))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
