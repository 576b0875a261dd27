"""Every method on a simulated CUDA device: nothing in an update touches the host, captured or not.

What an update of stacked copies may not do raises here. What a method reads of a group, and not
of an update, is listed in `device_reads.py`.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest import mock

import pytest
import torch
from device_reads import READS
from simulated_cuda import CUDA, Device, OnDevice, simulated_cuda
from small import CPU, METHODS, learned, small_config, small_stream
from torch.autograd.function import BackwardCFunction

from autods.core import transfer
from bmc.engines import local
from bmc.methods import Method
from bmc.methods.net_method import NetMethod
from bmc.train import copies, data
from bmc.train.copies import StackedCopies
from bmc.train.data import Split, to_tensors
from bmc.train.rows import Features

NAMES = METHODS.names()
TRAINED = [name for name in NAMES if issubclass(METHODS.get(name), NetMethod)]
TINY = {
    "hidden": 8, "inner": 8, "width": 8, "batch_size": 24, "replay_batch": 8, "memory": 30,
    "projections": 16, "dropout": 0.0, "memory_epochs": 2, "distillation_epochs": 1,
    "iterations": 4, "passes": 1, "consolidation_epochs": 2, "draws": 32, "experts": 2,
    "trained_from": 10**6, "steps": 2, "neighbours": 3,
}  # fmt: skip
FAR = {"gem": 0.05}  # its program is solved by another method on a device; others: equal
STREAM = small_stream(tasks=3, classes=284, dim=16)


@contextmanager
def watched(free: int = 1 << 40) -> Iterator[Device]:
    """Simulate a device on which updates may not wait for the host."""
    plain = StackedCopies.update

    with simulated_cuda(free) as device, mock.patch.dict(transfer._streams, clear=True):

        def update(self: StackedCopies, *args: object) -> None:
            device.forbidden = "an update"
            try:
                plain(self, *args)  # type: ignore[arg-type]  # passed on as given
            finally:
                device.forbidden = ""

        with mock.patch.object(StackedCopies, "update", update):
            yield device


def train(name: str, **changes: object) -> Method:
    config = small_config(name, **(TINY | changes))
    method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, config, CUDA)
    tasks, first = to_tensors(STREAM, CUDA), 0
    for stop in method.group_ends(len(tasks)):
        method.learn(tasks[first:stop])
        first = stop
    return method


def scores_of(method: Method) -> torch.Tensor:
    tasks = to_tensors(STREAM, CUDA if method.device.type == "cuda" else CPU)
    scores = method.scores(torch.cat([task.test.features for task in tasks]))
    return scores.inner if isinstance(scores, OnDevice) else scores


def check_close(name: str, got: torch.Tensor, expected: torch.Tensor) -> None:
    close = torch.isclose(got, expected, rtol=1e-5, atol=FAR.get(name, 1e-5))
    assert close.float().mean() > (0.9 if name in FAR else 0.9999)


@cache
def on_device(name: str) -> tuple[torch.Tensor, frozenset[str]]:
    """Return the scores of a method with its table on the device, and what waited till then."""
    with watched() as device:
        found = scores_of(train(name, capture=False))
        return found, frozenset(function for function, _ in device.waits)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_learns_on_a_device_what_it_learns_on_the_cpu_and_no_update_waits(name):
    got, waited = on_device(name)
    assert waited <= READS
    check_close(name, got, scores_of(learned(name, STREAM, small_config(name, **TINY))))


@pytest.mark.parametrize("name", ["er", "bmc", "icarl", "gem"])
def test_more_passes_over_the_data_wait_no_more_often(name):
    counts = []
    for epochs in (1, 3):
        with watched() as device:
            train(name, capture=False, epochs=epochs)
            counts.append(device.waits)
    assert counts[0] == counts[1]


def test_training_that_is_judged_waits_once_a_judgement():
    with watched() as device:
        train("finetune", capture=False, plateau=1, epochs=4)
    judged = [(what, n) for (where, what), n in device.waits.items() if where.endswith(".judge")]
    assert judged == [("tolist", 4 * len(STREAM.tasks))]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_on_the_host_gives_the_same_as_one_on_the_device(name):
    with watched(free=0) as device:
        on_host = scores_of(train(name, capture=False))
        assert {function for function, _ in device.waits} <= READS
    assert torch.equal(on_host, on_device(name)[0])


def test_experts_bring_few_updates_at_once_from_a_large_table_on_the_host(monkeypatch):
    brought: list[int] = []

    def take(table: Features, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        brought.append(rows.shape[0] if rows.ndim == 3 else 0)
        return data.take(table, rows, device)

    update = 2 * TINY["batch_size"] * STREAM.dim * 2  # bytes of two experts
    monkeypatch.setattr(local, "STREAMED", 3 * update)
    monkeypatch.setattr(local, "take", take)
    monkeypatch.setattr(copies, "WORTH", 0)
    with watched(free=0):
        found = scores_of(train("bmc", capture=True))
    assert 0 < max(brought) <= 6  # at most two experts train together, and alone at last
    monkeypatch.undo()
    with watched(free=0):
        assert torch.equal(found, scores_of(train("bmc", capture=True)))


def with_capture(name: str, warm: int, **changes: object) -> torch.Tensor:
    """Return the scores of a method whose updates are captured after so many; none may fail."""
    with (
        watched(), mock.patch.multiple(copies, WARM=warm, WORTH=0),
        warnings.catch_warnings(action="error"),
    ):  # fmt: skip
        return scores_of(train(name, capture=True, **changes))


@pytest.mark.parametrize("name", TRAINED)
def test_captured_updates_equal_those_that_are_not(name):
    assert torch.equal(with_capture(name, 1), with_capture(name, 10**6))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("finetune", {"plateau": 1, "early_stopping": 3, "epochs": 6}),
        ("er", {"moments": "kept", "drop_last": True, "outputs": "all"}),
        ("derpp", {"matched": "all"}),
        ("gdumb", {"memory_optimizer": "sgd"}),
        ("bmc", {"patience": 1, "epochs": 8}),
        ("bmc", {"plateau": 1, "early_stopping": 2, "epochs": 8, "held_out": 0.2}),
        ("bmc", {"mixup": 0.5, "task_slice": True, "feature_loss": "squared"}),
        ("bmc", {"expert_rows": 40}),
        ("bmc", {"precision": "bf16"}),
        ("gem", {"precision": "bf16"}),
    ],
    ids=str,
)
def test_captured_updates_equal_those_that_are_not_whatever_the_options(name, options):
    options = {"dropout": 0.3} | options
    assert torch.equal(with_capture(name, 1, **options), with_capture(name, 10**6, **options))


@pytest.mark.parametrize(("epochs", "captures"), [(1, 0), (20, len(STREAM.tasks))])
def test_a_training_is_captured_if_it_is_long_enough_to_pay(epochs, captures):
    made = mock.Mock(wraps=copies.Captured)
    with watched(), mock.patch.object(copies, "Captured", made):
        train("finetune", capture=True, epochs=epochs)
    assert made.call_count == captures


@pytest.mark.parametrize("name", ["finetune", "derpp", "gem", "hal", "gss", "bmc"])
def test_no_node_of_autograd_outlives_an_update(name, monkeypatch):
    """One that accumulates gradients would draw a capture to the stream of the updates before."""
    plain, left = StackedCopies.update, []

    def update(self: StackedCopies, *args: object) -> None:
        plain(self, *args)  # type: ignore[arg-type]  # passed on as given
        if len(left) < 3:
            nodes = (thing for thing in gc.get_objects() if isinstance(thing, BackwardCFunction))
            left.append(sum(1 for _ in nodes))

    monkeypatch.setattr(StackedCopies, "update", update)
    gc.collect()
    gc.disable()  # it would free what is only kept by a circle
    try:
        learned(name, STREAM, small_config(name, **TINY))
    finally:
        gc.enable()
    assert left == [0, 0, 0]


def test_a_method_that_fetches_its_own_batches_is_asked_wherever_the_table_is(monkeypatch):
    plain = METHODS.get("finetune")
    asked: list[int] = []

    def fetch(self: NetMethod, data: Split, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        asked.append(rows.numel())
        features, labels = NetMethod.fetch(self, data, rows)
        return -features, labels

    expected = on_device("finetune")[0]
    with watched():
        monkeypatch.setattr(plain, "fetch", fetch)
        changed = scores_of(train("finetune", capture=True))
    assert sum(asked) >= 2 * sum(len(task.train) for task in STREAM.tasks)
    assert not torch.equal(changed, expected)
