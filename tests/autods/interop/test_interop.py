"""Streams in other libraries: the same samples, order, splits, labels and class names."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from interop_tools import make_root, names_by_label, open_mixed
from sklearn.cluster import KMeans
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from torch.utils.data import DataLoader

from autods.core.splits import SPLITS
from autods.errors import ImagesMissing, UnknownName, UsageError
from autods.interop.arrays import arrays, class_names
from autods.interop.huggingface import dataset_dict, label_names
from autods.interop.scikit import accuracies, learn_stream, task_batches
from autods.interop.torch_data import TaskDataset, loader, task_datasets
from autods.streams.stream import SCENARIOS, Stream
from autods.streams.synthetic import synthetic_stream


@pytest.fixture(scope="module", params=SCENARIOS)
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return open_mixed(make_root(tmp_path_factory.mktemp("interop")), request.param)


def test_importing_an_adapter_does_not_import_its_library():
    code = "import sys, autods.interop.avalanche, autods.interop.continuum, autods.interop.mammoth"
    code += ", autods.interop.huggingface, autods.interop.scikit; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"avalanche", "continuum", "datasets", "sklearn", "backbone"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("split", SPLITS)
def test_arrays_hold_every_task_after_the_other(stream, split):
    found = arrays(stream, split)
    for task in stream.tasks:
        here, part = found.tasks == task.index, getattr(task, split)
        assert found.features[here].tobytes() == part.features.tobytes()
        assert np.array_equal(found.labels[here], part.labels)
    assert np.all(np.diff(found.tasks) >= 0)
    assert len(found.labels) == sum(len(getattr(task, split)) for task in stream.tasks)
    assert found.features.dtype == np.float16
    assert arrays(stream, split, np.float32).features.dtype == np.float32
    assert dict(enumerate(class_names(stream))) == names_by_label(stream)


def test_an_unknown_split_is_refused_by_name(stream):
    with pytest.raises(UnknownName, match="did you mean train"):
        arrays(stream, "trian")
    with pytest.raises(UnknownName, match="split"):
        TaskDataset(stream.tasks[0], "name")


@pytest.mark.parametrize("split", SPLITS)
def test_datasets_of_torch_have_the_rows_of_the_stream(stream, split):
    made = task_datasets(stream, split)
    assert len(made) == len(stream.tasks)
    for task, dataset in zip(stream.tasks, made, strict=True):
        part = getattr(task, split)
        one_by_one = [dataset[i] for i in range(len(dataset))]
        x = torch.stack([sample[0] for sample in one_by_one])
        assert x.dtype == torch.float32
        assert x.to(torch.float16).numpy().tobytes() == part.features.tobytes()
        assert [sample[1] for sample in one_by_one] == part.labels.tolist()
        assert np.array_equal(dataset.targets, part.labels)
        for k, name in enumerate(dataset.class_names):
            assert names_by_label(stream)[dataset.class_offset + k] == name
        with_task = stream.scenario == "task-il"
        assert {sample[2:] for sample in one_by_one} == {(task.index,) if with_task else ()}
        whole = dataset[:]
        assert torch.equal(whole[0], x)
        assert torch.equal(whole[1], dataset.targets)
        assert len(whole) == 2 + with_task
        assert all((extra == task.index).all() for extra in whole[2:])


def test_a_dataset_of_torch_counts_from_the_end_and_refuses_rows_that_are_not_there(stream):
    dataset = TaskDataset(stream.tasks[0])
    n, x = len(dataset), dataset[:][0]
    assert torch.equal(dataset[-1][0], x[-1])
    assert torch.equal(dataset[[2, -2]][0], x[[2, n - 2]])
    for wrong in (n, -n - 1, [0, n]):
        with pytest.raises(IndexError):
            dataset[wrong]


def test_a_loader_gives_the_batches_of_the_stream_itself(stream):
    task = stream.tasks[1]
    batches = loader(TaskDataset(task), 7, seed=5)
    for epoch in range(2):
        own = list(task.train.batches(7, (5, epoch)))
        given = list(batches)
        assert len(own) == len(given) == len(batches)
        for ours, theirs in zip(own, given, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    rows = torch.cat([y for _, y in loader(TaskDataset(task), 7, seed=None)])
    assert np.array_equal(rows, task.train.labels)


def test_the_loader_of_torch_and_its_workers_read_the_datasets_too(stream):
    dataset = TaskDataset(stream.tasks[0], with_task=True)
    for workers in (0, 2):
        x, y, t = zip(*DataLoader(dataset, batch_size=5, num_workers=workers), strict=True)
        assert torch.equal(torch.cat(x), dataset[:][0])
        assert torch.equal(torch.cat(y), dataset.targets)
        assert set(torch.cat(t).tolist()) == {0}


def test_images_of_features_without_images_are_refused(stream):
    with pytest.raises(ImagesMissing):
        TaskDataset(stream.tasks[0], images=True)


@pytest.mark.parametrize("numbering", ["stream", "task"])
def test_datasets_of_hugging_face_have_rows_labels_and_names_of_the_stream(stream, numbering):
    names = names_by_label(stream)
    for task in stream.tasks:
        made = dataset_dict(stream, task.index, numbering=numbering)
        assert list(made) == list(SPLITS)
        for split, data in made.items():
            part = getattr(task, split)
            arrow = data.with_format("arrow")["features"][:].combine_chunks()
            assert arrow.flatten().to_numpy().tobytes() == part.features.tobytes()
            label = np.array(data["label"][:])
            assert set(data["task"][:]) == {task.index}
            own = data.features["label"].int2str(label.tolist())
            if numbering == "task":
                assert np.array_equal(label + task.class_offset, part.labels)
                assert own == [names[y] for y in part.labels.tolist()]
            else:
                assert np.array_equal(label, part.labels)
                assert own == [f"{task.name}/{names[y]}" for y in part.labels.tolist()]


def test_class_names_stay_as_they_are_where_all_of_a_stream_differ():
    made = synthetic_stream(tasks=3, classes=200, dim=4)
    assert dict(enumerate(label_names(made))) == names_by_label(made)
    with pytest.raises(UnknownName, match="numbering"):
        dataset_dict(made, 0, numbering="tasks")


def test_batches_for_partial_fit_show_every_sample_once_per_epoch(stream):
    task = stream.tasks[2]
    batches = list(task_batches(task, 8, epochs=2, seed=4))
    half = len(batches) // 2
    expected = sorted(map(tuple, np.c_[task.train.features, task.train.labels].tolist()))
    for epoch in (batches[:half], batches[half:]):
        x, y = (np.concatenate(parts) for parts in zip(*epoch, strict=True))
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert sorted(map(tuple, np.c_[x, y].tolist())) == expected
    assert not np.array_equal(batches[0][1], batches[half][1])


def test_the_matrix_of_partial_fit_is_what_predictions_say(stream):
    R = learn_stream(GaussianNB(), stream, batch_size=16, epochs=2, seed=1)
    assert R.shape == (len(stream.tasks),) * 2
    assert np.array_equal(np.isnan(R), np.triu(np.ones_like(R, bool), 1))
    again = GaussianNB()
    for task in stream.tasks:
        for _ in range(2):
            again.partial_fit(
                task.train.features.astype(np.float32),
                task.train.labels,
                classes=np.arange(stream.n_classes),
            )
    for task in stream.tasks:
        scores = again.predict_proba(task.test.features.astype(np.float32))
        if stream.scenario == "task-il":
            own = slice(task.class_offset, task.class_offset + len(task.class_names))
            found = scores[:, own].argmax(axis=1) + task.class_offset
        else:
            found = scores.argmax(axis=1)
        assert R[-1, task.index] == pytest.approx(np.mean(found == task.test.labels), abs=0.1)


def test_only_classes_that_were_met_can_be_the_answer(stream):
    estimator = SGDClassifier(random_state=0)
    first = stream.tasks[0]
    x, y = first.train.features.astype(np.float32), first.train.labels
    estimator.partial_fit(x, y, classes=np.arange(stream.n_classes))
    estimator.intercept_[len(first.class_names) :] = 1e6  # all others, loudly
    row = accuracies(estimator, stream, 1)
    scores = estimator.decision_function(first.test.features.astype(np.float32))
    found = scores[:, : len(first.class_names)].argmax(axis=1)
    assert row[0] == np.mean(found == first.test.labels)
    assert np.isnan(row[1:]).all()


def test_an_estimator_without_scores_predicts_in_class_il_and_is_refused_in_task_il(stream):
    class Constant:
        def partial_fit(self, x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> None:
            self.classes_ = classes

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.zeros(len(x), np.int64)

    if stream.scenario == "task-il":
        with pytest.raises(UsageError, match="without scores"):
            learn_stream(Constant(), stream)
    else:
        R = learn_stream(Constant(), stream)
        assert R[-1, 0] == np.mean(stream.tasks[0].test.labels == 0)
        assert not R[-1, 1:].any()


def test_an_estimator_that_cannot_learn_in_parts_is_named(stream):
    with pytest.raises(UsageError, match="KMeans has no partial_fit"):
        learn_stream(KMeans(), stream)


def test_two_classes_have_one_column_of_scores():
    made = synthetic_stream(tasks=1, classes=142, dim=16, seed=3)
    assert made.n_classes == 2
    R = learn_stream(SGDClassifier(random_state=0), made, epochs=5)
    assert R[0, 0] > 0.6
