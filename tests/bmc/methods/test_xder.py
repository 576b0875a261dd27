"""X-DER against the mathematics of its paper."""

import math

import pytest
import torch
from small import CPU, small_config, small_stream, tensors

from bmc.methods import METHODS
from bmc.methods.xder import capped, own_task
from bmc.train.losses import contrastive

STREAM = small_stream()


def after(n: int, **changes: object):
    """A method that has learned n tasks, and those that follow."""
    config = small_config("xder", **changes)
    method = METHODS.get("xder")(STREAM.dim, STREAM.n_classes, config, CPU)
    tasks = tensors(STREAM)
    for task in tasks[:n]:
        method.learn([task])
    return method, tasks[n:]


def test_implanted_logits_stay_below_that_of_the_label():
    logits = torch.tensor([[1.0, 4.0], [1.0, 2.0], [-1.0, -3.0], [2.0, -1.0]])
    truth = torch.tensor([[2.0], [3.0], [-2.0], [-1.0]])
    # 4 exceeds 2, so 0.5 * 2 / 4; below the label's as they are; a label's below 0 gives 0
    expected = torch.tensor([[0.25, 1.0], [1.0, 2.0], [-1.0, -3.0], [0.0, -0.0]])
    torch.testing.assert_close(capped(logits, truth, 0.5), expected)


def test_supervised_contrast_is_the_formula_of_its_paper():
    outputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = [0, 1, 0, 2, 1, 0, 3]
    z = [row / row.norm() for row in outputs]
    losses = []
    for i, label in enumerate(labels):
        alike = [p for p, other in enumerate(labels) if other == label and p != i]
        total = sum(math.exp(float(z[i] @ z[a]) / 0.7) for a in range(7) if a != i)
        if alike:
            each = [-math.log(math.exp(float(z[i] @ z[p]) / 0.7) / total) for p in alike]
            losses.append(sum(each) / len(each))
    value = contrastive(outputs, torch.tensor(labels), 0.7)
    assert value.item() == pytest.approx(sum(losses) / len(losses))


def test_the_classes_of_a_samples_own_task_are_found():
    kept = own_task(torch.ones(3, 8), torch.tensor([0, 2, 6]), torch.tensor([0, 2, 5, 7]))
    classes = [row.isfinite().nonzero()[:, 0].tolist() for row in kept]
    assert classes == [[0, 1], [2, 3, 4], [5, 6]]


def test_the_loss_adds_up_as_in_the_paper():
    options = {"alpha": 0.4, "beta": 0.7, "lam": 0.2, "eta": 0.3, "margin": 0.5, "ahead": 4}
    method, (task, *_) = after(2, replay_batch=8, batch_size=8, **options)
    start, stop, width = task.start, task.stop, task.stop + 4
    method.seen = stop
    method.begin_group([task])
    assert method.outputs == width
    x = method.inputs(task.train.features[:8])[None]
    labels = task.train.labels[None, :8]
    keep = torch.ones(1, 24, method.net.dropout_width, dtype=torch.bool)
    method.net.train()
    weights = method.net.weights.data
    method.net.weights.data = weights[:, : method.net.size(width)].clone()
    drawn = method.replayed(1, method.extra_rows)[0]
    rows = drawn[0]
    own, old = (tensor.detach() for tensor in method.replay(x, keep, drawn))
    memory, ends = method.memory, [0, *(t.stop for t in tensors(STREAM)[:3])]

    def cross_entropy(logits: torch.Tensor, label: int) -> float:
        return float(logits.exp().sum().log() - logits[label])

    def hinge(values: list[float]) -> float:
        over = [v for v in values if v > 0]
        return sum(over) / len(over) if over else 0.0

    task_losses = [
        cross_entropy(own[0, i, start:stop], int(labels[0, i]) - start) for i in range(8)
    ]
    expected = sum(task_losses) / 8
    for i in range(8):
        n = int(memory.known[rows[i]])
        distance = (old[0, i, :n] - memory.outputs[rows[i], :n]).square().mean()
        again = cross_entropy(old[0, 8 + i, :start], int(memory.labels[rows[8 + i]]))
        expected += (0.4 * float(distance) + 0.7 * again) / 8
    shares = [row[:stop].softmax(dim=0) for row in own[0]]
    expected += 0.3 * hinge([float(p[:start].max() + 0.5 - p[start:].max()) for p in shares])
    logits = torch.cat([own[0], old[0]])
    every = [*labels[0].tolist(), *memory.labels[rows].tolist()]
    future = []
    for row, y in zip(logits, every, strict=True):
        t = max(k for k in range(3) if ends[k] <= y)
        future.append(float(row[stop:].max() + 0.5 - row[ends[t] : ends[t + 1]].max()))
    expected += 0.3 * hinge(future)
    expected += 0.2 * float(contrastive(logits[:, stop:], torch.tensor(every), 5.0))
    assert method.loss(x, labels, keep, drawn).item() == pytest.approx(expected, rel=1e-4)


def test_after_a_task_stored_logits_know_its_classes_and_those_to_come():
    method, (task, *_) = after(2, memory=40, ahead=3)
    before = {name: tensor.clone() for name, tensor in method.memory.state().items()}
    former = {tuple(x.tolist()): y for x, y in zip(
        before["memory.features"], before["memory.labels"], strict=True)}  # fmt: skip
    method.learn([task])
    memory, width = method.memory, task.stop + 3
    assert method.outputs == task.stop
    assert (memory.known[: len(memory)] == width).all()
    logits = method.net(method.inputs(memory.features[: len(memory)])[None], classes=width)[0][0]
    n_former = 0
    for i in range(len(memory)):
        label = int(memory.labels[i])
        part = slice(task.start, width) if label < task.start else slice(task.start)
        truth = memory.outputs[i, label].float()
        block = capped(logits[i : i + 1, part], truth.view(1, 1), 0.85)[0]
        torch.testing.assert_close(memory.outputs[i, part].float(), block, rtol=2e-3, atol=2e-3)
        if label < task.start:
            n_former += 1
            assert former[tuple(memory.features[i].tolist())] == label
    assert 0 < n_former < len(memory)


def test_bytes_are_those_of_samples_known_logits_and_ends_of_tasks():
    method, _ = after(3, memory=40)
    sample = 2 * STREAM.dim + 4 + 4 + 4  # class, known classes, key
    known = int(method.memory.known[:40].sum())
    assert len(method.memory) == 40
    assert method.memory_bytes() == 40 * sample + 2 * known + 4 * 4
