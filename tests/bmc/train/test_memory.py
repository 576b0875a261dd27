import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bmc.train.memory import Samples, balanced_choice, concatenate
from bmc.train.replay import BalancedMemory, Reservoir


def one_by_one(capacity, labels, uniform):
    """Algorithm R as in the book."""
    kept = []
    for number, label in enumerate(labels):
        if number < capacity:
            kept.append(label)
        else:
            slot = int(uniform[number] * (number + 1))
            if slot < capacity:
                kept[slot] = label
    return kept


@given(st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 99))
def test_the_reservoir_equals_algorithm_r_however_samples_are_batched(capacity, batches, seed):
    reservoir = Reservoir(capacity, 1, torch.device("cpu"))
    labels = torch.arange(sum(batches))
    uniform = []
    generator = torch.Generator().manual_seed(seed)
    twin = torch.Generator().manual_seed(seed)
    for part in torch.split(labels, batches):
        uniform += torch.rand(len(part), generator=twin, dtype=torch.float64).tolist()
        reservoir.add(part[:, None].half(), part, generator)
    expected = one_by_one(capacity, labels.tolist(), uniform)
    assert reservoir.labels[: len(reservoir)].tolist() == expected
    assert reservoir.features[: len(reservoir), 0].tolist() == expected


def test_every_sample_is_kept_with_equal_probability():
    counts = torch.zeros(40)
    for seed in range(600):
        reservoir = Reservoir(10, 1, torch.device("cpu"))
        generator = torch.Generator().manual_seed(seed)
        for part in torch.split(torch.arange(40), 7):
            reservoir.add(part[:, None].half(), part, generator)
        counts[reservoir.labels] += 1
    # 600 draws of probability 1/4: mean 150, standard deviation 10.6; 4.5 of them either way
    assert counts.min() > 150 - 48
    assert counts.max() < 150 + 48


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 70))
def test_a_balanced_choice_differs_by_one_between_groups_that_are_not_exhausted(groups, count):
    labels = torch.tensor(groups)
    chosen = balanced_choice(count, torch.Generator().manual_seed(0), labels)
    assert len(chosen) == min(count, len(groups))
    assert len(set(chosen.tolist())) == len(chosen)
    have, total = torch.bincount(labels[chosen], minlength=6), torch.bincount(labels, minlength=6)
    open_groups = have[(total > have)]
    if len(open_groups):
        assert have.max() - open_groups.min() <= 1


def test_memory_is_balanced_over_tasks_first_and_over_classes_within_each():
    tasks = torch.tensor([0] * 90 + [1] * 30)
    labels = torch.cat([torch.arange(90) % 9, 9 + torch.arange(30) % 2])
    chosen = balanced_choice(36, torch.Generator().manual_seed(1), labels, tasks)
    assert torch.bincount(tasks[chosen]).tolist() == [18, 18]
    assert torch.bincount(labels[chosen]).tolist() == [2] * 9 + [9, 9]


def test_samples_survive_their_state_and_count_their_bytes():
    samples = Samples(
        torch.ones(3, 4).half(), torch.arange(3), torch.zeros(3, dtype=torch.int64),
        torch.ones(3, 5).half(),
    )  # fmt: skip
    both = concatenate([samples, samples])
    assert both.nbytes() == 6 * (4 * 2 + 5 * 2 + 8)
    again = Samples.from_state(both.state("memory"), "memory", torch.device("cpu"))
    assert torch.equal(again.labels, both.labels)
    assert torch.equal(again.phi, both.phi)


def offered(by_task, capacity, labels, keys, rows_of_batches, monkeypatch):
    """Offer rows batch by batch with keys of their own; return the rows that are kept."""
    memory = BalancedMemory(capacity, 1, torch.device("cpu"), by_task=by_task)
    for rows in rows_of_batches:
        tasks = (labels[rows] // 10).tolist()
        with monkeypatch.context() as patched:
            patched.setattr(torch, "rand", lambda n, rows=rows, **_: keys[rows])
            memory.add(rows[:, None].half(), labels[rows], torch.Generator(), task=tasks[0])
    return memory, set(memory.features[: len(memory), 0].int().tolist())


def balanced_by_hand(by_task, capacity, labels, keys):
    """Fill the memory one sample at a time: always of the task, then the class, that has least."""
    kept: list[int] = []
    rest = {int(c): sorted((labels == c).nonzero()[:, 0].tolist(), key=keys.__getitem__)
            for c in labels.unique()}  # fmt: skip
    while len(kept) < capacity and any(rest.values()):
        have = {c: sum(int(labels[i]) == c for i in kept) for c in rest}
        of_task = {c: sum(int(labels[i]) // 10 == c // 10 for i in kept) for c in rest}
        turn = [c for c in rest if rest[c]]
        first = min(turn, key=lambda c: (of_task[c] if by_task else 0, have[c], keys[rest[c][0]]))
        kept.append(rest[first].pop(0))
    return set(kept)


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=30), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_balanced_memory_is_the_balanced_choice_from_all_samples_offered(
    tasks, capacity, batch, by_task, seed
):
    labels = torch.tensor([10 * t + c for t, classes in enumerate(tasks) for c in classes])
    keys = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    batches = [
        rows for t in range(len(tasks)) for rows in
        torch.split((labels // 10 == t).nonzero()[:, 0], batch)
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        memory, kept = offered(by_task, capacity, labels, keys, batches, patch)
        _, otherwise = offered(by_task, capacity, labels, keys, batches[::-1], patch)
    assert len(memory) == len(kept) == min(capacity, len(labels))
    assert kept == otherwise == balanced_by_hand(by_task, capacity, labels, keys)


@pytest.mark.parametrize("by_task", [True, False])
def test_samples_of_a_class_offered_batch_by_batch_are_kept_with_equal_probability(by_task):
    counts = torch.zeros(60)
    labels = torch.tensor([0] * 20 + [1] * 5 + [10] * 35)
    for seed in range(600):
        memory = BalancedMemory(24, 1, torch.device("cpu"), by_task=by_task)
        draws = torch.Generator().manual_seed(seed)
        for rows in torch.split(torch.arange(60), 5):
            memory.add(rows[:, None].half(), labels[rows], draws, task=int(labels[rows[0]]) // 10)
        counts[memory.features[:, 0].int()] += 1
    shares = [7 / 20, 1, 12 / 35] if by_task else [9.5 / 20, 1, 9.5 / 35]
    for own, share in zip(counts.split([20, 5, 35]), shares, strict=True):
        deviation = (600 * share * (1 - share)) ** 0.5
        assert (own - 600 * share).abs().max() <= 4.5 * deviation
