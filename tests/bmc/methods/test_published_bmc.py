"""What the published code of BMC does in consolidation, against its rules written out by hand."""

import math
from dataclasses import replace

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors
from torch.nn import functional

from bmc.config import Config
from bmc.engines.local import train_experts
from bmc.methods import METHODS
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.losses import among, distillation_loss, task_loss
from bmc.train.memory import Samples, share_of_each
from bmc.train.mixup import mixed
from bmc.train.seeds import generator

STREAM = small_stream()
PUBLISHED = {
    "experts": 1, "lam": 0.0, "beta": 0.0, "mixup": 0.6, "held_out": 0.2, "task_slice": True,
    "feature_loss": "squared", "buffer_choice": "first", "memory_choice": "share",
}  # fmt: skip


def config(**changes: object) -> Config:
    made = small_config("bmc", plateau=2, drop_last=True)
    return replace(made, options=replace(made.options, **{**PUBLISHED, **changes}))


def test_mixup_mixes_each_sample_with_another_of_its_batch_and_their_losses_alike():
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 1, 8, 5, generator=draws).half(), torch.arange(8).expand(200, 1, 8)
    made, partners, weights = mixed(x, y, 0.6, draws)
    assert weights.shape == (200, 1)
    assert 0.6 <= weights.min() < 0.62
    assert 0.98 < weights.max() <= 1
    assert abs(float(weights.mean()) - 0.8) < 0.02
    for n in range(200):
        w = float(weights[n, 0])
        assert sorted(partners[n, 0].tolist()) == list(range(8))
        for b in range(8):
            other = int(partners[n, 0, b])
            expected = w * x[n, 0, b].float() + (1 - w) * x[n, 0, other].float()
            assert torch.allclose(made[n, 0, b], expected, atol=1e-6)
    assert mixed(x, y, 1.0, draws)[2].eq(1).all()


def batch_of(method, tasks: list[int], size: int = 12) -> Batch:
    """Return a batch with samples of these tasks in turn, their bounds, and mixed partners."""
    data = tensors(STREAM)
    rows = [data[tasks[i % len(tasks)]] for i in range(size)]
    features = torch.stack([task.train.features[i] for i, task in enumerate(rows)])[None]
    labels = torch.stack([task.train.labels[i] for i, task in enumerate(rows)])[None]
    bounds = torch.tensor([[[task.start, task.stop] for task in rows]])
    phi = torch.zeros(1, size, method.net.width)
    keep = torch.rand(1, size, method.net.dropout_width, generator=generator(0)) > 0.3
    x, *others = mixed(features[None], labels[None], 0.6, generator(1))
    return Batch((x[0], labels, phi, bounds, *(one[0] for one in others)), keep)


@pytest.mark.parametrize("tasks", [[0], [2], [1, 3], [0, 1, 4]])
def test_the_loss_of_consolidation_is_that_over_the_slice_from_the_lowest_to_the_highest_task(
    tasks,
):
    method = METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, config(), CPU)
    method.seen = STREAM.n_classes
    method.net.train()
    batch = batch_of(method, tasks)
    features, labels, _, _, partners, weight = batch.data
    logits, _ = method.net(features * method.config.feature_norm, batch.keep)
    data = tensors(STREAM)
    first, stop = data[min(tasks)].start, data[max(tasks)].stop
    part = logits[0, :, first:stop]
    one, other = (functional.cross_entropy(part, y[0] - first) for y in (labels, partners))
    expected = float(weight) * one + (1 - float(weight)) * other
    assert torch.allclose(method._loss(batch)[0], expected, atol=1e-5)


def test_classes_outside_the_slice_get_no_gradient():
    logits = torch.randn(2, 3, 10, requires_grad=True)
    bounds = torch.tensor([[2], [0]]), torch.tensor([[5], [10]])
    task_loss(among(logits, *bounds), torch.tensor([[2, 3, 4], [0, 9, 5]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, :, :2].abs().sum() == logits.grad[0, :, 5:].abs().sum() == 0
    assert logits.grad[1].abs().min() > 0


def test_the_squared_distance_is_over_the_last_block_after_dropout():
    draws = generator(2)
    net = ResidualMLP(STREAM.dim, 8)
    net.reset(draws)
    keep = torch.rand(1, 6, net.dropout_width, generator=draws) > 0.3
    stored = torch.randn(1, 6, net.width, generator=draws)
    _, student = net.train()(torch.randn(1, 6, STREAM.dim, generator=draws), keep)
    after = student[2] * keep[..., net.width :] / 0.7
    expected = functional.mse_loss(after, stored)
    ours = distillation_loss("squared", stored, student, keep, 0.3)
    assert torch.allclose(ours, expected[None], atol=1e-6)


def test_the_memory_keeps_a_share_of_each_task_of_what_it_had():
    tasks = torch.tensor([0] * 50 + [1] * 7 + [2] * 50)
    rows = share_of_each(60, generator(0), tasks)
    share = math.ceil(60 / 3) + 1
    assert torch.bincount(tasks[rows]).tolist() == [share, 7, share]
    assert len(set(rows.tolist())) == len(rows)
    others = share_of_each(60, generator(1), tasks)
    assert set(rows.tolist()) != set(others.tolist())

    method = learned("bmc", STREAM, config(buffer=1000))
    sizes = torch.bincount(method.memory.tasks)
    n = len(STREAM.tasks)
    assert sizes.tolist() == [
        min(len(task.train), math.ceil(60 / n) + 1) for task in tensors(STREAM)
    ]


def test_a_buffer_is_the_first_samples_of_a_pass_with_the_last_blocks_features():
    made = config(buffer=10)
    net = ResidualMLP(STREAM.dim, STREAM.n_classes, **made.network())
    net.reset(generator(0))
    task = tensors(STREAM)[0]
    (buffer,), _ = train_experts(net, [task], made)
    order = torch.randperm(len(task.train), generator=generator(made.seed, "buffer", 0))[:10]
    assert torch.equal(buffer.labels, task.train.labels[order])
    assert torch.equal(buffer.features, task.train.features[order].half())
    assert buffer.phi.shape == (10, net.width)


def pool(n: int) -> Samples:
    task = tensors(STREAM)[0]
    rows = torch.arange(n) % len(task.train)
    return Samples(
        torch.arange(n)[:, None].expand(n, STREAM.dim).half(), task.train.labels[rows],
        torch.zeros(n, dtype=torch.int64), torch.zeros(n, 256).half(),
    )  # fmt: skip


def test_a_fifth_of_the_pool_is_held_out_with_seed_42_whatever_the_run():
    made = []
    for seed in (0, 1):
        method = METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, replace(config(), seed=seed), CPU)
        method.seen = 16
        data, judged = method._hold_out(pool(101))
        assert set(judged) == {"plateau", "judge"}
        made.append(data.features[:, 0].int().tolist())
    split = torch.utils.data.random_split(
        range(101), [80, 21], generator=torch.Generator().manual_seed(42)
    )
    assert made[0] == made[1] == list(split[0])


def test_nothing_is_held_out_where_no_plateau_would_use_it():
    method = METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, replace(config(), plateau=0), CPU)
    data, judged = method._hold_out(pool(20))
    assert (len(data), judged) == (20, {})


def test_the_published_consolidation_resumes_with_the_same_numbers():
    tasks = tensors(STREAM)[:3]
    made = config(buffer=20)
    whole, first = (METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, made, CPU) for _ in range(2))
    for task in tasks:
        whole.learn([task])
    first.learn([tasks[0]])
    first.learn([tasks[1]])
    resumed = METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, made, CPU)
    resumed.load_state(first.state())
    resumed.seen = first.seen
    resumed.learn([tasks[2]])
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name
