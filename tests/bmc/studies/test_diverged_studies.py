"""A study goes on where runs diverge; it ranks none of their settings and chooses none."""

import csv
import json

import pytest

from bmc.cli import study as cli
from bmc.cli.study import carry_out
from bmc.config import Config
from bmc.runs.choice import StreamChoice
from bmc.studies import engine
from bmc.studies.compare import compare_study
from bmc.studies.engine import RunsFailed
from bmc.studies.execute import attempt
from bmc.studies.options import StudyOptions
from bmc.studies.sweep import sweep_study
from bmc.studies.tune import tune_study
from bmc.studies.tuning import read_tuned

CONFIG = Config(epochs=1, memory=60)
CHOICE = StreamChoice("class-il", "synthetic", scale=1e-3, max_tasks=3)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(cli, "write_config", lambda path: None)  # no command runs
    monkeypatch.setattr(engine, "runner_of", lambda *_: lambda jobs: map(attempt, jobs))


def test_tune_never_chooses_values_with_which_a_run_diverged(tmp_path, capsys):
    grid = ["learning_rate=0.001,1e30"]
    study = tune_study(CHOICE, CONFIG, {}, grid=grid, methods="er", orders=[0, 1])
    carry_out(study, StudyOptions(out=tmp_path))  # no error: that they diverge is an answer
    assert "Not ranked: 2 of 2 runs of one setting diverged" in capsys.readouterr().err
    tuned = read_tuned(tmp_path / "tune.json")
    assert tuned.chosen == {"er": {"learning_rate": 0.001}}
    assert len(tuned.table) == 1 and len(tuned.diverged) == 2


def test_tune_that_has_nothing_left_to_choose_says_so(tmp_path):
    study = tune_study(CHOICE, CONFIG, {}, grid=["learning_rate=1e30"], methods="er", orders=[0])
    with pytest.raises(RunsFailed, match="1 of 1 runs diverged"):
        carry_out(study, StudyOptions(out=tmp_path))


def test_a_sweep_shows_what_did_not_diverge_and_fails(tmp_path):
    study = sweep_study(CHOICE, CONFIG, {}, methods="er", grid=["learning_rate=0.001,1e30"])
    with pytest.raises(RunsFailed, match="1 of 2 runs diverged") as error:
        carry_out(study, StudyOptions(out=tmp_path))
    assert "--resume" not in str(error.value)  # it would diverge again
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert len(data["rows"]) == 1 and len(data["diverged"]) == 1
    assert "diverged" in (tmp_path / "report.html").read_text()
    with (tmp_path / "sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1


def test_a_comparison_ranks_no_method_that_diverged(tmp_path):
    study = compare_study(
        CHOICE, CONFIG, {"er": {"learning_rate": 1e30}}, methods="er,ncm", orders=[0]
    )
    with pytest.raises(RunsFailed, match="1 of 3 runs diverged"):
        carry_out(study, StudyOptions(out=tmp_path))
    data = json.loads((tmp_path / "compare.json").read_text())
    assert len(data["diverged"]) == 1 and "er diverged" in next(iter(data["diverged"].values()))
    with (tmp_path / "compare.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"ncm", "finetune"}


def test_a_comparison_shows_what_is_left_beside_a_run_that_is_damaged(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(engine, "build_report", lambda *_: None)
    study = compare_study(CHOICE, CONFIG, {}, methods="ncm,slda", orders=[0])
    carry_out(study, StudyOptions(out=tmp_path))
    (damaged,) = tmp_path.glob("ncm-*/results.json")
    damaged.write_text("{")
    capsys.readouterr()
    with pytest.raises(RunsFailed, match=f"1 of 3 runs failed(.|\n)*{damaged.parent.name}: "):
        carry_out(study, StudyOptions(out=tmp_path, resume=True))
    out = capsys.readouterr().out
    assert "Deep SLDA" in out and "NCM" not in out
    assert damaged.read_text() == "{"
