"""Streams as tensors: one table a split, rows taken where they are."""

from dataclasses import replace

import pytest
import torch
from small import CPU, small_stream, tensors

from autods.errors import UsageError
from autods.streams.feature_set import FeatureSet
from bmc.train.data import TaskTensors, check_samples, joined, take, to_tensors, withheld_rows

STREAM = small_stream()


def storages(parts: list[torch.Tensor]) -> set[int]:
    return {part.untyped_storage().data_ptr() for part in parts}


def test_a_stream_lies_in_one_table_for_each_split():
    tasks = tensors(STREAM)
    for name in ("train", "dev", "test"):
        parts = [getattr(task, name) for task in tasks]
        assert len(storages([part.features for part in parts])) == 1
        for part, task in zip(parts, STREAM.tasks, strict=True):
            given = getattr(task, name)
            assert torch.equal(part.features, torch.from_numpy(given.features))
            assert torch.equal(part.labels, torch.from_numpy(given.labels))


def test_parts_side_by_side_are_joined_without_a_copy_and_others_with_one():
    parts = [task.train.features for task in tensors(STREAM)]
    whole = joined(parts[1:4])
    assert whole.data_ptr() == parts[1].data_ptr()
    assert torch.equal(whole, torch.cat(parts[1:4]))
    assert joined(parts[:1]).data_ptr() == parts[0].data_ptr()
    for apart in (
        [parts[1], parts[0]],  # another order
        [parts[0], parts[2]],  # a gap
        [parts[0], parts[1].clone()],  # other memory
        [parts[0][:, ::2], parts[1][:, ::2]],  # not whole rows
        [torch.zeros(3, 2), torch.zeros(2, 2)],
    ):
        copied = joined(apart)
        assert torch.equal(copied, torch.cat(apart))
        assert copied.data_ptr() != apart[0].data_ptr()
    table = parts[0]
    single, rest = table[::5][:1], table[1:9]  # a row of itself calls any stride contiguous
    assert torch.equal(joined([single, rest]), table[:9])
    empty = parts[0][:0]
    assert torch.equal(joined([empty, parts[0], empty]), parts[0])


def test_labels_are_joined_as_features_are():
    labels = [task.test.labels for task in tensors(STREAM)]
    assert joined(labels).data_ptr() == labels[0].data_ptr()
    assert torch.equal(joined(labels), torch.cat(labels))


def test_the_stream_is_not_changed_by_what_is_done_with_its_tensors():
    before = STREAM.tasks[0].train.features.copy()
    to_tensors(STREAM, CPU)[0].train.features.zero_()
    assert (STREAM.tasks[0].train.features == before).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_stream_with_a_task_that_cannot_be_measured_is_refused(split):
    first = STREAM.tasks[0]
    given = getattr(first, split)
    empty = FeatureSet(given.features[:0], given.labels[:0])
    broken = replace(STREAM, tasks=[replace(first, **{split: empty}), *STREAM.tasks[1:]])
    with pytest.raises(UsageError, match=f"has no {split} samples"):
        check_samples(broken)
    check_samples(STREAM)


def test_a_stream_without_a_sample_of_the_split_that_is_measured_is_refused():
    bare = [
        replace(task, dev=FeatureSet(task.dev.features[:0], task.dev.labels[:0]))
        for task in STREAM.tasks
    ]
    check_samples(replace(STREAM, tasks=[bare[0], *STREAM.tasks[1:]]), "dev")
    with pytest.raises(UsageError, match="got dev, of which no task of stream 'synthetic' has any"):
        check_samples(replace(STREAM, tasks=bare), "dev")


def test_rows_are_taken_in_the_shape_that_asks_for_them():
    task: TaskTensors = tensors(STREAM)[0]
    rows = torch.tensor([[3, 0], [3, 5]])
    assert torch.equal(take(task.train.features, rows, CPU), task.train.features[rows])


def test_withheld_rows_are_at_most_so_many_a_class_and_never_more_than_half():
    labels = torch.tensor([0] * 9 + [1] * 3 + [2] + [3] * 4)
    rows = withheld_rows(labels, 4, 2, torch.Generator().manual_seed(0))
    assert labels[rows].tolist() == [0, 0, 1, 3, 3]
    assert len(rows.unique()) == len(rows)


def test_classes_of_too_few_rows_withhold_none():
    labels = torch.tensor([0] * 9 + [1] * 3 + [2] + [3] * 4)
    rows = withheld_rows(labels, 4, 2, torch.Generator().manual_seed(0), enough=4)
    assert labels[rows].tolist() == [0, 0, 3, 3]
