"""Large tasks cut into parts: what each expert gets, what it sends, what the run counts."""

from dataclasses import replace

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors

from bmc.engines.base import model_bytes
from bmc.engines.local import train_experts
from bmc.methods import METHODS
from bmc.network.mlp import ResidualMLP
from bmc.train.data import Split, TaskTensors
from bmc.train.parts import buffer_rows, dealt, experts_of
from bmc.train.seeds import generator

STREAM = small_stream()
SIZES = [len(task.train) for task in tensors(STREAM)]
MOST = 100  # cuts some tasks and not others


def classes(sizes: list[int], seed: int = 0) -> torch.Tensor:
    """Return labels of so many rows a class, in no order."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=generator(seed))]


def task_of(sizes: list[int], dev: int = 0) -> TaskTensors:
    labels = classes(sizes)
    features = torch.randn(len(labels), 8, generator=generator(1)).half()
    train = Split(features, labels + 5)
    held = Split(features[:dev], labels[:dev] + 5)
    return TaskTensors(3, "t", "t", 5, 5 + len(sizes), train, held, held)


def test_the_stream_of_these_tests_has_tasks_to_cut_and_others():
    assert min(SIZES) <= MOST < max(SIZES)


@pytest.mark.parametrize("count", [2, 3, 7, 54])
@pytest.mark.parametrize(
    "sizes", [[500], [54] * 30, [108, 54, 55, 700, 60], [3, 900, 1, 54], [1000] + [56] * 200]
)
@pytest.mark.parametrize("share", [0, 60, 250, 10_000])
def test_parts_are_disjoint_of_one_size_with_all_classes_and_a_share_of_the_buffer(
    sizes, count, share
):
    labels, n = classes(sizes), sum(sizes)
    sent = torch.zeros(n, dtype=torch.bool)
    sent[torch.randperm(n, generator=generator(2))[:share]] = True
    parts = dealt(labels, sent, count, generator(0))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(n))
    lengths = [len(rows) for rows in parts]
    assert max(lengths) - min(lengths) <= 1
    for c, size in enumerate(sizes):
        own = [int((labels[rows] == c).sum()) for rows in parts]
        assert min(own) >= size // count
        assert max(own) <= -(-size // count)


@pytest.mark.parametrize("sizes", [[500], [54] * 30, [700, 120, 300], [1000] + [56] * 200])
@pytest.mark.parametrize("share", [60, 250])
def test_each_part_sends_as_many_samples_as_the_others_if_each_has_all_classes(sizes, share):
    labels, n = classes(sizes), sum(sizes)
    sent = torch.zeros(n, dtype=torch.bool)
    sent[torch.randperm(n, generator=generator(2))[:share]] = True
    loads = [int(sent[rows].sum()) for rows in dealt(labels, sent, 7, generator(0))]
    assert max(loads) - min(loads) <= 1


def test_rows_are_dealt_out_by_the_seed():
    labels, none = classes([90, 80]), torch.zeros(170, dtype=torch.bool)
    first, again, other = (dealt(labels, none, 4, generator(seed)) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


@pytest.mark.parametrize("choice", ["balanced", "first"])
@pytest.mark.parametrize("buffer", [10, 24, 1000])
def test_the_parts_of_a_task_send_the_samples_that_the_whole_task_would(choice, buffer):
    config = small_config("bmc", buffer=buffer, buffer_choice=choice, expert_rows=40)
    task = task_of([60, 33, 8, 70], dev=30)
    parts = experts_of([task], config)
    assert len(parts) == 5  # of 171 samples
    assert [part.key for part in parts] == [(3, 1), (3, 2), (3, 3), (3, 4), (3, 5)]
    assert torch.equal(
        torch.cat([part.train.features for part in parts]).float().sum(dim=1).sort().values,
        task.train.features.float().sum(dim=1).sort().values,
    )
    sent = torch.cat([p.train.features[buffer_rows(p, config)] for p in parts])
    whole = task.train.features[buffer_rows(task, config)]
    assert sorted(sent.tolist()) == sorted(whole.tolist())
    for part in parts:
        assert (part.start, part.stop, part.name) == (task.start, task.stop, task.name)
        assert part.train.labels.unique().tolist() == [5, 6, 7, 8]
        assert len(part.dev) == 6


@pytest.mark.parametrize("most", [0, 171, 172])
def test_tasks_that_are_small_enough_stay_as_they_are(most):
    task = task_of([60, 33, 8, 70])
    assert experts_of([task], small_config("bmc", expert_rows=most))[0] is task


def test_a_part_has_at_least_two_samples_for_batch_normalisation():
    parts = experts_of([task_of([3, 4])], small_config("bmc", expert_rows=1))
    assert sorted(len(part.train) for part in parts) == [2, 2, 3]


def test_an_expert_of_a_part_is_what_an_expert_of_these_samples_alone_would_be():
    config = small_config("bmc", expert_rows=MOST)
    base = ResidualMLP(STREAM.dim, STREAM.n_classes, **config.network())
    base.reset(generator(0))
    group = experts_of(tensors(STREAM)[:3], config)
    assert len(group) == 4
    buffers, steps = train_experts(base, group, config)
    for part, buffer, made in zip(group, buffers, steps, strict=True):
        plain = replace(part, train=Split(part.train.features, part.train.labels))
        alone, own = train_experts(base, [plain], config, widest=max(p.n_classes for p in group))
        assert own == [made]
        for name, column in vars(alone[0]).items():
            assert torch.equal(column, getattr(buffer, name)), name
        assert buffer.tasks.eq(part.index).all()


def test_cut_tasks_have_more_experts_and_the_same_buffer_memory_and_draws():
    config = small_config("bmc", expert_rows=0)
    cut = replace(config, options=replace(config.options, expert_rows=MOST))
    whole, parted = learned("bmc", STREAM, config), learned("bmc", STREAM, cut)
    experts = experts_of(tensors(STREAM), cut)
    assert len(parted.expert_steps) == len(experts) > len(STREAM.tasks) == len(whole.expert_steps)
    assert max(parted.expert_steps) < max(whole.expert_steps)
    assert parted.broadcast_bytes == len(model_bytes(whole.net)) * len(experts)
    assert parted.memory_bytes() == whole.memory_bytes()
    assert torch.equal(torch.bincount(parted.memory.tasks), torch.bincount(whole.memory.tasks))
    sent = [m.communication_bytes for m in (whole, parted)]
    headers = 400 * (len(experts) - len(STREAM.tasks))
    assert 0 < sent[1] - sent[0] < headers  # the same samples, in more messages
    consolidation = [m.steps - sum(m.expert_steps) for m in (whole, parted)]
    assert consolidation[0] == consolidation[1]


@pytest.mark.parametrize("changes", [{"patience": 1, "epochs": 8}, {"plateau": 1, "epochs": 8}])
def test_experts_of_parts_are_judged_by_their_share_of_the_dev_samples(changes):
    config = small_config("bmc", expert_rows=40, **changes)
    bare, judged = task_of([60, 33, 8, 70]), task_of([60, 33, 8, 70], dev=40)
    base = ResidualMLP(8, 9, **config.network())
    base.reset(generator(0))
    full = train_experts(base, experts_of([bare], config), config)[1]
    steps = train_experts(base, experts_of([judged], config), config)[1]
    assert all(own <= most for own, most in zip(steps, full, strict=True))
    # a part that has no dev sample trains for all its passes
    few = train_experts(base, experts_of([task_of([60, 33, 8, 70], dev=2)], config), config)[1]
    assert few[2:] == full[2:]


def test_gaussian_replay_sends_the_statistics_of_the_whole_task():
    config = small_config("bmc-gaussian", expert_rows=0)
    cut = replace(config, options=replace(config.options, expert_rows=MOST))
    whole, parted = learned("bmc-gaussian", STREAM, config), learned("bmc-gaussian", STREAM, cut)
    assert torch.equal(whole.means, parted.means)
    for name, tensor in whole.covariance.items():
        assert torch.equal(tensor, parted.covariance[name]), name


def test_a_run_of_cut_tasks_goes_on_from_its_state():
    config = small_config("bmc", expert_rows=MOST, experts=2)
    whole, tasks = learned("bmc", STREAM, config), tensors(STREAM)
    first, second = (
        METHODS.get("bmc")(STREAM.dim, STREAM.n_classes, config, CPU) for _ in range(2)
    )
    first.learn(tasks[:2])
    second.load_state(first.state())
    second.seen = first.seen
    for start in range(2, len(tasks), 2):
        second.learn(tasks[start : start + 2])
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, second.state()[name]), name
