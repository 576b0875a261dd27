"""What becomes of an update that cannot be captured, on a simulated device."""

from __future__ import annotations

import re
from unittest import mock

import pytest
import torch
from simulated_cuda import CUDA, Device, Stream, simulated_cuda
from simulated_graph import Recording
from small import small_config

from autods.core import transfer
from bmc.network.mlp import ResidualMLP
from bmc.train import copies, graph
from bmc.train.batch import Batch
from bmc.train.copies import StackedCopies
from bmc.train.losses import task_loss

UPDATES = 6


def weights_after(
    capture: bool, reads_in: tuple[str, ...] = (), trainings: int = 1, following: int = 64
) -> torch.Tensor:
    """Train a small network; some of the trainings read a value of the device in an update."""
    config = small_config("finetune", width=8, hidden=8, inner=8, capture=capture)
    net = ResidualMLP(4, 3, hidden=8, inner=8, width=8, dropout=0.0).to(CUDA)
    net.reset(torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(UPDATES, 1, 5, 4, generator=draws).to(CUDA)
    labels = torch.randint(3, (UPDATES, 1, 5), generator=draws).to(CUDA)
    keep = torch.ones(UPDATES, 1, 5, 16, dtype=torch.bool).to(CUDA)
    for _ in range(trainings):
        with StackedCopies(net, config, 0.01, None, capture) as stacked:

            def step(update: StackedCopies, batch: Batch) -> None:
                logits, _ = net(batch.data[0], batch.keep)
                loss = task_loss(logits, batch.data[1])
                if "update" in reads_in:
                    loss.sum().item()
                update.descend(loss)

            stacked.updates(step, Batch((x, labels), keep), following=following)
    found = net.weights.data
    return found.inner.clone()  # type: ignore[attr-defined]  # of the simulated device


@pytest.fixture(autouse=True)
def _untouched():
    with (
        mock.patch.dict(transfer._streams, clear=True),
        mock.patch.object(graph, "_failed", set()),
        mock.patch.multiple(copies, WARM=1, WORTH=0),
    ):
        yield


def test_an_update_that_cannot_be_captured_is_told_by_its_first_cause_and_place():
    with simulated_cuda(), pytest.warns(UserWarning) as told:
        weights_after(capture=True, reads_in=("update",))
    assert re.search(r"_local_scalar_dense: not permitted .*\(\w+\.py:\d+\)", str(told[0].message))


def test_training_without_a_capture_that_failed_equals_one_that_never_tried():
    with simulated_cuda():
        expected = weights_after(capture=False)
        with pytest.warns(UserWarning, match="could not be captured"):
            found = weights_after(capture=True, reads_in=("update",))
    torch.testing.assert_close(found, expected)


def test_after_a_failure_the_stream_of_before_is_current_again():
    before = Stream()
    with (
        simulated_cuda() as device,
        mock.patch.object(torch.cuda, "current_stream", lambda *_: before),
        pytest.warns(UserWarning),
    ):
        weights_after(capture=True, reads_in=("update",))
    assert device.streams == [before]


def test_no_update_is_captured_after_one_that_failed():
    with simulated_cuda(), pytest.warns(UserWarning):
        weights_after(capture=True, reads_in=("update",))
        made = mock.Mock(side_effect=AssertionError("another capture"))
        with (
            mock.patch.object(torch.cuda, "CUDAGraph", made),
            pytest.warns(UserWarning, match="an earlier update of this process"),
        ):
            weights_after(capture=True)


def test_each_device_has_one_stream_for_captures():
    with simulated_cuda():
        weights_after(capture=True, trainings=2)
    assert list(transfer._streams) == [("capture", CUDA)]


@pytest.mark.parametrize("room", [1, 2, 10**6])
def test_a_graph_takes_large_batches_few_at_a_time(room):
    with simulated_cuda():
        with mock.patch.object(copies, "WARM", 10**6):
            expected = weights_after(capture=True)
        update = 5 * 4 * 4 + 5 * 8 + 5 * 16  # bytes: rows, labels, masks
        with mock.patch.object(graph, "HELD", room * update):
            found = weights_after(capture=True)
    assert torch.equal(found, expected)


def test_the_simulation_refuses_to_replay_a_graph_of_which_memory_was_freed():
    with simulated_cuda():
        made, read = torch.cuda.CUDAGraph(), torch.ones(3).to(CUDA)
        with torch.cuda.graph(made):
            read + 1
        made.replay()
        del read
        with pytest.raises(RuntimeError, match="memory that a graph reads was freed"):
            made.replay()


def test_all_that_a_graph_launches_was_launched_before_it_is_captured(monkeypatch):
    """A kernel is loaded when it is launched first, for which a capture is no time."""
    before, within = set(), set()

    def key(func, args):
        return func._schema.name, *(t.dtype for t in args if isinstance(t, torch.Tensor))

    plain, run = Device.__torch_dispatch__, Recording.run

    def dispatched(self, func, types, args=(), kwargs=None):
        if self.recording is None:
            before.add(key(func, args))
        return plain(self, func, types, args, kwargs)

    def recorded(self, func, args, kwargs):
        within.add(key(func, args))
        return run(self, func, args, kwargs)

    monkeypatch.setattr(Device, "__torch_dispatch__", dispatched)
    monkeypatch.setattr(Recording, "run", recorded)
    with simulated_cuda():
        weights_after(capture=True)
    assert within
    assert within <= before


def test_an_arrangement_of_few_updates_is_not_captured_and_one_of_many_is():
    made = mock.Mock(wraps=graph.Captured)
    with simulated_cuda(), mock.patch.multiple(copies, Captured=made, WORTH=2 * UPDATES):
        weights_after(capture=True, following=UPDATES)
        assert made.call_count == 0
        weights_after(capture=True, following=UPDATES + 1)  # the first of all is not captured
        assert made.call_count == 1
