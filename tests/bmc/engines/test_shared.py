"""Messages to worker processes name memory: files that are mapped, and one copy of what is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_stream, tensors

from bmc.engines.local_worker import _slim
from bmc.engines.shared import FileRange, Shared, opened
from bmc.train.data import Split, joined

STREAM = small_stream()


def test_tensors_of_a_mapped_file_are_mapped_and_others_copied_once(tmp_path):
    path = tmp_path / "table"
    np.arange(1000, dtype=np.float16).tofile(path)
    mapped = torch.from_numpy(np.memmap(path, np.float16, "c", 200, (90, 10)))
    own = torch.arange(50)
    things = {"rows": mapped[3:9], "again": mapped[20:], "own": own, "slice": own[10:20]}
    shared = Shared(things, "text")
    assert [type(block) for block in shared._blocks].count(FileRange) == 1
    got, text = opened(shared.message(things, "text"))
    assert text == "text"
    for name, tensor in things.items():
        assert torch.equal(got[name], tensor), name
        assert got[name].dtype == tensor.dtype
    assert len(shared.message(things["rows"])) < 2000


def test_a_file_that_was_replaced_meanwhile_is_refused(tmp_path):
    path = tmp_path / "table"
    np.arange(1000, dtype=np.float16).tofile(path)
    rows = torch.from_numpy(np.memmap(path, np.float16, "c"))
    shared = Shared(rows)
    message = shared.message(rows)
    other = tmp_path / "other"
    np.zeros(1000, np.float16).tofile(other)
    other.replace(path)
    with pytest.raises(FileNotFoundError, match="was replaced"):
        opened(message)
    assert torch.equal(opened(Shared(rows).message(rows))[0], rows)  # copied: its file is gone


def test_tasks_side_by_side_stay_so_in_shared_memory():
    tasks = tensors(STREAM)
    shared = Shared(tasks)
    (got,) = opened(shared.message(tasks))
    parts = [task.train.features for task in got]
    assert joined(parts).data_ptr() == parts[0].data_ptr()
    assert torch.equal(joined(parts), joined([task.train.features for task in tasks]))


def test_empty_and_scattered_tensors_survive():
    things = [torch.empty(0, 5), torch.eye(4)[:, ::2], torch.tensor(3.0), torch.ones(3).bool()]
    got = opened(Shared(things).message(things))[0]
    for one, other in zip(got, things, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        assert torch.equal(one, other)


def test_a_message_is_small_whatever_the_samples():
    tasks = [_slim(task) for task in tensors(STREAM)]
    many = [
        replace(task, train=Split(task.train.features.repeat(50, 1), task.train.labels.repeat(50)))
        for task in tasks
    ]
    few, more = (len(Shared(group).message(group)) for group in (tasks, many))
    assert few < 10_000
    assert abs(more - few) < 200
