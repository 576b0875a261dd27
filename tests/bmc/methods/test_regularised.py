"""Strengths that the stream chooses, and classes of equal weight, against plain loops."""

from dataclasses import replace

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors

from bmc.methods import METHODS
from bmc.methods.regularised import ENOUGH, WITHHELD
from bmc.train.data import Split

STREAM = small_stream()
CHOOSING = {
    "slda": {"shrinkage": 0.0},
    "klda": {"shrinkage": 0.0, "projections": 64},
    "fecam": {"shrinkage": 0.0},
    "fecam-shared": {"shrinkage": 0.0},
    "ridge": {"withheld": True},
    "ranpac": {"withheld": True, "projections": 64},
}


def method_of(name, **changes):
    return METHODS.get(name)(STREAM.dim, STREAM.n_classes, small_config(name, **changes), CPU)


def covariances(x, y):
    """Yield the unbiased covariance of each class, by its definition."""
    for c in torch.unique(y):
        centred = x[y == c] - x[y == c].mean(dim=0)
        yield sum(torch.outer(row, row) for row in centred) / max(1, len(centred) - 1)


def everything(split="train"):
    data = [getattr(task, split) for task in tensors(STREAM)]
    return torch.cat([s.features.double() for s in data]), torch.cat([s.labels for s in data])


def test_balanced_scatter_is_the_sum_of_the_classes_covariances():
    method = method_of("slda", balanced=True, shrinkage=0.1)
    for task in tensors(STREAM):
        method.receive(task)
    expected = sum(covariances(*everything()))
    torch.testing.assert_close(method.scatter, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(method.covariance(), expected / STREAM.n_classes)


@pytest.mark.parametrize("name", ["slda", "klda", "ridge", "ranpac", "acil"])
def test_a_class_of_many_samples_weighs_no_more_when_classes_are_balanced(name):
    first, *others = tensors(STREAM)
    often = torch.cat(
        [torch.arange(len(first.train))] + [torch.nonzero(first.train.labels == 0)[:, 0]] * 30
    )
    many = replace(first, train=Split(first.train.features[often], first.train.labels[often]))
    x = torch.cat([task.test.features for task in tensors(STREAM)])
    change = {}
    for balanced in (True, False):
        scores = []
        for task in (first, many):
            method = method_of(name, balanced=balanced, shrinkage=0.1, projections=64)
            for each in (task, *others):
                method.receive(each)
                method.seen = each.stop
            scores.append(method.scores(x))
        change[balanced] = (scores[1] - scores[0]).abs().mean()
    assert change[True] < 0.2 * change[False]


def test_withheld_are_two_of_each_class_that_has_enough_whatever_the_order_of_tasks():
    tasks = tensors(STREAM)
    few = torch.nonzero(tasks[0].train.labels == 0)[: ENOUGH - 1, 0]
    rest = torch.nonzero(tasks[0].train.labels > 0)[:, 0]
    rows = torch.cat([few, rest])
    tasks[0] = replace(
        tasks[0], train=Split(tasks[0].train.features[rows], tasks[0].train.labels[rows])
    )
    states = []
    for order in (tasks, tasks[::-1]):
        method = method_of("slda", shrinkage=0.0)
        for task in order:
            method.receive(task)
        classes = method.origins[:, 0].long()
        counted = torch.bincount(classes, minlength=STREAM.n_classes)
        assert counted[0] == 0
        assert (counted[1:] == WITHHELD).all()
        assert torch.equal(method.counts + counted, method.sizes)
        states.append(sorted(map(tuple, torch.cat([method.origins, method.withheld], 1).tolist())))
    assert states[0] == states[1]
    other = learned("slda", STREAM, small_config("slda", shrinkage=0.0, seed=1))
    assert not torch.equal(
        other.withheld, learned("slda", STREAM, small_config("slda", shrinkage=0.0)).withheld
    )


def lda(x, y, strength):
    """Weights and offsets of linear discriminants with balanced classes, by the definition."""
    means = torch.stack([x[y == c].mean(dim=0) for c in range(STREAM.n_classes)])
    S = sum(covariances(x, y)) / STREAM.n_classes
    eye = torch.eye(len(S), dtype=torch.float64)
    inverse = torch.linalg.inv((1 - strength) * S + strength * S.diagonal().mean() * eye)
    return means @ inverse, -0.5 * ((means @ inverse) * means).sum(dim=1)


def test_the_shrinkage_is_the_best_on_withheld_samples_by_a_plain_loop():
    method = method_of("slda", shrinkage=0.0, balanced=True)
    for task in tensors(STREAM):
        method.receive(task)
        method.seen = task.stop
    x, y = everything()
    rows = {tuple(row) for row in method.withheld.tolist()}
    out = torch.tensor([tuple(row) in rows for row in x.tolist()])
    assert out.sum() == len(method.withheld) == WITHHELD * STREAM.n_classes
    accuracies = {}
    sizes = torch.bincount(y).double()
    for strength in method.grid:
        # the others' scatter, in weights of all samples of a class
        means = torch.stack([x[~out & (y == c)].mean(dim=0) for c in range(STREAM.n_classes)])
        S = 0
        for c in range(STREAM.n_classes):
            centred = x[~out & (y == c)] - means[c]
            S = S + centred.T @ centred / (sizes[c] - 1) / STREAM.n_classes
        eye = torch.eye(len(S), dtype=torch.float64)
        inverse = torch.linalg.inv((1 - strength) * S + strength * S.diagonal().mean() * eye)
        scores = x[out] @ inverse @ means.T - 0.5 * ((means @ inverse) * means).sum(dim=1)
        right = (scores.argmax(dim=1) == y[out]).double()
        of_tasks = []
        for task in tensors(STREAM):
            here = (y[out] >= task.start) & (y[out] < task.stop)
            of_tasks.append(right[here].mean())  # two samples of every class
        accuracies[strength] = round(torch.stack(of_tasks).mean().item(), 9)
    best = max(accuracies.values())
    assert len(set(accuracies.values())) > 1
    assert method.strength() == max(s for s, a in accuracies.items() if a == best)
    # and then all samples count
    test, _ = everything("test")
    weight, bias = lda(x, y, method.strength())
    expected = (test @ weight.T + bias).float()
    torch.testing.assert_close(method.scores(test), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", CHOOSING)
def test_choosing_leaves_the_statistics_as_they_are_and_says_what_it_chose(name):
    method = learned(name, STREAM, small_config(name, **CHOOSING[name]))
    before = {key: tensor.clone() for key, tensor in method.state().items()}
    x = tensors(STREAM)[0].test.features
    scores = method.scores(x)
    assert method.records()["strength"] in method.grid
    assert all(torch.equal(before[key], tensor) for key, tensor in method.state().items())
    twin = method_of(name, **CHOOSING[name])
    twin.load_state(before)
    twin.seen = method.seen
    assert torch.equal(twin.scores(x), scores)


@pytest.mark.parametrize("name", CHOOSING)
def test_classes_too_small_to_withhold_from_are_learned_all_the_same(name):
    method = method_of(name, **CHOOSING[name])
    for task in tensors(STREAM):
        rows = torch.cat(
            [torch.nonzero(task.train.labels == c)[:2, 0] for c in range(task.start, task.stop)]
        )
        train = Split(task.train.features[rows], task.train.labels[rows])
        method.learn([replace(task, train=train)])
    assert method.withheld.numel() == 0
    x, y = everything()
    assert (method.scores(x).argmax(dim=1) == y).double().mean() > 0.3
    assert method.used == method.unknown
