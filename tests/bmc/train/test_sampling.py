"""The order in which rows are drawn, and what a draw costs."""

import time

import pytest
import torch

from bmc.train import sampling
from bmc.train.sampling import Balanced, Shuffled


@pytest.mark.parametrize(("n", "drawn"), [(1, 1), (10, 7), (100, 100)])
def test_shuffled_draws_are_one_permutation_after_another_however_they_are_asked_for(n, drawn):
    draws = Shuffled(n, torch.Generator().manual_seed(3), drawn)
    rows = torch.cat([draws.take(count) for count in (0, 5, 1, 2 * n, 64)])
    again = torch.Generator().manual_seed(3)
    passes = [torch.randperm(n, generator=again)[:drawn] for _ in range(-(-len(rows) // drawn))]
    assert torch.equal(rows, torch.cat(passes)[: len(rows)])


def test_a_draw_costs_what_it_returns_not_what_is_left_of_the_pass():
    seconds = []
    for n in (20_000, 4_000_000):
        draws = Shuffled(n, torch.Generator().manual_seed(0))
        draws.take(64)  # the permutation itself
        began = time.perf_counter()
        for _ in range(200):
            draws.take(64)
        seconds.append(time.perf_counter() - began)
    assert seconds[1] < 50 * seconds[0]  # copying the rest takes 2,000 times as long


def test_balanced_draws_that_are_not_all_made_at_once_meet_groups_equally_often(monkeypatch):
    monkeypatch.setattr(sampling, "AHEAD", 100)
    groups = torch.tensor([5] * 50 + [2] * 3 + [9] * 17)
    draws = Balanced(groups, 600, torch.Generator().manual_seed(0))
    rows = torch.cat([draws.take(count) for count in (7, 250, 300, 43)])
    assert len(rows) == 600
    assert torch.bincount(groups[rows]).tolist() == [0, 0, 200, 0, 0, 200, 0, 0, 0, 200]
    for members in torch.bincount(rows, minlength=70).split([50, 3, 17]):
        assert members.max() - members.min() <= 1
