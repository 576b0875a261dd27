"""Methods that mend or retrain the head after a task, against the mathematics of their papers."""

import math

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.methods import METHODS
from bmc.methods.wa import align
from bmc.network.mlp import ResidualMLP
from bmc.runs.evaluate import evaluate
from bmc.train.data import Shuffled, steps_for
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
