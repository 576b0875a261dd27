import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autods.index.labels import TaskLabels, assign_splits, group_numbers, strata
from autods.index.splits import hold_out, hold_out_groups
from autods.layouts import RawSample
from autods.manifest.schema import SplitRule

samples = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60)
fractions = st.floats(0, 0.9)


@given(samples, fractions, st.integers(0, 5))
def test_a_group_is_never_torn_and_every_class_keeps_one(pairs, fraction, seed):
    labels = np.array([label for label, _ in pairs])
    groups = np.array([10 * label + group for label, group in pairs])  # of one class each
    mask = hold_out_groups(labels, groups, fraction, seed)
    for group in np.unique(groups):
        assert len(set(mask[groups == group])) == 1
    for label in np.unique(labels):
        assert not mask[labels == label].all()


@given(samples, st.floats(0.05, 0.9), st.integers(0, 5))
def test_every_class_with_two_groups_gives_one_if_it_must(pairs, fraction, seed):
    labels = np.array([label for label, _ in pairs])
    groups = np.array([10 * label + group for label, group in pairs])
    mask = hold_out_groups(labels, groups, fraction, seed, at_least=1)
    for label in np.unique(labels):
        if len(np.unique(groups[labels == label])) > 1:
            assert mask[labels == label].any()


@given(samples, fractions, st.integers(0, 5))
def test_what_groups_give_differs_from_the_share_by_half_a_group_at_most(pairs, fraction, seed):
    labels = np.array([label for label, _ in pairs])
    groups = np.array([10 * label + group for label, group in pairs])
    mask = hold_out_groups(labels, groups, fraction, seed)
    for label in np.unique(labels):
        of_class = labels == label
        largest = max(np.unique(groups[of_class], return_counts=True)[1])
        assert mask[of_class].sum() <= fraction * of_class.sum() + largest / 2


@given(samples, st.floats(0.05, 0.6), st.integers(0, 5), st.integers(0, 1))
def test_groups_over_several_classes_leave_every_class_some_train(pairs, fraction, seed, at_least):
    labels = np.array([label for label, _ in pairs])
    groups = np.array([group for _, group in pairs])  # each of several classes
    mask = hold_out_groups(labels, groups, fraction, seed, at_least)
    for group in np.unique(groups):
        assert len(set(mask[groups == group])) == 1
    for label in np.unique(labels):
        assert not mask[labels == label].all()


@pytest.mark.parametrize("seed", range(20))
def test_slides_that_hold_all_classes_give_every_class_its_share(seed):
    labels = np.tile(np.repeat(np.arange(8), 20), 10)  # ten slides, twenty tiles of each class
    groups = np.repeat(np.arange(10), 160)
    rare = np.isin(groups, [0, 1]) | (labels < 7)  # class 7 is on two slides only
    mask = hold_out_groups(labels[rare], groups[rare], 0.25, seed, at_least=1)
    tested = np.bincount(labels[rare][mask], minlength=8)
    assert tested[7] == 20
    assert set(tested[:7].tolist()) <= {40, 60}


@pytest.mark.parametrize("seed", range(20))
def test_a_giant_group_stays_in_train(seed):
    groups = np.repeat([0, 1, 2, 3], [900, 40, 30, 30])
    mask = hold_out_groups(np.zeros(1000, np.int32), groups, 0.25, seed, at_least=1)
    assert mask.sum() == 100


def test_without_groups_of_several_samples_the_shares_are_those_of_a_plain_draw():
    labels = np.repeat([0, 1], 40)
    mask = hold_out_groups(labels, np.arange(80), 0.25, seed=0)
    assert [mask[:40].sum(), mask[40:].sum()] == [10, 10]
    assert hold_out(labels, 0.25, seed=0).sum() == 20


def divided(rule: SplitRule, official: list[str | None], groups: list[str | None]) -> list[str]:
    found = [
        RawSample("a.zip", str(i), {}, split, group)
        for i, (split, group) in enumerate(zip(official, groups, strict=True))
    ]
    labels = np.zeros(len(found), np.int32)
    return list(assign_splits("clean", rule, official, labels, labels, group_numbers(found)))


def test_training_images_of_a_group_that_is_tested_are_left_out():
    rule = SplitRule(rule="official", dev_fraction=0, grouped=True)
    official = ["train", "train", "test", "train", None]
    assert divided(rule, official, ["a", "b", "a", None, "a"]) == ["", "train", "test", "train", ""]


def test_images_without_a_group_are_groups_of_their_own():
    rule = SplitRule(rule="random", test_fraction=0.2, dev_fraction=0, grouped=True)
    splits = divided(rule, [None] * 40, [None] * 20 + ["one"] * 20)
    assert len(set(splits[20:])) == 1
    assert set(splits[:20]) == {"train", "test"}


def test_images_of_another_task_than_the_default_one_are_divided_by_their_own_classes():
    default = TaskLabels(["a", "b"], np.array([0, 1, -1, -1, -1], np.int32))
    other = TaskLabels(["a", "c"], np.array([-1, 1, 0, 1, -1], np.int32))
    numbers, owners = strata("x", {"y": other, "x": default})
    assert numbers.tolist() == [0, 1, 0, 1, -1]
    assert owners.tolist() == [0, 0, 1, 1, 0]


def test_the_split_of_one_task_does_not_depend_on_the_images_of_another():
    rule = SplitRule(rule="random", test_fraction=0.3)
    labels = np.repeat(np.arange(4, dtype=np.int32), 25)
    alone = assign_splits(
        "clean", rule, [None] * 100, labels, np.zeros_like(labels), np.arange(100)
    )
    both = np.concatenate([labels, labels])
    owners = np.repeat(np.arange(2, dtype=np.int32), 100)
    together = assign_splits("clean", rule, [None] * 200, both, owners, np.arange(200))
    assert together[:100].tolist() == alone.tolist()
    assert set(together[100:]) == {"train", "dev", "test"}


def drawn(rule: SplitRule, numbers: np.ndarray, official: str | None = None) -> np.ndarray:
    """Divide samples of one task without groups."""
    n = len(numbers)
    return assign_splits(
        "clean", rule, [official] * n, numbers, np.zeros_like(numbers), np.arange(n)
    )


drawn_labels = st.lists(st.integers(-1, 4), min_size=1, max_size=80)


@given(labels=drawn_labels, seed=st.integers(0, 9), dev=st.sampled_from([0.0, 0.1, 0.5]))
@settings(deadline=None)
def test_a_random_split_keeps_every_class_in_train_and_uses_every_label(labels, seed, dev):
    numbers = np.array(labels, np.int32)
    rule = SplitRule(rule="random", test_fraction=0.3, dev_fraction=dev, seed=seed)
    splits = drawn(rule, numbers)
    assert ((splits == "") == (numbers < 0)).all()
    assert set(numbers[splits == "train"]) == set(numbers) - {-1}
    several = {n for n in set(labels) - {-1} if labels.count(n) > 1}
    assert set(numbers[splits == "test"]) == several
    again = drawn(rule, numbers, official="x")
    assert (again == splits).all()
    if dev == 0.0:
        assert "dev" not in splits


def test_test_does_not_depend_on_the_dev_fraction():
    numbers = np.repeat(np.arange(5, dtype=np.int32), 20)
    tests = []
    for fraction in (0.0, 0.3):
        rule = SplitRule(rule="random", test_fraction=0.25, dev_fraction=fraction)
        tests.append(drawn(rule, numbers) == "test")
    assert (tests[0] == tests[1]).all()
    assert np.bincount(numbers[tests[0]]).tolist() == [5] * 5
