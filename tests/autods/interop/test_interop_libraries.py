"""Avalanche and Continuum as they are installed: the same samples, order, splits and labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training import Naive, Replay, StreamingLDA
from avalanche.training.plugins import EvaluationPlugin
from continuum.scenarios import ContinualScenario
from continuum.tasks import split_train_val
from interop_tools import make_root, names_by_label, open_mixed
from torch import nn
from torch.utils.data import DataLoader

from autods.core.splits import SPLITS
from autods.errors import UsageError
from autods.interop.avalanche import benchmark
from autods.interop.continuum import scenario
from autods.streams.feature_set import FeatureSet
from autods.streams.stream import SCENARIOS, Stream
from autods.streams.synthetic import synthetic_stream


@pytest.fixture(scope="module", params=SCENARIOS)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return open_mixed(make_root(tmp_path_factory.mktemp("interop")), request.param)


def without_dev(stream: Stream) -> Stream:
    """Return a stream whose second task has no development part."""
    tasks = list(stream.tasks)
    empty = FeatureSet(np.empty((0, stream.dim), np.float16), np.empty(0, np.int64))
    tasks[1] = replace(tasks[1], dev=empty)
    return replace(stream, tasks=tasks)


@pytest.mark.parametrize("split", SPLITS)
def test_experiences_of_avalanche_are_the_tasks(stream, split):
    made = benchmark(stream)
    assert isinstance(made, CLScenario)
    experiences = made.streams[split]
    assert len(experiences) == len(stream.tasks)
    seen: set[int] = set()
    for task, experience in zip(stream.tasks, experiences, strict=True):
        part = getattr(task, split)
        x, y, t = zip(*experience.dataset, strict=True)
        assert torch.stack(x).to(torch.float16).numpy().tobytes() == part.features.tobytes()
        assert list(y) == list(experience.dataset.targets) == part.labels.tolist()
        label = task.index if stream.scenario == "task-il" else 0
        assert set(t) == {label}
        assert experience.task_labels == [label]
        assert experience.current_experience == task.index
        assert experience.classes_in_this_experience == set(part.labels.tolist())
        seen |= set(part.labels.tolist())
        assert experience.classes_seen_so_far == seen
    assert dict(enumerate(made.class_names)) == names_by_label(stream)


def test_avalanche_has_no_empty_experience_and_a_missing_split_says_so():
    stream = without_dev(synthetic_stream(tasks=3, classes=142, dim=4))
    assert set(benchmark(stream).streams) == {"train", "test"}
    with pytest.raises(UsageError, match=r"task 'apparel' has none in split 'dev'"):
        benchmark(stream, ["train", "dev"])


def learned(strategy: Replay | Naive | StreamingLDA, made: CLScenario) -> float:
    for experience in made.train_stream:
        strategy.train(experience)
    (accuracy,) = strategy.eval(made.test_stream).values()
    return float(accuracy)


def test_stock_strategies_of_avalanche_train_on_a_stream(stream):
    torch.manual_seed(0)
    made = benchmark(stream)
    accuracy = {}
    for kind, more in ((Naive, {}), (Replay, {"mem_size": 60})):
        net = nn.Sequential(nn.Linear(stream.dim, 64), nn.ReLU(), nn.Linear(64, stream.n_classes))
        strategy = kind(
            model=net,
            optimizer=torch.optim.AdamW(net.parameters(), lr=0.01),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=16,
            train_epochs=6,
            evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
            **more,
        )
        accuracy[kind] = learned(strategy, made)
    assert accuracy[Replay] > accuracy[Naive] + 0.05
    slda = StreamingLDA(
        slda_model=nn.Identity(),
        criterion=nn.CrossEntropyLoss(),
        input_size=stream.dim,
        num_classes=len(made.class_names),
        train_mb_size=16,
        evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
    )
    learned(slda, made)
    for task in stream.tasks:
        for label in np.unique(task.train.labels):
            own = task.train.features[task.train.labels == label].astype(np.float64)
            assert np.allclose(slda.muK[label], own.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_of_continuum_are_the_tasks(stream, split):
    made = scenario(stream, split, dtype=np.float16)
    assert isinstance(made, ContinualScenario)
    assert made.nb_tasks == len(stream.tasks)
    assert made.nb_samples == sum(len(getattr(task, split)) for task in stream.tasks)
    assert made.train == (split == "train")
    for task, taskset in zip(stream.tasks, made, strict=True):
        part = getattr(task, split)
        x, y, t = taskset.get_raw_samples()
        assert x.tobytes() == part.features.tobytes()
        assert np.array_equal(y, part.labels)
        assert set(t.tolist()) == {task.index}
        assert np.array_equal(taskset.get_classes(), np.unique(part.labels))
    assert dict(enumerate(made.class_names)) == names_by_label(stream)


def test_loaders_of_continuum_give_the_samples_in_order(stream):
    task, taskset = stream.tasks[1], scenario(stream)[1]
    x, y, t = (torch.cat(parts) for parts in zip(*DataLoader(taskset, batch_size=7), strict=True))
    assert torch.equal(x, torch.from_numpy(task.train.features.astype(np.float32)))
    assert np.array_equal(y, task.train.labels)
    assert set(t.tolist()) == {1}


def test_continuum_cuts_and_joins_tasks_of_a_stream(stream):
    made = scenario(stream)
    first, second = split_train_val(made[2], val_split=0.25)
    assert len(first) + len(second) == len(stream.tasks[2].train)
    joined = made[1:3]
    assert len(joined) == len(stream.tasks[1].train) + len(stream.tasks[2].train)
    x, y, _ = made[-1].get_raw_samples()
    last = stream.tasks[-1].train
    assert np.array_equal(x, last.features.astype(np.float32))
    assert np.array_equal(y, last.labels)


def test_continuum_has_no_empty_task_and_a_missing_split_says_so():
    stream = without_dev(synthetic_stream(tasks=3, classes=142, dim=4))
    with pytest.raises(UsageError, match="Continuum needs samples in every task; task 'apparel'"):
        scenario(stream, "dev")
