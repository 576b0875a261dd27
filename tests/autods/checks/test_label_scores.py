"""Labels that the other images contradict are found, and ranked."""

import numpy as np
from feature_tools import write_set

from autods.checks.label_scores import score_labels
from autods.checks.near import Joined
from autods.core.root import DataRoot


def classes_of(rng, n: int, kinds: int, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    means = rng.normal(size=(kinds, d)) * 3
    labels = np.arange(n) % kinds
    return means[labels] + rng.normal(size=(n, d)), labels


def table(tmp_path, x, labels) -> Joined:
    names = [f"class {k}" for k in range(int(labels.max()) + 1)]
    return Joined([write_set(DataRoot(tmp_path), "pets", {"train": (x, labels)}, classes=names)])


def test_planted_wrong_labels_come_first(tmp_path):
    rng = np.random.default_rng(0)
    x, right = classes_of(rng, 300, 6)
    labels, wrong = right.copy(), rng.permutation(300)[:9]
    labels[wrong] = (right[wrong] + 1) % 6
    scores = score_labels(table(tmp_path, x, labels), labels)
    found = scores.suspicious()
    first = scores.rows[np.argsort(scores.p_given)[:9]]
    assert set(first.tolist()) == set(wrong.tolist()) > set(scores.rows[found].tolist())
    assert len(found) >= 6
    assert scores.likely[found].tolist() == right[scores.rows[found]].tolist()
    assert (np.diff(scores.p_given[found]) >= 0).all()
    assert 0.95 <= scores.accuracy <= 0.98


def test_a_copy_with_the_same_wrong_label_does_not_vouch_for_it(tmp_path):
    rng = np.random.default_rng(1)
    x, labels = classes_of(rng, 120, 4)
    copies = np.repeat(x[:1], 12, axis=0) + 0.01 * rng.normal(size=(12, 12))
    x, labels = np.concatenate([x, copies]), np.concatenate([labels, np.ones(12, np.int64)])
    group = np.arange(132)
    group[120:] = 120
    joined = table(tmp_path, x, labels)
    alone, together = (score_labels(joined, labels, g) for g in (None, group))
    assert together.p_given[120:].max() < alone.p_given[120:].min()


def test_rows_without_a_label_are_not_judged(tmp_path):
    x, labels = classes_of(np.random.default_rng(2), 60, 3)
    labels[::5] = -1
    scores = score_labels(table(tmp_path, x, labels), labels)
    assert scores.rows.tolist() == np.flatnonzero(labels >= 0).tolist()


def test_one_class_cannot_be_judged(tmp_path):
    x, labels = np.ones((8, 3)), np.zeros(8, np.int64)
    assert score_labels(table(tmp_path, x, labels), labels) is None


def test_the_only_image_of_a_class_is_not_suspicious(tmp_path):
    x, labels = classes_of(np.random.default_rng(3), 60, 3)
    x, labels = np.concatenate([x, x[:1]]), np.concatenate([labels, [3]])
    scores = score_labels(table(tmp_path, x, labels), labels)
    assert 60 not in scores.rows[scores.suspicious()]


def test_a_chain_of_near_duplicates_does_not_fill_a_fold(tmp_path):
    x, labels = classes_of(np.random.default_rng(4), 300, 3)
    joined = table(tmp_path, x, labels)
    one = score_labels(joined, labels, np.zeros(300, np.int64))
    alone = score_labels(joined, labels)
    assert one.accuracy == alone.accuracy > 0.9
