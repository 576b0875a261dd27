"""What is run: grids, ablations, fine-tuning; nothing here trains."""

import pytest

from autods.errors import UnknownName, UsageError
from bmc.config import Config
from bmc.studies.compare import comparison_runs
from bmc.studies.options import ABLATIONS
from bmc.studies.plan import Design, ablation_changes, grid_changes, parse_grid


def design(*methods: str, tasks: int = 71, orders: tuple = ("paper",), **overrides) -> Design:
    return Design(methods, Config(), overrides, dict.fromkeys(orders, tasks))


def test_a_grid_names_a_shared_field_or_one_of_a_method_and_its_values_are_typed():
    assert parse_grid("epochs=1,2,1") == ("epochs", [1, 2])
    assert parse_grid("lr=0.1") == ("learning_rate", [0.1])
    assert parse_grid("bmc.lam=0,0.1") == ("bmc.lam", [0.0, 0.1])
    assert parse_grid("bmc.experts=1,all,1") == ("bmc.experts", [1, "all"])
    assert parse_grid("capture=true,false") == ("capture", [True, False])
    assert parse_grid("bmc.consolidation-epochs=5") == ("bmc.consolidation_epochs", [5])
    assert parse_grid("er.memory=9") == ("er.memory", [9])
    assert parse_grid("evaluate_on=dev") == ("evaluate_on", ["dev"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wdith=1", "unknown field 'wdith'; did you mean width"),
        ("lam=0,1", "expected METHOD.lam, since lam is an option of single methods: bmc, "),
        ("bmc.lamm=1", "did you mean lam"),
        ("bmcc.lam=1", "did you mean bmc"),
        ("bmc.experts=1,x", "experts: expected a whole number"),
        ("bmc.lam=nan", "lam: expected a finite number"),
        ("bmc.lam=-1", "lam: expected a finite number at least 0"),
        ("epochs", "got no value"),
    ],
)
def test_a_grid_that_names_no_field_or_value_is_refused_with_the_nearest(text, said):
    with pytest.raises((UnknownName, UsageError), match=said):
        parse_grid(text)


@pytest.mark.parametrize(
    ("methods", "grid"), [("ncm", "epochs"), ("er", "bmc.lam"), ("ncm", "ncm.seed")]
)
def test_a_grid_over_what_no_chosen_method_reads_is_refused(methods, grid):
    with pytest.raises((UnknownName, UsageError), match=r"option of ncm|none of .* reads"):
        design(methods).expand(grid_changes([f"{grid}=1,2"]))


def test_the_ablations_are_those_of_the_paper_and_each_run_is_planned_once():
    runs = design("bmc").expand(ablation_changes("all"))
    configs = [run.config.flat() for run in runs]
    assert all(configs.count(config) == 1 for config in configs)
    assert len({run.label for run in runs}) == len(runs)
    assert runs[0].changes == ()
    base = configs[0]
    weights = {(c["lam"], c["beta"]) for c in configs}
    assert {(0.0, base["beta"]), (base["lam"], 0.0), (0.0, 0.0)} <= weights
    assert {c["experts"] for c in configs} == {1, 2, 4, 8, 16, 71}
    assert len({c["buffer"] for c in configs}) >= 4
    assert len({c["memory"] for c in configs}) >= 4
    for name in ABLATIONS:
        assert len(design("bmc").expand(ablation_changes(name))) >= 2


def test_a_method_runs_once_if_only_settings_of_another_vary():
    runs = design("bmc", "er").expand(grid_changes(["bmc.experts=1,2,4", "memory=100,200"]))
    assert sum(run.method == "bmc" for run in runs) == 6
    assert sum(run.method == "er" for run in runs) == 2


def test_fine_tuning_is_added_once_for_every_order_seed_and_number_of_epochs():
    changes = grid_changes(["epochs=1,2", "seed=0,1", "bmc.lam=0,1"])
    both = design("bmc", tasks=5, orders=(0, 1))
    added = [run for run in both.with_finetune(both.expand(changes)) if run.method == "finetune"]
    assert len(added) == 2 * 2 * 2
    assert len({(run.order, run.config.seed, run.config.epochs) for run in added}) == 8
    known = design("bmc", "finetune", tasks=5)
    assert [run.method for run in known.with_finetune(known.expand([{}]))] == ["bmc", "finetune"]


def test_groups_of_more_experts_than_tasks_are_one_group_of_all():
    runs = design("bmc", tasks=5).expand(grid_changes(["bmc.experts=2,8,16,all"]))
    assert [run.config.options.experts for run in runs] == [2, 5]


def test_values_of_a_method_are_the_base_around_which_a_grid_varies():
    (same, other) = design("bmc", bmc={"lam": 0.5}).expand(grid_changes(["bmc.lam=0.5,1"]))
    assert (same.changes, other.changes) == ((), (("lam", 1.0),))
    assert same.label == "bmc-order-paper-seed-0"
    assert other.label == "bmc-lam-1-order-paper-seed-0"


def test_a_comparison_has_every_method_seed_and_order_and_its_fine_tuning():
    runs = comparison_runs(
        design("er", "ncm", tasks=5, orders=(0, 1)), [0, 1], {"er": {"epochs": 3}, "bmc": {}}
    )
    added = [run for run in runs if run.method == "finetune"]
    assert len(added) == 2 * 2 * 2
    assert len({run.label for run in runs}) == len(runs)
    er = [run for run in runs if run.method == "er"]
    assert {run.config.epochs for run in er} == {3}
    assert {run.changes[0] for run in er} == {("epochs", 3)}
    assert {run.config.epochs for run in runs if run.method == "ncm"} == {Config().epochs}
    there = comparison_runs(design("finetune", "er", tasks=5), [0])
    assert [run.method for run in there] == ["finetune", "er"]


def test_all_runs_of_a_comparison_are_measured_after_groups_of_the_largest_method():
    def steps(*methods: str, **overrides) -> dict[str, int]:
        runs = comparison_runs(design(*methods, **overrides), [0])
        return {run.method: run.config.evaluate_every for run in runs}

    assert steps("er", "bmc", "joint", bmc={"experts": 5}) == {
        "er": 5, "bmc": 5, "joint": 5, "finetune": 5,
    }  # fmt: skip
    assert steps("er", "joint") == {"er": 1, "joint": 1, "finetune": 1}
    assert steps("er", "bmc", bmc={"experts": 71}) == {"er": 1, "bmc": 1, "finetune": 1}
    assert steps("er", "bmc", er={"evaluate_every": 2}, bmc={"experts": 5})["er"] == 2
