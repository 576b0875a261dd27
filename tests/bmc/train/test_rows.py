"""Rows that stay in their files: the same bits as rows that are held, and cheap to hand on."""

import gc
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from small import CPU, small_stream, stored_stream, tensors

from autods.core.sharing import SharedArray
from autods.errors import FeaturesMissing, StoreError
from bmc.engines.shared import Shared, opened
from bmc.train import data
from bmc.train.data import joined, take, to_tensors, training_data
from bmc.train.parts import Chosen
from bmc.train.rows import StoredRows, select, together
from bmc.train.shared import shared_empty, shared_files


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return stored_stream(tmp_path_factory.mktemp("root"))


@pytest.fixture
def in_files(stream, monkeypatch):
    monkeypatch.setattr(data, "HELD", 0)
    return to_tensors(stream, CPU)


def test_rows_in_files_are_those_that_would_be_held(stream, in_files):
    for stored, held in zip(in_files, stream.tasks, strict=True):
        for split in ("train", "dev", "test"):
            rows, whole = getattr(stored, split).features, getattr(held, split).features
            assert isinstance(rows, StoredRows)
            whole = torch.from_numpy(whole)
            assert rows.shape == whole.shape and rows.dtype == whole.dtype
            assert torch.equal(rows[:], whole)
            order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))
            assert torch.equal(rows[order], whole[order])
            assert torch.equal(rows[order > 9], whole[order > 9])
            assert torch.equal(take(rows, order.view(-1, 1), CPU), whole[order.view(-1, 1)])
            assert torch.equal(select(rows, order[:7])[3:5], whole[order[3:5]])


def test_opening_tensors_of_files_loads_no_set_whether_rows_are_held_or_not(tmp_path):
    stream = stored_stream(tmp_path)
    to_tensors(stream, CPU)
    assert all("features" not in vars(task.train) for task in stream.tasks)


def test_tasks_are_joined_without_reading_rows_and_tensors_may_be_among_them(in_files):
    parts = [task.train.features for task in in_files]
    whole = joined(parts)
    assert isinstance(whole, StoredRows)
    assert torch.equal(whole[:], torch.cat([part[:] for part in parts]))
    assert torch.equal(
        training_data(in_files[1:3]).features[:], torch.cat([p[:] for p in parts[1:3]])
    )
    extra = torch.randn(5, parts[0].dim).half()
    mixed = together([parts[2], extra, parts[0], parts[2]])
    assert torch.equal(mixed[:], torch.cat([parts[2][:], extra, parts[0][:], parts[2][:]]))
    assert len(mixed.tables) == 3


def read_message(message: bytes) -> tuple[bytes, list[int]]:
    """Return the rows and labels of a split that was sent."""
    (split,) = opened(message)
    return split.features[:].numpy().tobytes(), split.labels.tolist()


def test_another_process_reads_the_same_rows_and_gets_no_copy_of_them(in_files, monkeypatch):
    monkeypatch.undo()
    held = tensors(small_stream())[3].train
    first, last = in_files[0].train, in_files[2].train
    both = data.Split(
        joined([first.features, last.features]), torch.cat([first.labels, last.labels])
    )
    rows = torch.arange(3, 90, 4)
    part = data.Split(select(both.features, rows), both.labels[rows])
    splits = [in_files[1].train, both, part, held, *(Chosen.of(s, rows) for s in (first, held))]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for split in splits:
            shared = Shared(split)
            copied = sum(len(b.array) for b in shared._blocks if isinstance(b, SharedArray))
            assert copied <= 17 * len(split) + 64  # labels and row numbers
            message = shared.message(split)
            assert len(message) < 5000 + 9 * len(split)
            expected = split.features[:].numpy().tobytes(), split.labels.tolist()
            assert pool.apply(read_message, (message,)) == expected


def test_a_task_can_be_sent_without_its_rows(in_files):
    task = in_files[1]
    message = Shared(task).message(task)
    assert len(message) < 12_000 + 9 * sum(map(len, (task.train, task.dev, task.test)))
    (again,) = opened(message)
    assert (again.key, again.start, again.stop) == (task.key, task.start, task.stop)
    with pytest.raises(FeaturesMissing, match="were not embedded"):
        again.texts("default-v1")


def test_a_table_whose_file_is_gone_says_so_where_it_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "HELD", 0)
    stream = stored_stream(tmp_path, tasks=1)
    sent = pickle.dumps(to_tensors(stream, CPU)[0].train)
    next(tmp_path.rglob("train-00000*.h5")).unlink()
    with pytest.raises(StoreError, match="does not exist"):
        pickle.loads(sent)


def test_shared_memory_ends_with_the_last_tensor_on_it():
    before = shared_files()
    table = shared_empty((6, 3), torch.float16)
    table.copy_(torch.arange(18).view(6, 3))
    (file,) = set(shared_files()) - set(before)
    assert file.size == 36 and file.address == table.data_ptr()
    again = np.memmap(file.path, np.float16, "r")
    assert again.tolist() == list(range(18))
    part = table[2:5]
    del table
    gc.collect()
    assert file in shared_files()
    del part
    gc.collect()
    assert file not in shared_files() and not Path(file.path).exists()


def test_a_table_without_rows_can_be_held():
    assert shared_empty((0, 4), torch.float16).shape == (0, 4)


def test_rows_in_memory_are_not_copied_where_their_table_is_large(monkeypatch):
    monkeypatch.setattr(data, "HELD", 0)
    stream = small_stream()
    stored = to_tensors(stream, CPU)[0].train.features
    assert np.shares_memory(stored.tables[0], stream.tasks[0].train.features)
    part = together([stored, stored]).select(torch.tensor([5, 3, 3]))
    again = pickle.loads(pickle.dumps(part))
    assert torch.equal(again[:], part[:])
    assert len(again.tables[0]) == 3  # no other row travels
