"""Training of stacked copies: each has its own end, and none knows of the others."""

from dataclasses import replace

import pytest
import torch
from small import CPU, small_config, small_stream, tensors
from torch import Tensor

from bmc.config import Config
from bmc.engines.local import train_experts
from bmc.methods import METHODS
from bmc.network.mlp import ResidualMLP
from bmc.train.batch import Batch
from bmc.train.copies import StackedCopies
from bmc.train.data import TaskTensors, take
from bmc.train.loop import CHUNK, Course, by_loss, train_stacked
from bmc.train.losses import task_loss
from bmc.train.moments import Moments
from bmc.train.plateau import judge_by_loss
from bmc.train.sampling import Shuffled
from bmc.train.seeds import Noise, generator

STREAM = small_stream()


def base(config: Config) -> ResidualMLP:
    return METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, config, CPU).net


@pytest.mark.parametrize("patience", [0, 1])
def test_experts_are_the_same_to_the_bit_however_many_train_in_one_program(patience):
    config = small_config("bmc", epochs=20, patience=patience)
    group = tensors(STREAM)
    all_in_one, steps = train_experts(base(config), group, config, stack=6)
    for stack in (1, 4):
        buffers, own = train_experts(base(config), group, config, stack=stack)
        assert own == steps
        for ours, theirs in zip(buffers, all_in_one, strict=True):
            for name, tensor in ours.state("").items():
                assert torch.equal(tensor, theirs.state("")[name])


def test_an_expert_with_patience_ends_early_and_the_others_go_on():
    config = small_config("bmc", epochs=60, patience=1)
    group = tensors(STREAM)
    full = train_experts(base(config), group, small_config("bmc", epochs=60))[1]
    steps = train_experts(base(config), group, config)[1]
    assert all(own <= most for own, most in zip(steps, full, strict=True))
    assert len(set(steps)) > 1
    early = [own for own, most in zip(steps, full, strict=True) if own < most]
    assert early
    assert all(own % CHUNK == 0 for own in early)


def test_an_expert_ends_with_the_weights_that_its_dev_split_liked_best():
    config = small_config("bmc", epochs=200, learning_rate=0.01)
    net = ResidualMLP(STREAM.dim, 16, **config.network())
    net.reset(generator(0))
    task = tensors(STREAM)[0]
    judge, seen = judge_by_loss(net, [task.dev], config), []

    def watched(places: Tensor, copies: Tensor) -> Tensor:
        seen.append(judge(places, copies))
        return seen[-1]

    course = Course(Shuffled(len(task.train), generator(1)), 500, Noise(0), judged_every=CHUNK)
    made = train_stacked(net, [course], *of(task, net), config, judge=watched, patience=2)
    values = torch.cat(seen)
    assert made == [CHUNK * len(values)]
    assert values.argmin() == len(values) - 1 - 2
    assert judge(torch.tensor([0]), torch.tensor([0])) == values.min()


def of(task: TaskTensors, net: ResidualMLP):
    """What `train_stacked` needs to train every copy of a net on one task."""

    def fetch(rows: Tensor, _: object) -> tuple[Tensor, ...]:
        return take(task.train.features, rows, CPU), take(task.train.labels, rows, CPU)

    def loss(batch: Batch) -> Tensor:
        features, labels = batch.data
        return task_loss(net(features.float() * 10, batch.keep)[0], labels)

    return fetch, by_loss(loss)


def test_a_task_without_dev_samples_is_never_judged():
    config = small_config("bmc", epochs=40, patience=1)
    first, second = tensors(STREAM)[:2]
    bare = replace(first, dev=replace(first.dev, features=first.dev.features[:0],
                                      labels=first.dev.labels[:0]))  # fmt: skip
    steps = train_experts(base(config), [bare, second], config)[1]
    assert steps[0] == -(-len(first.train) * 40 // config.batch_size)


def test_classes_that_do_not_train_keep_their_bits():
    config = small_config("bmc")
    net = base(config)
    task = tensors(STREAM)[0]
    before = [net.parts().head[0].clone(), net.parts().head_bias[0, 0].clone()]
    course = Course(Shuffled(len(task.train), generator(1)), 5, Noise(0))
    train_stacked(net, [course], *of(task, net), config, classes=task.stop)
    after = [net.parts().head[0], net.parts().head_bias[0, 0]]
    for old, new in zip(before, after, strict=True):  # a row or a number for each class
        assert torch.equal(new[task.stop :], old[task.stop :])
        assert not torch.equal(new[: task.stop], old[: task.stop])


def test_an_interrupted_training_leaves_a_usable_net():
    config = small_config("bmc")
    net = base(config)
    task = tensors(STREAM)[0]
    fetch, _ = of(task, net)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    course = Course(Shuffled(len(task.train), generator(1)), 5, Noise(0))
    with pytest.raises(KeyboardInterrupt):
        train_stacked(net, [course], fetch, stop, config, classes=task.stop)
    logits, _ = net(task.test.features.float()[None])
    assert logits.shape == (1, len(task.test), STREAM.n_classes)
    assert not net.training


def test_dropout_masks_keep_the_given_share_and_depend_on_their_key_only():
    masks = Noise(0, "dropout", 3).keep((50, 64, 512), 0.3, CPU)
    # 1.6 million draws: standard deviation 0.0004
    assert masks.float().mean().item() == pytest.approx(0.7, abs=0.002)
    again = Noise(0, "dropout", 3)
    parts = [again.keep((n, 64, 512), 0.3, CPU) for n in (20, 30)]
    assert torch.equal(torch.cat(parts), masks)
    assert not torch.equal(Noise(0, "dropout", 4).keep((50, 64, 512), 0.3, CPU), masks)
    assert Noise(0).keep((4, 8), 0.0, CPU).all()


def test_the_updates_of_a_consolidation_stop_growing_once_the_memory_is_full():
    config = small_config(
        "bmc", memory=30, experts=1, consolidation_epochs=4, consolidation_batch=64
    )
    method = METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, config, CPU)
    steps = []
    for task in tensors(STREAM):
        made = method.steps
        method.learn([task])
        steps.append(method.steps - made - method.expert_steps[-1])
    assert steps == [2, 3, 4, 4, 4, 4]  # 24, 24 + 24, then 30 + 24 samples, four times, by 64


def test_a_training_with_kept_moments_goes_on_as_torch_s_adamw_does():
    task, config = tensors(STREAM)[1], Config(dropout=0.0, weight_decay=0.1)
    net, twin = (ResidualMLP(64, 19, dropout=0.0) for _ in range(2))
    for made in (net, twin):
        made.reset(generator(0))
    x, labels = task.train.features.float()[None] * 10, task.train.labels[None]
    keep = torch.ones(1, len(labels[0]), net.dropout_width, dtype=torch.bool)

    def update(stacked: StackedCopies) -> None:
        stacked.descend(task_loss(stacked.net(x, keep)[0], labels))

    moments = Moments.new(net)
    for _ in range(3):  # three tasks of two updates
        with StackedCopies(net, config, 0.01, None, False, moments=moments) as stacked:
            for _ in range(2):
                update(stacked)
    theirs = torch.optim.AdamW([twin.weights], lr=0.01, weight_decay=0.1)
    twin.train()
    for _ in range(6):
        theirs.zero_grad()
        task_loss(twin(x, keep)[0], labels).sum().backward()
        theirs.step()
    for made in (net, twin):  # batch norm takes this bias away: its gradient is rounding error
        made.views(made.weights.data).project_bias.zero_()
    torch.testing.assert_close(net.weights, twin.weights, rtol=1e-5, atol=1e-6)
    assert moments.step == 6


def test_moments_of_classes_that_did_not_train_are_zero_and_what_is_stored_is_read_back():
    net = ResidualMLP(8, 5)
    net.reset(generator(0))
    moments, size = Moments.new(net), net.size(3)
    with StackedCopies(net, Config(), 0.01, 3, False, moments=moments) as stacked:
        x = torch.randn(1, 16, 8, generator=generator(1))
        keep = torch.ones(1, 16, net.dropout_width, dtype=torch.bool)
        stacked.descend(task_loss(net(x, keep)[0], torch.arange(16)[None] % 3))
    assert (moments.first[:, size:] == 0).all() and (moments.second[:, size:] == 0).all()
    stored = moments.state(size)
    assert stored["moments.first"].dtype == torch.float16
    again = Moments.new(net)
    again.load_state(stored)
    # 2^-11 of a number or 2^-25 of the largest
    largest = moments.second.sqrt().max()
    error = (again.second.sqrt() - moments.second.sqrt()).abs()
    assert (error <= moments.second.sqrt() * 2**-10 + largest * 2**-24).all()
    for name, tensor in again.state(size).items():
        assert torch.equal(tensor, stored[name])  # nothing is lost a second time
