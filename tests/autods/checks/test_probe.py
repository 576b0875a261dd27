"""Probes agree with scikit-learn's own, choose on dev alone, and say what is confused."""

import numpy as np
import pytest
from feature_tools import write_set
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from autods.checks import probe as probe_module
from autods.checks.intervals import wilson
from autods.checks.near import Joined
from autods.checks.probe import PROBES, probe
from autods.checks.probe_models import discriminant, linear, nearest
from autods.core.root import DataRoot
from autods.errors import UsageError


def data(n: int, seed: int, kinds: int = 5, d: int = 16) -> tuple[np.ndarray, np.ndarray]:
    means = np.random.default_rng(7).normal(size=(kinds, d))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, kinds, n)
    x = (means[y] + 0.9 * rng.normal(size=(n, d))).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def test_neighbours_are_those_of_scikit_learn():
    (x, y), (asked, _) = data(200, 0), data(90, 1)
    for k in (1, 5, 10, 500):
        theirs = KNeighborsClassifier(min(k, 200), metric="cosine").fit(x, y).predict(asked)
        assert nearest(x, y, asked, k, 5).tolist() == theirs.tolist()


def test_the_discriminant_is_that_of_scikit_learn():
    (x, y), (asked, _) = data(200, 0), data(90, 1)
    priors = np.full(5, 0.2)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0, priors=priors).fit(x, y)
    assert discriminant(x, y, asked, 0.0, 5).tolist() == theirs.predict(asked).tolist()


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_the_linear_probe_is_that_of_scikit_learn(strength):
    (x, y), (asked, _) = data(200, 0), data(200, 1)
    theirs = LogisticRegression(C=strength, max_iter=2000, tol=1e-8).fit(x, y)
    assert (linear(x, y, asked, strength, 5) == theirs.predict(asked)).mean() >= 0.99


def test_a_class_without_rows_is_never_chosen():
    x, y = data(60, 0, kinds=3)
    for _, values, model in PROBES.values():
        assert set(model(x, y, x, values[-1], 6).tolist()) <= {0, 1, 2}


def stored(tmp_path, splits, **options):
    names = ["ash", "beech", "cedar", "date", "elm"]
    return write_set(DataRoot(tmp_path), "trees", splits, classes=names, **options)


def test_each_probe_has_accuracy_interval_and_what_was_chosen(tmp_path):
    parts = {"train": data(150, 0), "dev": data(50, 1), "test": data(100, 2)}
    found = probe(stored(tmp_path, parts))
    assert [answer.name for answer in found.answers] == ["kNN", "LDA", "linear"]
    for answer in found.answers:
        assert answer.accuracy == (answer.predicted == parts["test"][1]).mean()
        assert answer.interval == wilson(round(100 * answer.accuracy), 100)
        assert answer.interval[0] < answer.accuracy < answer.interval[1]
    assert (found.learned, found.left_out, found.drawn) == (200, 0, False)
    assert found.chance == np.bincount(parts["test"][1]).max() / 100


def test_the_setting_does_not_depend_on_test_rows(tmp_path):
    x, y = data(100, 2)
    parts = {"train": data(150, 0), "dev": data(50, 1)}
    one = probe(stored(tmp_path / "a", {**parts, "test": (x, y)}))
    other = probe(stored(tmp_path / "b", {**parts, "test": (x, (y + 1) % 5)}))
    assert [a.setting for a in one.answers] == [a.setting for a in other.answers]
    assert one.best.name == other.best.name


def test_without_dev_a_fifth_of_train_chooses(tmp_path):
    found = probe(stored(tmp_path, {"train": data(150, 0), "test": data(60, 2)}))
    assert found.drawn
    assert found.learned == 150


def test_most_confused_classes_come_first(tmp_path):
    x, y = data(300, 0)
    x[y == 4] = x[y == 3][np.resize(np.arange((y == 3).sum()), (y == 4).sum())]
    found = probe(stored(tmp_path, {"train": (x[:200], y[:200]), "test": (x[200:], y[200:])}))
    assert found.confused()[0][:2] == (3, 4)
    assert found.confusion().sum() == 100
    table = found.confusion()
    assert found.confused()[0][2] == table[3, 4] + table[4, 3]


def test_of_many_rows_small_classes_keep_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr(probe_module, "MOST", 60)
    x, y = data(200, 0)
    y = np.where(np.arange(200) < 8, 4, y % 4)
    found = probe(stored(tmp_path, {"train": (x, y), "test": data(20, 1)}))
    assert (found.learned, found.left_out) == (60, 140)


@pytest.mark.parametrize(
    ("splits", "text"),
    [
        ({"train": data(30, 0)}, "has no test image with a label"),
        ({"test": data(30, 0)}, "has no train image with a label"),
        (
            {"train": data(30, 0), "test": (data(9, 1)[0], [-1] * 9)},
            "has no test image with a label",
        ),
        (
            {"train": (data(30, 0)[0], [2] * 30), "test": (data(9, 1)[0], [2] * 9)},
            "has one class only",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, splits, text):
    with pytest.raises(UsageError, match=text):
        probe(stored(tmp_path, splits))


def test_intervals_stay_between_0_and_1():
    assert wilson(0, 10)[0] == 0 < wilson(0, 10)[1] < 0.4
    assert wilson(10, 10)[1] == 1
    low, high = wilson(50, 100)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)
    assert wilson(0, 0) == (0.0, 1.0)


def test_rows_are_judged_by_direction_alone(tmp_path):
    x, y = data(60, 0)
    table = Joined([stored(tmp_path, {"train": (x * 7, y), "test": (x, y)})])
    units = table.units(np.arange(60))
    assert np.allclose(units, x, atol=1e-3)
