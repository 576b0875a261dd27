"""Batch normalisation over one sample leaves nothing of it: no method trains on such a batch."""

from dataclasses import replace

import pytest
import torch
from small import CPU, small_config, small_stream, tensors

from autods.errors import UsageError
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import Stream
from bmc.methods import METHODS
from bmc.methods.fit import check_fitting
from bmc.methods.net_method import NetMethod
from bmc.network.mlp import ResidualMLP
from bmc.train.data import Split, TaskTensors

STREAM = small_stream(4)
TRAINED = [name for name in METHODS.names() if issubclass(METHODS.get(name), NetMethod)]
ALONE = {"agem", "agem-r", "gem"}  # pass replayed samples through the network without others


def first_rows(task: TaskTensors, n: int) -> TaskTensors:
    return replace(task, train=Split(task.train.features[:n], task.train.labels[:n]))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every batch that a network in training is given."""
    rows: list[int] = []
    forward = ResidualMLP.forward

    def noted(self: ResidualMLP, x: torch.Tensor, *rest: object, **options: object) -> object:
        if self.training:
            rows.append(x.shape[1])
        return forward(self, x, *rest, **options)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(ResidualMLP, "forward", noted)
    return rows


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in ALONE])
@pytest.mark.parametrize("n", [2, 3, 65])  # 65: a pass leaves one row over after its full batch
def test_no_network_is_trained_on_a_batch_of_one_sample(name, n, batches):
    config = small_config(name, batch_size=2 if n < 4 else 64, replay_batch=1, memory=7)
    method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, config, CPU)
    tasks = [first_rows(task, n) for task in tensors(STREAM)]
    size = method.group_size(len(tasks))
    for first in range(0, len(tasks), size):
        method.learn(tasks[first : first + size])
    assert batches
    assert min(batches) > 1
    assert all(torch.isfinite(tensor.float()).all() for tensor in method.state().values())
    assert torch.isfinite(method.scores(tasks[0].test.features)).all()


@pytest.mark.parametrize("name", sorted(ALONE))
def test_one_replayed_sample_is_refused_where_it_would_stand_alone(name, batches):
    with pytest.raises(UsageError, match=r"replay_batch: expected at least 2, got 1; nothing was"):
        small_config(name, replay_batch=1)
    config = small_config(name, replay_batch=2, batch_size=2)
    method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, config, CPU)
    for task in tensors(STREAM):
        method.learn([first_rows(task, 2)])
    assert min(batches) > 1
    assert all(torch.isfinite(tensor.float()).all() for tensor in method.state().values())


def test_a_task_of_one_training_sample_is_refused_by_methods_that_train_on_it_alone():
    def cut(n: int) -> Stream:
        task = STREAM.tasks[1]
        train = FeatureSet(task.train.features[:n], task.train.labels[:n])
        return replace(STREAM, tasks=[STREAM.tasks[0], replace(task, train=train)])

    for name in TRAINED:
        config, alone = small_config(name), METHODS.get(name).one_by_one
        assert METHODS.get(name).unfit(cut(2), config) is None
        assert (METHODS.get(name).unfit(cut(1), config) is not None) == alone
    with pytest.raises(UsageError, match=r"at least 2 different training samples.*has 1\. Leave"):
        check_fitting(["er"], cut(1), small_config("er"), {})
    assert METHODS.get("ncm").unfit(cut(1), small_config("ncm")) is None
