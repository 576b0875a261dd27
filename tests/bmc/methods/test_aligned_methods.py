"""Methods that mend or retrain the head after a task, against the mathematics of their papers."""

import math

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS
from bmc.methods.fetril import translated_losses
from bmc.methods.gaussians import ClassGaussians
from bmc.methods.slca import normalised
from bmc.methods.wa import align
from bmc.network.mlp import ResidualMLP
from bmc.runs.evaluate import evaluate
from bmc.train.copies import StackedCopies
from bmc.train.sampling import Shuffled, steps_for
from bmc.train.seeds import generator

STREAM = small_stream()


def made(name: str, **changes: object):
    return METHODS.get(name)(STREAM.dim, STREAM.n_classes, small_config(name, **changes), CPU)


def after(name: str, n: int, **changes: object):
    """A method that has learned n tasks, and those that follow."""
    method, tasks = made(name, **changes), tensors(STREAM)
    for task in tasks[:n]:
        method.learn([task])
    return method, tasks[n:]


def twin_of(method) -> ResidualMLP:
    net = ResidualMLP(STREAM.dim, STREAM.n_classes, **method.config.network())
    net.load_state_dict({k: v.clone() for k, v in method.net.state_dict().items()})
    return net


def batch_of(method, task):
    """One batch of a task with what the method replays, all of whose activations survive."""
    rows = torch.arange(method.config.batch_size)[None, None]
    features, labels = (tensor[0] for tensor in method.fetch(task.train, rows))
    width = method.net.dropout_width
    keep = torch.ones(1, labels.shape[1] + method.extra_rows, width, dtype=torch.bool)
    return method.inputs(features), labels, keep


# WA


def test_weight_aligning_scales_new_classes_to_the_mean_norm_of_former_ones():
    head = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [0.0, 2.0]])  # norms 5, 1; 10, 2
    bias = torch.tensor([1.0, 2.0, 3.0, 4.0])
    align(head, bias, 2)  # 3 / 6
    assert torch.equal(head, torch.tensor([[3.0, 4.0], [0.0, 1.0], [3.0, 4.0], [0.0, 1.0]]))
    assert torch.equal(bias, torch.tensor([1.0, 2.0, 1.5, 2.0]))


def test_weight_aligning_weighs_the_distillation_by_the_share_of_former_classes():
    method, (task, *_) = after("wa", 2, temperature=3.0)
    known, before = method.seen, twin_of(method)
    method.seen = task.stop
    method.begin_group([task])
    with torch.no_grad():  # so that student and teacher differ
        method.net.weights += 0.01 * torch.randn(method.net.weights.shape)
    x, labels, keep = batch_of(method, task)
    assert (labels[0, -method.config.replay_batch :] < known).all()
    student = twin_of(method).train()
    logits = student(x, keep[:, : x.shape[1]])[0][0, :, : task.stop].detach().double()
    taught = before.eval()(x)[0][0, :, :known].double()
    method.net.train()
    expected = 0.0
    for row, aim, label in zip(logits, taught, labels[0].tolist(), strict=True):
        cross_entropy = math.log(sum(math.exp(z) for z in row.tolist())) - float(row[label])
        soft = [math.exp(z / 3) for z in aim.tolist()]
        own = [math.exp(z / 3) for z in row[:known].tolist()]
        distilled = -sum(
            s / sum(soft) * math.log(o / sum(own)) for s, o in zip(soft, own, strict=True)
        )
        share = known / task.stop
        expected += ((1 - share) * cross_entropy + share * distilled) / len(logits)
    weights = method.net.weights.data
    method.net.weights.data = weights[:, : method.net.size(task.stop)].clone()
    assert method.loss(x, labels, keep).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("clip", [False, True])
def test_after_each_task_the_head_of_weight_aligning_has_norms_of_one_mean(clip):
    method, _ = after("wa", 3, clip=clip)
    head = method.net.parts().head[0]
    task = tensors(STREAM)[2]
    norms = head[: task.stop].norm(dim=1)
    assert norms[task.start :].mean().item() == pytest.approx(norms[: task.start].mean().item())
    assert bool((head[: task.stop] >= 0).all()) == clip


# the sequential linear probe


@pytest.mark.parametrize("competition", ["seen", "task"])
def test_the_linear_probe_is_softmax_regression_by_adamw(competition):
    method, (task, *_) = after("linear", 1, epochs=1, batch_size=8, competition=competition)
    head = method.head.clone()
    first = task.start if competition == "task" else 0
    weight = head[first : task.stop, :-1].clone().requires_grad_()
    bias = head[first : task.stop, -1].clone().requires_grad_()
    optimiser = torch.optim.AdamW([weight, bias], lr=0.001, weight_decay=0.01)
    for batch in drawn(method, task).split(8):
        x = 10 * task.train.features[batch].float()
        loss = functional.cross_entropy(x @ weight.T + bias, task.train.labels[batch] - first)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    method.learn([task])
    torch.testing.assert_close(method.head[first : task.stop, :-1], weight.detach())
    torch.testing.assert_close(method.head[first : task.stop, -1], bias.detach())
    assert torch.equal(method.head[:first], head[:first])


def drawn(method, task) -> torch.Tensor:
    """Rows that a pass of the linear probe over a task draws."""
    n, size = len(task.train), method.config.batch_size
    draws = Shuffled(n, generator(method.config.seed, "batches", task.index))
    return draws.take(steps_for(n, 1, size) * size)


def test_the_linear_probe_forgets_less_when_only_the_tasks_classes_compete():
    accuracy = {
        competition: evaluate(
            learned("linear", STREAM, small_config("linear", epochs=5, competition=competition)),
            tensors(STREAM),
        ).class_il.mean()
        for competition in ("seen", "task")
    }
    assert accuracy["task"] > accuracy["seen"]


# SLCA


@pytest.mark.parametrize("covariance", ["full", "diagonal", "shared"])
def test_features_are_drawn_from_the_gaussians_that_were_added(covariance):
    draws = torch.Generator().manual_seed(0)
    mix = torch.randn(3, 4, 4, generator=draws)
    data = [torch.randn(n, 4, generator=draws) @ mix[k] + k for k, n in enumerate((3, 40, 200))]
    gaussians = ClassGaussians(4, covariance, CPU)
    gaussians.add(data[:1])
    gaussians.add([*data[1:], torch.zeros(0, 4)])  # the last class has no samples
    again = ClassGaussians(4, covariance, CPU)
    again.load_state(gaussians.state())
    phi, labels = again.draw(20_000, draws)
    assert sorted(set(labels.tolist())) == [0, 1, 2]
    own = [torch.cov(x.T) for x in data]
    rows = [len(x) - 1 for x in data]
    pooled = sum(n * cov for n, cov in zip(rows, own, strict=True)) / sum(rows)
    for k, x in enumerate(data):
        expected = {"full": own[k], "shared": pooled, "diagonal": own[k].diagonal().diag()}
        drawn, aim = phi[labels == k], expected[covariance]
        scale = float(aim.diagonal().max())
        torch.testing.assert_close(torch.cov(drawn.T), aim, rtol=0, atol=0.04 * scale)
        torch.testing.assert_close(drawn.mean(dim=0), x.mean(dim=0), rtol=0, atol=0.05 * scale)


def test_logits_are_normalised_to_the_inverse_of_the_temperature():
    logits = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    expected = torch.tensor([[6.0, 8.0], [0.0, -10.0]])
    torch.testing.assert_close(normalised(logits, 0.1), expected)


@pytest.mark.parametrize("slow", [0.0, 0.1])
def test_a_slow_trunk_is_adamw_with_a_smaller_rate(slow):
    method, (task, *_) = after("slca", 1, slow=slow, dropout=0.0)
    method.seen = task.stop
    method.begin_group([task])
    net, size = twin_of(method).train(), method.net.size(task.stop)
    moved, statistics = method.net.weights.data[:, :size].clone(), net.statistics.clone()
    x, labels, keep = batch_of(method, task)
    parts = [moved[:, : net.trunk].clone(), moved[:, net.trunk :].clone()]
    trunk, head = (part.requires_grad_() for part in parts)
    rates = [{"params": [trunk], "lr": 0.001 * slow}, {"params": [head], "lr": 0.001}]
    twin = torch.optim.AdamW(rates, weight_decay=0.01)
    with StackedCopies(method.net, method.config, 0.001, task.stop, capture=False) as update:
        for _ in range(3):
            method.observe(update, x, labels, keep)
            net.weights.data = torch.cat([trunk, head], dim=1).detach()
            net.weights.grad = None
            logits = net(x, keep)[0][0, :, task.start : task.stop]
            functional.cross_entropy(logits, labels[0] - task.start).backward()
            trunk.grad, head.grad = torch.split(net.weights.grad, [net.trunk, size - net.trunk], 1)
            twin.step()
            net.statistics.copy_(statistics.lerp_(net.statistics, slow))
    expected = torch.cat([trunk, head], dim=1).detach()
    # where a gradient is but a rounding error, AdamW's step has the sign of the error
    away = (method.net.weights.data[:, :size] - expected).abs() > 2e-5
    assert away.float().mean() < 1e-3
    torch.testing.assert_close(method.net.statistics, statistics)


def test_alignment_trains_the_head_alone():
    method, _ = after("slca", 2)
    before = twin_of(method)
    method._align(1)
    trunk = slice(method.net.trunk)
    assert torch.equal(method.net.weights.data[:, trunk], before.weights.data[:, trunk])
    assert torch.equal(method.net.statistics, before.statistics)
    head, former = method.net.parts().head[0], before.parts().head[0]
    assert (head[: method.seen] != former[: method.seen]).any(dim=1).all()
    assert torch.equal(head[method.seen :], former[method.seen :])


# FeTrIL


def test_the_loss_of_translated_rows_is_the_cross_entropy_of_each_of_them():
    draws = torch.Generator().manual_seed(0)
    x, away = torch.randn(7, 5, generator=draws), torch.randn(3, 5, generator=draws)
    weight = 20 * torch.randn(6, 5, generator=draws)
    classes = torch.tensor([4, 0, 5])
    losses = translated_losses((x @ weight.T).double(), (away @ weight.T).double(), classes)
    for i, row in enumerate(x):
        for j, label in enumerate(classes.tolist()):
            expected = functional.cross_entropy((weight @ (row + away[j])).double(), classes[j])
            assert losses[i, j].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6), label


@pytest.mark.parametrize("similar", [1, 2])
def test_former_classes_borrow_the_rows_of_the_most_similar_new_class(similar):
    method, (task, *_) = after("fetril", 2, similar=similar, penalty=0.05, iterations=500)
    former = [method.means[c].float() for c in range(task.start)]
    method.learn([task])
    x = 10 * task.train.features.float()
    own = {c: x[task.train.labels == c] for c in range(task.start, task.stop)}
    mean = {c: rows.mean(dim=0) for c, rows in own.items()}
    rows, labels, weights = [], [], []
    for c in range(task.stop):
        if c < task.start:
            cosine = {n: functional.cosine_similarity(former[c], m, dim=0) for n, m in mean.items()}
            lender = sorted(cosine, key=cosine.__getitem__)[-similar]
            made_up = own[lender] + former[c] - mean[lender]
        else:
            made_up = own[c]
        rows.append(made_up)
        labels += [c] * len(made_up)
        weights += [1 / len(made_up) / task.stop] * len(made_up)
    weight = method.head[: task.stop, :-1].clone().requires_grad_()
    bias = method.head[: task.stop, -1].clone().requires_grad_()
    logits = torch.cat(rows) @ weight.T + bias
    each = functional.cross_entropy(logits, torch.tensor(labels), reduction="none")
    loss = (each * torch.tensor(weights)).sum() + 0.05 / 2 * weight.square().sum()
    loss.backward()  # the minimum: means are rounded to float16, hence not to the last bit
    assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 1e-3
    assert weight.detach().abs().max() > 0.05
