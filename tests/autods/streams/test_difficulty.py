"""Hard generated streams: what a difficulty changes, and what it leaves as it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autods.errors import UnknownName
from autods.manifest.catalogue import Catalogue
from autods.streams.difficulty import Difficulty
from autods.streams.open import open_stream
from autods.streams.synthetic import synthetic_stream
from autods.streams.synthetic_features import SyntheticFeatures


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@given(st.integers(1, 60), st.integers(0, 3000), st.floats(0, 3), st.integers(0, 9))
def test_classes_share_all_rows_and_each_has_one(classes, more, imbalance, seed):
    sizes = Difficulty(imbalance=imbalance).class_sizes(classes + more, classes, generator(seed))
    assert sizes.sum() == classes + more
    assert sizes.min() >= 1


def test_class_sizes_follow_the_power_of_their_rank():
    sizes = np.sort(Difficulty(imbalance=1.0).class_sizes(100_000, 50, generator()))[::-1]
    assert sizes[0] / sizes[9] == pytest.approx(10, rel=0.01)


@given(st.integers(2, 30), st.floats(0, 1), st.integers(0, 9))
def test_a_wrong_label_names_another_class_of_the_task(classes, noise, seed):
    labels = np.arange(4000) % classes
    reported = Difficulty(label_noise=noise).reported(labels, classes, generator(seed))
    assert reported.min() >= 0
    assert reported.max() < classes
    assert (reported != labels).mean() == pytest.approx(noise, abs=0.04)


def test_the_lengths_of_rows_are_heavy_tailed_and_of_mean_square_one():
    lengths = Difficulty(tails=8.0).lengths(200_000, generator())
    assert np.square(lengths).mean() == pytest.approx(1, abs=0.03)
    rows = lengths[:, 0] * generator(1).standard_normal(200_000)
    assert (rows**4).mean() / np.square(rows).mean() ** 2 > 3.8  # 3 of a Gaussian


def test_labels_are_wrong_and_classes_unequal_in_train_and_dev_alone():
    source = SyntheticFeatures(per_class=300, classes=710, dim=16, difficulty=Difficulty())
    task, classes = 6, source.class_counts[6]
    assert set(np.bincount(source.labels(task, "test"), minlength=classes)) == {75}
    for split in ("train", "dev"):
        counts = np.bincount(source.labels(task, split), minlength=classes)
        assert counts.max() > 4 * counts.min()


def test_every_hard_class_has_two_modes_or_more():
    source = SyntheticFeatures(classes=710, dim=16, difficulty=Difficulty())
    centres = source.class_centres(6)
    assert centres.shape[1] == Difficulty().modes
    assert (np.ptp(centres, axis=1).max(axis=1) > 0).all()


def test_a_hard_stream_is_the_same_whatever_tasks_are_asked_for():
    few, more = (synthetic_stream(tasks=n, difficulty="hard", dim=16) for n in (2, 5))
    for a, b in zip(few.tasks, more.tasks, strict=False):
        assert np.array_equal(a.train.features, b.train.features)
        assert np.array_equal(a.train.labels, b.train.labels)


def test_a_plain_stream_has_no_trace_of_the_option():
    assert "difficulty" not in SyntheticFeatures().parameters()
    named, default = synthetic_stream(tasks=1, difficulty="plain"), synthetic_stream(tasks=1)
    assert named.provenance["fingerprint"] == default.provenance["fingerprint"]
    hard = synthetic_stream(tasks=1, difficulty="hard")
    assert hard.provenance["parameters"]["difficulty"]["label_noise"] == 0.05
    assert hard.provenance["fingerprint"] != default.provenance["fingerprint"]


def test_an_unknown_difficulty_is_refused_by_name():
    with pytest.raises(UnknownName, match="difficulty"):
        synthetic_stream(difficulty="hardest")


@pytest.mark.parametrize(("name", "tasks"), [("synthetic-hard", 71), ("synthetic-much", 12)])
def test_the_streams_to_compare_on_are_files_with_their_seed(name, tasks):
    assert Catalogue().stream(name).synthetic.seed == 0
    stream = open_stream(name)
    assert len(stream.tasks) == tasks
    assert stream.provenance["parameters"]["difficulty"]["imbalance"] == 0.7
