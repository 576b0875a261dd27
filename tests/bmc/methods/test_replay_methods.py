"""Replay methods against the mathematics of their papers, and the memories they share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS, agem, gem_program, hal_anchors
from bmc.methods.der import logit_distance
from bmc.methods.er_ace import among_present
from bmc.methods.fdr import function_distance
from bmc.network.mlp import ResidualMLP
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors
from bmc.train.losses import task_loss
from bmc.train.replay import BalancedMemory, Reservoir
from bmc.train.seeds import generator

STREAM = small_stream()


def after_tasks(name: str, n: int, **changes: object):
    """A method that has learned n tasks, and those that follow."""
    config = small_config(name, **changes)
    method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, config, CPU)
    tasks = tensors(STREAM)
    for task in tasks[:n]:
        method.learn([task])
    return method, tasks[n:]


def one_update(method, task: TaskTensors, labels=None):
    """Let a method observe one batch of a task; return batch, net as it was, gradient applied."""
    b = method.config.batch_size
    method.seen = task.stop
    method.begin_group([task])
    rows = torch.arange(b)[None, None]
    features, y, *drawn = (tensor[0] for tensor in method.fetch(task.train, rows))
    if labels is not None:
        y = torch.cat([labels[None, :b], y[:, b:]], dim=1)
    keep = torch.ones(1, b + method.extra_rows, method.net.dropout_width, dtype=torch.bool)
    keep[..., ::7] = False
    twin = ResidualMLP(STREAM.dim, STREAM.n_classes, **method.config.network())
    twin.load_state_dict({k: v.clone() for k, v in method.net.state_dict().items()})
    twin.weights.data = twin.weights.data[:, : twin.size(method.outputs)].clone()
    x = method.inputs(features)
    with StackedCopies(method.net, method.config, 0.001, method.outputs, capture=False) as update:
        method.observe(update, x, y, keep, *drawn)
        gradient = method.net.weights.grad.clone()
    return (x, y, keep), twin.train(), gradient


def conflicting_update(method, task: TaskTensors):
    """Let a method observe samples of the first task that are said to be of a new class."""
    wrong = torch.full((64,), task.start)
    return one_update(method, replace(task, train=tensors(STREAM)[0].train), wrong)


def gradient_of(net: ResidualMLP, x, labels, keep):
    net.weights.grad = None
    task_loss(net(x, keep)[0], labels).sum().backward()
    return net.weights.grad.clone()


# memories


def test_tasks_share_a_memory_evenly_and_give_up_room_for_the_next():
    memory = BalancedMemory(30, 2, CPU)
    place = memory.features.data_ptr()
    for task, n in enumerate((50, 4, 50, 50)):
        labels = 10 * task + torch.arange(n) % 5
        features = torch.stack([labels, torch.full_like(labels, task)], dim=1)
        memory.add(features, labels, generator(0, task), task=task)
    rows, starts, counts = memory.of_tasks()
    assert counts.sum() == len(memory) == 30
    assert counts[1] == 4  # all that this task has
    assert counts[[0, 2, 3]].max() - counts[[0, 2, 3]].min() <= 1
    for task, own in enumerate(torch.split(memory.features[rows], counts.tolist())):
        assert (own[:, 1] == task).all()
        assert torch.bincount(own[:, 0].long() - 10 * task).tolist()[0] in (1, 2)
    assert starts.tolist() == (torch.cumsum(counts, 0) - counts).tolist()
    assert memory.features.data_ptr() == place
    again = BalancedMemory(30, 2, CPU)
    again.load_state(memory.state())
    assert again.state().keys() == memory.state().keys()
    assert all(torch.equal(again.state()[k], v) for k, v in memory.state().items())


@pytest.mark.parametrize("kind", [Reservoir, BalancedMemory])
def test_stored_outputs_stay_with_their_samples_and_later_classes_are_zero(kind):
    memory, draws = kind(20, 1, CPU, n_outputs=9), generator(0)
    for task, known in enumerate((3, 5, 9)):
        labels = 100 * task + torch.arange(40)
        outputs = labels[:, None] + torch.arange(known) / 8
        memory.add(labels[:, None], labels, draws, task=task, outputs=outputs)
    again = kind(20, 1, CPU, n_outputs=9)
    again.load_state(memory.state())
    assert torch.equal(again.outputs, memory.outputs)
    seen = set()
    for i in range(len(memory)):
        known = {0: 3, 1: 5, 2: 9}[int(memory.labels[i]) // 100]
        seen.add(known)
        assert memory.known[i] == known
        expected = memory.labels[i] + torch.arange(known) / 8
        assert torch.equal(memory.outputs[i, :known], expected.half())
        assert (memory.outputs[i, known:] == 0).all()
    assert seen == {3, 5, 9}
    # feature, label, number of classes known; task and key, or the number of samples offered
    sample, rest = (2 + 4 + 4 + 4 + 4, 0) if kind is BalancedMemory else (2 + 4 + 4, 8)
    assert (
        sum(t.nbytes for t in memory.state().values())
        == 20 * sample + 2 * int(memory.known.sum()) + rest
    )


# DER, DER++


def test_dark_replay_stores_each_sample_once_with_the_logits_of_that_moment():
    method, (task, *_) = after_tasks("der", 0, epochs=1, memory=5000)
    (x, y, keep), twin, _ = one_update(method, task)
    n = len(y[0])
    assert torch.equal(method.memory.features[:n], task.train.features[:n])
    assert torch.equal(method.memory.labels[:n], y[0])
    assert torch.equal(method.memory.outputs[:n, : task.stop], twin(x, keep[:, :n])[0][0].half())
    assert (method.memory.known[:n] == task.stop).all()
    whole = learned("der", STREAM, small_config("der", epochs=3, memory=5000)).memory
    data = torch.cat([task.train.features for task in tensors(STREAM)])
    assert len(whole) == len(data)
    assert torch.equal(whole.features[: len(data)].unique(dim=0), data.unique(dim=0))
    stops = torch.cat([torch.full((t.n_classes,), t.stop) for t in tensors(STREAM)])
    assert torch.equal(whole.known[: len(data)], stops[whole.labels[: len(data)]])


def test_the_distance_to_stored_logits_counts_the_classes_that_were_known():
    logits = torch.tensor([[1.0, 2.0, 9.0], [0.0, 1.0, 3.0]])
    stored = torch.tensor([[1.0, 4.0, 0.0], [0.0, 1.0, 0.0]]).half()
    known = torch.tensor([2, 3])
    # ((0 + 4) / 2 + (0 + 0 + 9) / 3) / 2
    assert logit_distance(logits, stored, known).item() == pytest.approx(2.5)


def test_dark_replay_weighs_the_distance_and_its_extension_the_task_loss_of_other_samples():
    config = {"replay_batch": 2, "alpha": 0.5, "beta": 2.0}
    method, _ = after_tasks("derpp", 2, **config)
    rows = torch.tensor([0, 1, 2, 3])
    logits = torch.randn(1, 4, method.seen, generator=generator(1))
    stored, known = method.memory.outputs[:2, : method.seen], method.memory.known[:2]
    distance = sum(
        (logits[0, i, :k] - stored[i, :k]).square().mean() for i, k in enumerate(known.tolist())
    )
    task = functional.cross_entropy(logits[0, 2:], method.memory.labels[2:4])
    expected = 0.5 * distance / 2 + 2.0 * task
    torch.testing.assert_close(method.penalty(logits, rows)[0], expected)


@pytest.mark.parametrize("name", ["der", "derpp"])
def test_dark_replay_may_match_the_whole_head_as_published(name):
    method, (task, *_) = after_tasks(name, 1, matched="all")
    n, known = len(method.memory), method.memory.known
    assert (known[:n] == STREAM.n_classes).all()
    assert (method.memory.outputs[:n, task.start :] != 0).any()  # of classes that come later
    assert method.scores(task.test.features).shape[1] == method.seen < STREAM.n_classes
    rows = torch.arange(2 * method.config.replay_batch) % n
    logits = torch.randn(1, len(rows), STREAM.n_classes, generator=generator(1))
    half = method.extra_rows // method.draws_per_update
    theirs = functional.mse_loss(logits[0, :half], method.memory.outputs[rows[:half]].float())
    expected = 0.5 * theirs
    if name == "derpp":
        expected += functional.cross_entropy(logits[0, half:], method.memory.labels[rows[half:]])
        torch.testing.assert_close(method.penalty(logits, rows)[0], expected)
    else:
        torch.testing.assert_close(method.penalty(logits[:, :half], rows[:half])[0], expected)
    known_only = after_tasks(name, 1, outputs="all")[0].memory
    assert (known_only.known[: len(known_only)] == task.start).all()


# ER-ACE


def test_asymmetric_replay_lets_new_samples_compete_with_the_classes_of_their_batch_only():
    logits = torch.randn(1, 5, 7, generator=generator(0), requires_grad=True)
    labels = torch.tensor([[4, 4, 6, 2, 6]])
    loss = task_loss(among_present(logits, labels), labels)
    present = [2, 4, 6]
    places = torch.tensor([present.index(y) for y in labels[0].tolist()])
    torch.testing.assert_close(loss[0], functional.cross_entropy(logits[0][:, present], places))
    loss.sum().backward()
    assert (logits.grad[0][:, [0, 1, 3, 5]] == 0).all()
    assert (logits.grad[0][:, present] != 0).all()


def test_asymmetric_replay_makes_replayed_samples_compete_with_all_classes():
    method, (task, *_) = after_tasks("er-ace", 1)
    new = torch.full((64,), task.start)  # alone in its batch: no loss, no gradient of its own
    (_, y, _), _, gradient = one_update(method, task, new)
    assert y.shape[1] == 64
    bias = method.net.views(gradient).head_bias[0, 0]
    assert (bias[task.start : task.stop] > 0).all()  # replay holds all new classes down


# A-GEM


def test_an_averaged_gradient_is_projected_where_it_conflicts_and_only_there():
    draws = generator(0)
    reference = torch.randn(1, 50, generator=draws)
    for sign in (1, -1):
        g = torch.randn(1, 50, generator=draws) + sign * reference
        before = g.clone()
        agem.project(g, reference)
        if sign == 1:
            assert torch.equal(g, before)
            continue
        assert (g * reference).sum().abs() < 1e-4
        # the nearest such vector: what was taken away is a multiple of the reference
        away = before - g
        cosine = functional.cosine_similarity(away, reference)
        assert abs(cosine.item()) == pytest.approx(1, abs=1e-5)
    zero = torch.zeros(1, 50)
    agem.project(g, zero)
    assert torch.isfinite(g).all()


@pytest.mark.parametrize("name", ["agem", "agem-r"])
def test_averaged_gem_steps_along_a_gradient_that_does_not_raise_the_loss_on_memory(name):
    method, (task, *_) = after_tasks(name, 1, epochs=10)
    (x, y, keep), twin, gradient = conflicting_update(method, task)
    reference = gradient_of(twin, x[:, 64:], y[:, 64:], keep[:, 64:])
    raw = gradient_of(twin, x[:, :64], y[:, :64], keep[:, :64])
    assert (raw * reference).sum() < -0.02 * raw.norm() * reference.norm()
    assert abs((gradient * reference).sum()) < 1e-3 * gradient.norm() * reference.norm()


# GEM


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_projected_gradient_satisfies_every_constraint(margin):
    draws = generator(0)
    for k in (1, 3, 8):
        constraints = torch.randn(k, 40, generator=draws) + 0.5
        g = torch.randn(1, 40, generator=draws) - 1
        before = g.clone()
        assert (constraints @ g[0] < 0).any()
        gem_program.project(g, constraints, margin)
        assert (constraints @ g[0] > -1e-3).all()
        if margin == 0:
            target = before[0].double().numpy()
            matrix = constraints.double().numpy()
            nearest = minimize(
                lambda z, t=target: ((z - t) ** 2).sum(), np.zeros(40),
                jac=lambda z, t=target: 2 * (z - t), method="SLSQP",
                constraints={"type": "ineq", "fun": lambda z, m=matrix: m @ z,
                             "jac": lambda z, m=matrix: m},
                options={"maxiter": 500, "ftol": 1e-12},
            )  # fmt: skip
            assert nearest.success
            np.testing.assert_allclose(g[0].numpy(), nearest.x, atol=1e-3)


def test_multipliers_are_at_least_the_margin_and_minimise_the_dual():
    draws = np.random.default_rng(0)
    constraints, g = draws.normal(size=(4, 20)), draws.normal(size=20) - 1
    gram, dots = constraints @ constraints.T, constraints @ g
    v = gem_program.multipliers(gram, dots, 0.25)
    assert (v >= 0.25).all()
    slope = gram @ v + dots
    assert (slope > -1e-3).all()
    np.testing.assert_allclose((v - 0.25) * slope, 0, atol=1e-3)
    assert (v > 0.26).any()


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("k", [1, 4, 10])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_program_of_a_device_has_the_solution_of_that_of_the_host(k, margin, scale):
    draws = torch.Generator().manual_seed(k)
    for case in range(20):
        constraints = scale * torch.randn(k, 30, dtype=torch.float64, generator=draws)
        if case % 4 == 0:
            constraints[-1] = constraints[0]
        if case % 5 == 0:
            constraints[-1] = 0
        g = torch.randn(30, dtype=torch.float64, generator=draws)
        gram, dots = constraints @ constraints.T, constraints @ g
        exact = torch.from_numpy(gem_program.multipliers(gram.numpy(), dots.numpy(), margin))
        found = gem_program.multipliers_on_device(gram, dots, margin)
        # where rows are alike v is not unique, but what it adds to the gradient is
        away = (found - exact) @ constraints
        assert away.norm() < 1e-6 * (g + exact @ constraints).norm().clamp(min=g.norm())


def test_a_gradient_without_a_conflict_stays_as_it_is_whatever_the_margin():
    constraints = torch.rand(3, 10, generator=generator(0))
    g = torch.rand(1, 10, generator=generator(1))
    before = g.clone()
    gem_program.project(g, constraints, 0.5)
    assert torch.equal(g, before)


def test_gem_obeys_each_former_task_apart_and_a_drawn_few_of_many():
    method, (task, *_) = after_tasks("gem", 3, constraints=2)
    (x, y, keep), twin, gradient = conflicting_update(method, task)
    assert x.shape[1] == 64 + 2 * 64
    bounds = [(t.start, t.stop) for t in tensors(STREAM)[:3]]
    raw = gradient_of(twin, x[:, :64], y[:, :64], keep[:, :64])
    drawn, conflicts = set(), 0
    for own in (slice(64, 128), slice(128, 192)):
        labels = y[0, own]
        drawn |= {i for i, (a, b) in enumerate(bounds) if a <= labels.min() and labels.max() < b}
        constraint = gradient_of(twin, x[:, own], y[:, own], keep[:, own])
        conflicts += int((raw * constraint).sum() < 0)
        assert (gradient * constraint).sum() > -1e-3 * gradient.norm() * constraint.norm()
    assert len(drawn) == 2
    assert conflicts


# FDR


def test_function_distance_is_the_root_of_the_mean_squared_distance_of_probabilities():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    stored = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).half()
    # squared distances 0.25 + 0.25 and 0; their mean 0.25
    distance = function_distance(logits, stored)
    assert distance.item() == pytest.approx(0.5)
    distance.backward()
    assert logits.grad[0, 0] < 0  # towards the stored answer
    equal = torch.zeros(2, 2, requires_grad=True)
    function_distance(equal, torch.full((2, 2), 0.5).half()).backward()
    assert (equal.grad == 0).all()


def test_fdr_keeps_the_answers_given_when_the_task_of_a_sample_ended():
    method, (second, *_) = after_tasks("fdr", 1)
    n = len(method.memory)
    kept, answers = method.memory.features[:n].clone(), method.memory.outputs[:n].clone()
    given = method.scores(kept).softmax(dim=1)
    torch.testing.assert_close(answers[:, : method.seen].float(), given, atol=1e-3, rtol=1e-2)
    method.learn([second])
    old = method.memory.tasks[: len(method.memory)] == 0
    assert 0 < old.sum() < n
    for row in torch.nonzero(old)[:, 0]:
        same = (kept == method.memory.features[row]).all(dim=1)
        assert torch.equal(method.memory.outputs[row], answers[same][0])


def test_a_strong_function_distance_keeps_the_answers_to_stored_samples():
    moved = {}
    for alpha in (0.0, 10.0):
        method, (second, *_) = after_tasks("fdr", 1, alpha=alpha, epochs=8)
        x, before = method.memory.features[:60].clone(), method.memory.outputs[:60].clone()
        method.learn([second])
        now = method.scores(x).softmax(dim=1)
        moved[alpha] = (now - before[:, : method.seen]).norm().item()
    assert moved[10.0] < 0.7 * moved[0.0]


# HAL


def test_an_anchor_climbs_what_hindsight_loses_near_the_mean_embedding_of_its_class():
    method, _ = after_tasks("hal", 2)
    net, other = method.net, METHODS.get("hal")(STREAM.dim, STREAM.n_classes, method.config, CPU)
    parts = [m.views(m.weights.data.double(), m.statistics.double()) for m in (other.net, net)]
    x = 10 * functional.normalize(torch.randn(3, STREAM.dim, generator=generator(0)), dim=1)
    x, labels = x.double(), torch.tensor([0, 1, 17])
    means = torch.rand(3, net.width, generator=generator(1)).double()
    value = hal_anchors.objective(*parts, x, labels, means, 0.1)
    logits, phi = net(x.float()[None])
    hindsight = other.net(x.float()[None])[0]
    expected = (
        functional.cross_entropy(hindsight[0], labels, reduction="none")
        - functional.cross_entropy(logits[0], labels, reduction="none")
        - 0.1 * (phi[2][0] - means).square().sum(dim=1)
    )
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4, check_dtype=False)
    higher = hal_anchors.climb(*parts, x, labels, means, 0.1, 10)
    assert (hal_anchors.objective(*parts, higher, labels, means, 0.1) > value).all()


def test_anchors_of_the_first_task_have_no_former_memory_and_only_near_their_mean_embedding():
    method, _ = after_tasks("hal", 1)
    task, net = tensors(STREAM)[0], method.net
    rows = hal_anchors.one_of_each(task.train.labels, task.n_classes, generator(0, "anchors", 0))
    labels = torch.arange(task.n_classes)
    assert torch.equal(task.train.labels[rows], labels)
    parts = net.views(net.weights.data[:, : net.size(task.stop)])
    x = method.inputs(task.train.features[rows])
    expected = hal_anchors.climb(parts, parts, x, labels, method._means, 0.1, 5) / 10
    torch.testing.assert_close(method.anchors[: task.stop].float(), expected, rtol=1e-2, atol=1e-3)


def test_mean_embeddings_follow_the_batches_of_their_classes():
    method, (task, *_) = after_tasks("hal", 1, beta=0.25)
    method.begin_group([task])
    first, second = torch.rand(2, 4, method.net.width, generator=generator(0))
    labels = task.start + torch.tensor([0, 0, 1, 1])
    method._follow(first, labels)
    method._follow(second[:2], labels[:2])
    expected = 0.25 * first[:2].mean(dim=0) + 0.75 * second[:2].mean(dim=0)
    torch.testing.assert_close(method._means[0], expected)
    torch.testing.assert_close(method._means[1], first[2:].mean(dim=0))
    assert (method._means[2:] == 0).all()


def test_an_update_penalises_what_the_tentative_one_changes_at_the_anchors():
    method, (task, *_) = after_tasks("hal", 2, lam=0.3, weight_decay=0.0)
    (x, y, keep), twin, gradient = one_update(method, task)
    own = x.shape[1] - method.config.replay_batch
    logits, _ = twin(x, keep)
    before = logits[:, own:].detach()
    twin.weights.grad = None
    task_loss(logits[:, :own], y[:, :own]).sum().backward()
    first = twin.weights.grad.clone()
    # AdamW's first step
    start, statistics = twin.weights.data.clone(), twin.statistics.clone()
    twin.weights.data.sub_(0.001 * first / (first.abs() + 1e-8))
    twin.weights.grad = None
    change = (twin(x, keep)[0][:, own:] - before).square().sum(dim=2).mean()
    (0.3 * change).backward()
    assert change > 0
    torch.testing.assert_close(gradient, first + twin.weights.grad, rtol=1e-3, atol=1e-5)
    # of the tentative update nothing stays: the step is the first, from where the weights were
    step = 0.001 * gradient / (gradient.abs() + 1e-8)
    now = method.net.weights.data[:, : start.shape[1]]
    torch.testing.assert_close(now, start - step, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.net.statistics, statistics, rtol=1e-5, atol=1e-6)


def test_heavy_anchors_hold_the_predictions_at_them():
    moved = {}
    for weight in (0.0, 1.0):
        method, (second, *_) = after_tasks("hal", 1, lam=weight, epochs=8)
        x, known = method.anchors[: method.seen].clone(), method.seen
        before = method.scores(x)
        method.learn([second])
        moved[weight] = (method.scores(x)[:, :known] - before).norm().item()
    assert moved[1.0] < 0.9 * moved[0.0]
