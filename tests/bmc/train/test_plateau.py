"""Learning rates that fall on a plateau, plain SGD, passes without a partial batch."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from small import small_config, small_stream, tensors
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from bmc.methods import METHODS
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.loop import CHUNK, Course, by_loss, train_stacked
from bmc.train.losses import task_loss
from bmc.train.plateau import Plateau, Record, judge_by_loss
from bmc.train.sampling import Shuffled, rows_per_pass
from bmc.train.seeds import Noise, generator

STREAM = small_stream()
CONFIG = small_config("finetune", epochs=2, learning_rate=0.01)


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_the_rate_falls_when_that_of_torch_does(patience):
    draws = torch.Generator().manual_seed(patience)
    losses = (1 + torch.rand(200, generator=draws)) * torch.logspace(0, -1, 200)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = ReduceLROnPlateau(optimizer, "min", threshold=1e-4, patience=patience, eps=0)
    record, rate = Record(Plateau(patience)), 1.0
    for loss in losses.tolist():
        optimizer.step()
        theirs.step(loss)
        lower, ends = record.add(loss)
        rate *= 0.1 if lower else 1
        assert math.isclose(rate, optimizer.param_groups[0]["lr"], rel_tol=1e-6)
        assert record.bad == theirs.num_bad_epochs
        assert not ends
    assert rate < 1


def test_training_never_ends_early_where_both_patiences_are_equal_as_published():
    record = Record(Plateau(10, 10))
    assert not any(ends for _, ends in (record.add(1.0) for _ in range(100)))
    record = Record(Plateau(10, 3))
    assert [record.add(1.0)[1] for _ in range(6)] == [False] * 4 + [True] * 2


def of(net: ResidualMLP) -> tuple[Callable, Callable[[Batch], Tensor]]:
    data = tensors(STREAM)[0].train

    def loss(batch: Batch) -> Tensor:
        features, labels = batch.data
        return task_loss(net(features.float() * 10, batch.keep)[0], labels)

    return lambda rows, _: (data.features[rows], data.labels[rows]), loss


def train(steps: int, net: ResidualMLP, **options: object) -> list[int]:
    fetch, loss = of(net)
    n = len(tensors(STREAM)[0].train)
    courses = [
        Course(Shuffled(n, generator(k)), steps, Noise(k), judged_every=5)
        for k in range(net.copies)
    ]
    # options of several types are passed on as they come
    return train_stacked(net, courses, fetch, by_loss(loss), CONFIG, **options)  # type: ignore[arg-type]


def new_net(copies: int = 1) -> ResidualMLP:
    net = ResidualMLP(STREAM.dim, 16, copies, **CONFIG.network())
    net.reset(generator(0))
    return net


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_updates_after_the_plateau_are_those_of_torch_at_a_tenth_of_the_rate(optimizer):
    net, ours = new_net(), []
    fetch, loss = of(net)

    def judge(places: Tensor, copies: Tensor) -> Tensor:
        ours.append(net.weights.data.clone())
        return torch.ones(len(copies))  # never better after the first

    train(20, net, judge=judge, plateau=Plateau(1), optimizer=optimizer)
    assert len(ours) == 4  # judged after each pass of 5, though a chunk is longer

    theirs = new_net().train()
    parameter = theirs.weights
    torch_optimizer = (
        torch.optim.AdamW([parameter], lr=0.01, fused=True)
        if optimizer == "adamw"
        else torch.optim.SGD([parameter], lr=0.01)
    )
    sampler, noise = Shuffled(len(tensors(STREAM)[0].train), generator(0)), Noise(0)
    fetch, loss = of(theirs)
    rows = sampler.take(20 * 64).view(20, 1, 64)
    keep = noise.keep((20, 64, theirs.dropout_width), theirs.dropout, parameter.device)
    for t in range(20):
        torch_optimizer.zero_grad()
        loss(Batch(fetch(rows[t], [0]), keep[t][None])).sum().backward()
        torch_optimizer.step()
        if t == 14:
            assert torch.allclose(parameter.data, ours[2], atol=1e-5)
            for group in torch_optimizer.param_groups:  # two judgements were not better
                group["lr"] = 0.001
    moved = (ours[3] - ours[2]).norm()
    # of a gradient near 0, AdamW's step is rounding magnified
    assert (parameter.data - ours[3]).norm() < 1e-2 * moved


def test_each_copy_has_its_own_rate_and_ends_on_its_own():
    net = new_net(2)
    before = []

    def judge(places: Tensor, copies: Tensor) -> Tensor:
        weights = net.weights.data[places].clone()
        before.append(dict(zip(copies.tolist(), weights, strict=True)))
        return torch.tensor([-float(len(before)) if c == 1 else 1.0 for c in copies.tolist()])

    made = train(40, net, judge=judge, plateau=Plateau(1), optimizer="sgd")
    assert made == [40, 40]
    moved = [[float((b[c] - a[c]).norm()) for a, b in pairwise(before)] for c in (0, 1)]
    assert moved[0][-1] < 0.02 * moved[1][-1]

    before.clear()
    assert train(40, new_net(2), judge=judge, plateau=Plateau(0, 1)) == [15, 40]


def test_a_copy_on_a_plateau_has_the_bits_that_it_has_alone():
    data = tensors(STREAM)[0].dev

    def trained(copies: int) -> Tensor:
        net = new_net(copies)
        judge = judge_by_loss(net, [data] * copies, CONFIG)
        train(3 * CHUNK, net, judge=judge, plateau=Plateau(1))
        return net.weights.data

    assert torch.equal(trained(1)[0], trained(3)[0])


def test_what_remains_of_a_pass_after_its_full_batches_is_left_out_if_asked_for():
    assert rows_per_pass(150, 64, False) == 150
    assert rows_per_pass(150, 64, True) == 128
    assert rows_per_pass(40, 64, True) == 40  # else nothing would be learned
    sampler = Shuffled(150, generator(0), 128)
    first, second = sampler.take(128), sampler.take(128)
    for rows in (first, second):
        assert len(set(rows.tolist())) == 128
    assert set(first.tolist()) != set(second.tolist())


@pytest.mark.parametrize("name", ["er", "der", "gss", "icarl", "dmc", "bmc", "joint"])
def test_methods_train_with_a_plateau_and_without_partial_batches(name):
    small = {"plateau": 1, "drop_last": True, "early_stopping": 3, "epochs": 6}
    small = {key: value for key, value in small.items() if METHODS.get(name).reads(key)}
    config = small_config(name, **small)
    tasks = tensors(STREAM)[:4]
    method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, config, tasks[0].train.labels.device)
    size = method.group_size(len(tasks))
    for first in range(0, len(tasks), size):
        method.learn(tasks[first : first + size])
    assert torch.isfinite(method.scores(tasks[0].test.features)).all()
    if name in ("der", "gss"):
        assert len(method.memory) == min(
            60, sum(rows_per_pass(len(t.train), 64, True) for t in tasks)
        )
