"""The choice among combinations: a default stays unless another one is clearly better."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from report_runs import Right, stored

from bmc.config import Config
from bmc.report import load_runs
from bmc.runs.choice import StreamChoice
from bmc.runs.samples import SAMPLES
from bmc.studies.plan import Design, parse_grids
from bmc.studies.tune import candidates_of, print_tuned
from bmc.studies.tuning import Tuned, choose

SAMPLES_OF_A_TASK = 100
ONCE = (0, 0)  # the order and the seed where there is one run


def hits(*counts: int) -> Right:
    """The first so many samples of each task are right; task "b" is the second."""
    ranks = np.arange(SAMPLES_OF_A_TASK)
    return {
        name: (ranks < count).astype(np.uint8) for name, count in zip("ab", counts, strict=True)
    }


def tuned_of(
    folder: Path, rates: Mapping[float, Mapping[tuple[int, int], Right]], *, samples: bool = True
) -> Tuned:
    """Tune experience replay, whose runs of a rate, an order and a seed had these hits."""
    orders, seeds = (dict.fromkeys(key) for key in zip(*next(iter(rates.values())), strict=True))
    design = Design(["er"], Config(), {}, dict.fromkeys(orders, 2))
    grid = "learning_rate=" + ",".join(map(str, rates))
    made = candidates_of(design, parse_grids([grid]), list(seeds))
    folders = {}
    for one in made:
        for planned in one.runs:
            order, seed = planned.order, planned.config.seed
            right = rates[one.values["learning_rate"]][order, seed]
            path = folder / planned.label
            folders[planned.label] = stored(path, "er", right, order, run_seed=seed)
    if not samples:
        for run in folders.values():
            (run / SAMPLES).unlink()
    runs = dict(zip(folders, load_runs(list(folders.values())), strict=True))
    stream = StreamChoice("class-il", max_tasks=2).open(0)
    return choose(made, Config(), runs, dict.fromkeys(orders, stream))


def rate(tuned: Tuned) -> float:
    return tuned.chosen["er"]["learning_rate"]


def test_the_default_stays_where_another_value_is_better_by_less_than_a_standard_error(tmp_path):
    shuffled = np.random.default_rng(0).permutation
    other = {name: shuffled(values) for name, values in hits(54, 50).items()}
    tuned = tuned_of(tmp_path, {0.1: {ONCE: other}, 0.001: {ONCE: hits(50, 50)}})
    better, default = tuned.table
    assert rate(tuned) == 0.001
    assert (default.default, default.reference, default.chosen) == (True, True, True)
    assert (default.difference, default.error) == (None, None)
    assert better.difference == pytest.approx(0.02)
    variances = [(other[name] - hits(50, 50)[name].astype(float)).var(ddof=1) for name in "ab"]
    assert better.error == pytest.approx((sum(variances) / SAMPLES_OF_A_TASK) ** 0.5 / 2)
    assert better.error > 0.02


def test_a_value_that_is_better_by_more_than_a_standard_error_is_chosen(tmp_path):
    """The same gain, but no sample got worse."""
    tuned = tuned_of(tmp_path, {0.1: {ONCE: hits(54, 50)}, 0.001: {ONCE: hits(50, 50)}})
    assert rate(tuned) == 0.1
    assert tuned.table[0].difference == pytest.approx(0.02)
    assert 0 < tuned.table[0].error < 0.02


@pytest.mark.parametrize("of", [(51, 50), (50, 51)])
def test_one_sample_more_chooses_nothing(of, tmp_path):
    assert rate(tuned_of(tmp_path, {0.1: {ONCE: hits(*of)}, 0.001: {ONCE: hits(50, 50)}})) == 0.001


def test_of_values_that_are_clearly_better_the_best_is_chosen(tmp_path):
    rates = {0.1: (54, 50), 0.2: (58, 54), 0.001: (50, 50), 0.3: (58, 54)}
    assert rate(tuned_of(tmp_path, {r: {ONCE: hits(*of)} for r, of in rates.items()})) == 0.2


def test_the_first_value_stands_in_for_a_default_that_was_not_tried(tmp_path):
    tuned = tuned_of(tmp_path, {0.1: {ONCE: hits(50, 50)}, 0.2: {ONCE: hits(51, 50)}})
    first = tuned.table[0]
    assert rate(tuned) == 0.1
    assert (first.default, first.reference, first.chosen) == (False, True, True)


@pytest.mark.parametrize("again", [(1, 0), (0, 1)], ids=["orders", "seeds"])
def test_repeats_that_disagree_keep_the_default_however_many_samples_there_are(again, tmp_path):
    """Clearly better over samples, by 10 points in one run and not at all in the other."""
    before, better = hits(50, 50), hits(60, 60)
    tuned = tuned_of(
        tmp_path, {0.1: {ONCE: better, again: before}, 0.001: {ONCE: before, again: before}}
    )
    assert rate(tuned) == 0.001
    assert tuned.table[0].error == pytest.approx(0.05)


def test_the_default_stays_where_no_standard_error_is_known(tmp_path, capsys):
    rates = {0.1: {ONCE: hits(90, 90)}, 0.001: {ONCE: hits(50, 50)}}
    tuned = tuned_of(tmp_path, rates, samples=False)
    assert rate(tuned) == 0.001
    assert tuned.table[0].error is None
    print_tuned(tuned, "tune.json")
    assert "the runs do not say which samples were right" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_table_says_what_was_chosen_and_how_far_the_others_are_from_the_default(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    rates = {0.1: (54, 50), 0.001: (50, 50), 0.2: (46, 50)}
    print_tuned(tuned_of(tmp_path, {r: {ONCE: hits(*of)} for r, of in rates.items()}), "tune.json")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    better, default, worse = lines[1:4]
    assert better.split()[-4:] == ["52.0*", "+2.0", "±", "1.0"]
    assert default.split()[-2:] == ["50.0", "default"]
    assert worse.split()[-4:] == ["48.0", "-2.0", "±", "1.0"]
    assert "by more than one standard error" in " ".join(" ".join(lines).split())
